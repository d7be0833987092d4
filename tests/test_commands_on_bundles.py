"""The commands of README and docs that read a bundle, run word for word where the files are that they name."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.context import RunContext
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from tests.bundles import small_bundle
from tests.test_commands_in_docs import PAGES, fenced, words_of

READING = ("gate", "validate", "compare", "report", "history", "bench", "monitor")
BUNDLES = (
    "artifacts/digits-mobilenet/pixel8", "artifacts/digits/pixel8", "artifacts/digits-small/pixel8",
    "artifacts/mine/pixel8", "artifacts/mine/rpi4", "released/1.9", "released/1.10", "trial", "BUNDLE",
)  # fmt: skip
MODELS = ("model.tflite", "model.int8-static.tflite", "model.float32.tflite")
# A device, an emulator, a key, a repository, a recipe of one's own: the tests of these commands have them.
NEEDS = re.compile(r"--device|--emulate|--predict|--trusted|--layers|--pdf|git:|\.ya?ml|RELEASED|FILE|june|\\$")


def commands() -> Iterator[Any]:
    for page in PAGES:
        for line in fenced(page):
            if words_of(line)[0][0] in READING and not NEEDS.search(line.split("  #")[0]):
                yield pytest.param(line, id=f"{page.name}: {line[:60].strip()}")


@pytest.fixture(scope="module")
def workplace(
    digits: PreparedData,
    image_student: NetworkResult,
    image_onnx: ExportedFile,
    image_tflite: ExportedFile,
    session_context: RunContext,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    made = tmp_path_factory.mktemp("made") / "bundle"
    bundle = small_bundle(made, digits, image_student, (image_onnx, image_tflite), session_context)
    for name in BUNDLES:
        shutil.copytree(bundle, folder / name)
    for name in MODELS:
        shutil.copy(image_tflite.file, folder / name)
    rows = [f"{label},0.9,4.1\n" for label in digits.labels * 30]
    (folder / "field.csv").write_text("".join(["label,confidence,ms\n", *rows]))
    return folder


@pytest.mark.parametrize("line", commands())
def test_a_command_of_a_page_does_what_it_says(line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    ended = CliRunner().invoke(app, words_of(line)[0])
    assert ended.exit_code in (0, 1), f"{line}: {ended.output}"  # 1: a budget missed, a drift found
    assert ended.output.strip()
    assert ended.exception is None or isinstance(ended.exception, SystemExit)


def test_each_kind_of_command_is_among_them() -> None:
    assert {words_of(found.values[0])[0][0] for found in commands()} == set(READING)
