"""The command that compiles and runs a bundle's examples, and what it gets for that."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.app.typescript import RECORD, installed, tools_folder
from pipeline.cli import app
from pipeline.errors import USER_ERRORS
from pipeline.results import PreparedData
from pipeline.store import file_sha256
from targets.runtimes.base import TensorSpec
from tests.pipeline.app_bundle import app_bundle

FILES = {"model.float32.tflite": (TensorSpec("image", (1, 32, 32, 3), "float32"),)}


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["check-app", *arguments])
    return done.exit_code, done.output


def test_a_value_that_differs_is_exit_code_1(digits: PreparedData, tmp_path: Path) -> None:
    try:
        installed()
    except USER_ERRORS as error:
        pytest.skip(str(error))
    folder = app_bundle(tmp_path / "bundle", digits, FILES)
    code, text = call(str(folder))
    assert code == 0
    assert "Swift: parsed by tree-sitter-swift, not compiled" in text
    name = "golden/model.float32.tflite.input0.npy"
    tensor = np.load(folder / name)
    tensor.flat[7] += 1
    np.save(folder / name, tensor)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name]["sha256"] = file_sha256(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, text = call(str(folder), "--json")
    assert code == 1
    assert json.loads(text) == [
        {"file": "model.float32.tflite", "samples": 3, "values": 9216, "different": 1, "passed": False}
    ]


@pytest.mark.parametrize(("record", "said"), [(None, "are not here; run"), ("other", "other versions than")])
def test_what_is_not_installed_is_told_with_the_command_that_gets_it(
    digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str | None, said: str
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("node", "npm"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    if record is not None:
        tools_folder().mkdir(parents=True)
        (tools_folder() / RECORD).write_text(record)
    code, text = call(str(app_bundle(tmp_path / "bundle", digits, FILES)))
    assert code == 2
    assert said in text
    assert "edgepress check-app BUNDLE --install" in text


def test_npms_refusal_is_told_and_nothing_is_left(
    digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "node").write_text("#!/bin/sh\n")
    (programs / "npm").write_text("#!/bin/sh\necho 'npm error EINTEGRITY sha512 differs' >&2\nexit 1\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    code, text = call(str(app_bundle(tmp_path / "bundle", digits, FILES)), "--install")
    assert code == 2
    assert "npm could not get the packages: npm error EINTEGRITY sha512 differs" in text
    assert not tools_folder().exists()
