"""Two files timed in turn through the command: a ratio with its interval, and what can't be compared is one message."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.bench_pair import bench_pair
from pipeline.cli import app
from pipeline.errors import InputError
from targets.profile import PROFILES
from targets.runners.paired import PairedSamples
from tests.targets.tiny_models import onnx_model, tflite_model


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return [str(tflite_model(tmp_path / "a.tflite")), str(onnx_model(tmp_path / "b.onnx"))]


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bench", *arguments])
    return result.exit_code, result.output


def test_two_files_of_two_runtimes_are_compared(files: list[str]) -> None:
    code, text = call(*files, "--runs", "30", "--json")
    assert code == 0
    told = json.loads(text)
    low, high = told["ratio_interval"]
    assert low <= told["ratio"] <= high
    assert told["runs_each"] == 5 * told["rounds"] >= 30
    assert re.fullmatch("the first is (fast|slow)er|no difference that [0-9]+ rounds can show", told["verdict"])


@pytest.mark.parametrize(("slower", "verdict"), [(2.0, "the first is slower"), (0.5, "the first is faster")])
def test_the_verdict_is_of_the_first(
    files: list[str], slower: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = np.random.default_rng(0).normal(10, 0.1, (20, 5))
    monkeypatch.setattr("pipeline.bench_pair.measure_paired", lambda *_: PairedSamples(slower * times, times))
    told = bench_pair(Path(files[0]), Path(files[1]), "host")
    assert (told["verdict"], told["ratio"]) == (verdict, slower)


def test_files_equally_fast_are_told_so(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.random.default_rng(0).normal(10, 0.1, (20, 5))
    monkeypatch.setattr("pipeline.bench_pair.measure_paired", lambda *_: PairedSamples(times[::-1], times))
    assert bench_pair(Path(files[0]), Path(files[1]), "host")["verdict"] == "no difference that 20 rounds can show"


def test_three_files_and_a_device_are_refused(files: list[str]) -> None:
    for wrong in ([*files, files[0]], [*files, "--device", "ssh:board"]):
        code, text = call(*wrong)
        assert code == 2
        assert "one file, or two" in text


def test_a_target_measured_elsewhere_is_refused(files: list[str], tmp_path: Path) -> None:
    content = yaml.safe_load((PROFILES / "rpi4.yaml").read_text())
    content["measure"] = {"where": "ssh", "device": "board"}
    profile = tmp_path / "rpi4.yaml"
    profile.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"measure\.where: ssh"):
        bench_pair(Path(files[0]), Path(files[1]), str(profile))


def test_one_file_is_told_with_intervals_and_whether_the_machine_was_quiet(files: list[str]) -> None:
    code, text = call(files[0], "--runs", "100", "--json")
    assert code == 0
    told = json.loads(text)
    low, high = told["p50_interval_ms"]
    assert low <= told["p50_ms"] <= high
    assert told["quiet"] == "yes" or told["quiet"].startswith("no: ")
    assert "warm-up runs" in told["notes"]
