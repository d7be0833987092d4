"""Several processes do what one does: checked with three on this machine, by gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import scale
from pipeline.errors import InputError
from pipeline.results import PreparedData
from tests.pipeline import shared_work
from tests.pipeline.processes import answers, ended, start
from tests.samples import _prepared

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """60 sentences of 3 to 12 words, whose class is that of their first word."""
    folder, random = tmp_path_factory.mktemp("sentences"), np.random.default_rng(0)
    lengths = random.integers(3, 13, 60)
    ids = np.where(np.arange(12) < lengths[:, None], random.integers(1, 100, (60, 12)), 0).astype(np.int32)
    np.save(folder / "lengths.npy", lengths.astype(np.int32))
    (folder / "texts.jsonl").write_text("".join(json.dumps(str(row)) + "\n" for row in range(60)))
    return _prepared(folder, "text-classification", ids, (ids[:, 0] % 2).astype(np.int64), ("even", "odd"))


@pytest.fixture(scope="module")
def alone(digits: PreparedData, sentences: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return shared_work.everything(digits, sentences, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def three(
    digits: PreparedData, sentences: PreparedData, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("three")
    return answers(3, folder, shared_work.everything, digits, sentences, folder)


@pytest.mark.parametrize("work", ["images", "texts", "correlation", "refreshed", "predictions"])
def test_three_processes_do_what_one_does(alone: dict[str, Any], three: list[dict[str, Any]], work: str) -> None:
    """Weights, running statistics, learned projections, losses, accuracies, remembered answers and predictions."""
    # What is seen inside a network is float32, and so are its losses.
    rounding = {"rtol": 1e-3, "atol": 1e-5} if work == "texts" else {"rtol": 1e-6, "atol": 1e-8}
    for found in three:
        assert found[work].keys() == alone[work].keys()
        for name, expected in alone[work].items():
            if isinstance(expected, int):
                assert found[work][name] == expected
                continue
            torch.testing.assert_close(found[work][name], expected, **rounding, msg=lambda m, name=name: f"{name}: {m}")


def test_a_run_goes_on_after_the_loss_of_a_process(digits: PreparedData, tmp_path: Path) -> None:
    stage = shared_work.stage_of_all
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    assert answers(2, tmp_path / "1", stage, digits, whole) == [[3, 3, 3]] * 2
    codes, told = ended(start(2, tmp_path / "2", stage, digits, broken, True), tmp_path / "2")
    assert codes == [2, -9]
    assert told.count("another process of this run was lost") == told.count("the same command goes on") == 1
    assert answers(2, tmp_path / "3", stage, digits, broken) == [[0, 3, 3]] * 2
    files = {f.relative_to(whole) for f in whole.rglob("*") if f.is_file()}
    assert files == {f.relative_to(broken) for f in broken.rglob("*") if f.is_file()}
    assert {file.name for file in files} == {"model.safetensors", "test_logits.npy", "result.json"}
    for file in files:
        assert (whole / file).read_bytes() == (broken / file).read_bytes(), file
    assert answers(3, tmp_path / "4", stage, digits, broken) == [[0, 0, 0]] * 3  # found, whatever the number


def test_what_is_not_made_together_is_made_by_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    found = answers(2, tmp_path, shared_work.stage_of_one, tmp_path / "out")
    assert found == [["written by 0", "1"], ["written by 0"]]


@pytest.mark.parametrize(
    ("job", "given", "message"),
    [
        ("one_fails", ("digits", "1"), "the fault of one"),
        ("one_fails", ("digits", "0"), "the fault of one"),
        ("first_fails_alone", ("out",), "the fault of one"),
        ("all_fail", ("digits", "out"), "batch_size is 1, for all of the 2 processes together"),
        ("other_settings", ("out",), "stage note: another process would make it otherwise"),
        ("unlike_folders", ("out",), "give --out a folder that all processes and machines share"),
    ],
)
def test_an_error_ends_all_with_one_message(
    digits: PreparedData, tmp_path: Path, job: str, given: tuple[str, ...], message: str
) -> None:
    known = {"digits": digits, "out": tmp_path / "out"}
    processes = start(2, tmp_path, getattr(shared_work, job), *(known.get(name, name) for name in given))
    codes, told = ended(processes, tmp_path)
    assert codes == [2, 2]
    assert told.startswith(message) or message in told.splitlines()[0]
    assert len(told.splitlines()) == 1


def test_a_process_alone_is_the_first_and_has_all_of_the_work() -> None:
    assert scale.first()
    assert not scale.several()
    assert scale.part(7) == slice(0, 7)
    with scale.together():
        assert (scale.number(), scale.processes()) == (0, 1)
    assert scale.from_first({"a": 1}) == {"a": 1}


def test_a_launcher_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="launched with FSDP"):
        scale._refuse_launches(None)


def test_each_process_of_a_machine_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    scale._refuse_launches(4)
    with pytest.raises(InputError, match=r"4 processes were launched on a machine with 1 GPU\(s\)"):
        scale._refuse_launches(1)


def test_the_launched_command_says_once_what_it_refuses(tmp_path: Path) -> None:
    """Of the processes that Accelerate launches one speaks, after all have met and found their common folder."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    given = ["--num_machines", "1", "--mixed_precision", "bf16", "--dynamo_backend", "no", "--main_process_port", "0"]
    command = ["-m", "pipeline", "run", str(ROOT / "recipes/digits-mobilenet.yaml"), "--out", str(tmp_path)]
    ended = subprocess.run(
        [*launcher, *given, *command], cwd=ROOT, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1  # the launcher's, for whatever its processes ended with
    told = [line for line in ended.stderr.splitlines() if line.startswith("edgepress:")]
    assert told == [
        "edgepress: launched with mixed precision bf16, but the recipe decides, and its compute.precision is float32: "
        "launch with --mixed_precision no, or --set compute.precision=bf16"
    ]
    assert "exitcode  : 2" in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]
