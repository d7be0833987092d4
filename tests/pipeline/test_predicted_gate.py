"""Verdicts that rest on predictions: when they may, what they hold a budget against, and what they leave alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.gating.predicted_gate import with_predictions
from pipeline.gating.verdict import Check, Verdict
from targets.emulator.counts import InstructionCounts
from targets.prediction.coefficients import read_coefficients
from targets.profile import load_profile
from targets.runners.emulated import EmulatedRunner
from tests.targets.tiny_models import onnx_model, tflite_model

A72 = next(core for core in read_coefficients().cores if core.uarch == "cortex-a72")
TYPICAL = A72.ms_per_million_instructions["float32"] * 100  # ms of 100 million instructions; its weights are 60 bytes


@pytest.fixture
def millions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What an inference of any file takes, in million instructions: the last of the list."""
    asked = [100]

    def count(self: EmulatedRunner, *_: object) -> InstructionCounts:
        core = self.core.name
        return InstructionCounts(core, "litert", "2.3.0", "QEMU 7.2", 7, 0.0, asked[-1] * 1_000_000, 0, 0, 0, 0, 0)

    monkeypatch.setattr(EmulatedRunner, "count", count)
    return asked


def bundle(folder: Path, **measure: Any) -> Path:
    """What the gate reads of a bundle for a Raspberry Pi 4 that runs as many threads as were measured."""
    folder.mkdir()
    tflite_model(folder / "model.float32.tflite")
    onnx_model(folder / "model.float32.onnx")
    profile = load_profile("rpi4").model_dump(mode="json", by_alias=True)
    for runtime in profile["runtimes"]:
        runtime["threads"] = 4
    profile["measure"] |= measure
    (folder / "manifest.json").write_text(json.dumps({"profile": profile}))
    (folder / "report.json").write_text(json.dumps({"budgets": {"confidence": 0.95}}))
    return folder


def latency(limit: float, source: str = "host", file: str = "model.float32.tflite", share: str = "p90") -> Check:
    return Check(f"latency_ms.{share}", file, 1.0, "<=", limit, "ms", source, True, None, f"{share} 1.00 ms")


def test_the_upper_end_of_the_interval_is_held_against_the_budget(tmp_path: Path, millions: list[int]) -> None:
    """One-sided with 95% is the upper end of the two-sided interval with 90%: t(95%) of six is 1.943."""
    upper = TYPICAL * 2.718281828 ** (1.943 * A72.deviation)
    folder = bundle(tmp_path / "bundle", allow_prediction=True)
    wide, tight = upper + 0.1, upper - 0.1
    passed, failed = with_predictions(Verdict((latency(wide), latency(tight, share="p50"))), folder).checks
    assert (passed.source, passed.passed, failed.passed) == ("predicted", True, False)
    assert passed.value == pytest.approx(upper, rel=1e-3)
    assert passed.value > TYPICAL
    assert "95% sure of at most" in passed.explanation
    assert "a typical run's latency stands for p90, as the profile allows" in passed.explanation
    assert "over the budget" in failed.explanation
    assert not with_predictions(Verdict((latency(tight),)), folder).passed


def test_a_profile_that_does_not_allow_it_is_refused(tmp_path: Path, millions: list[int]) -> None:
    with pytest.raises(InputError, match=r"rpi4 lets no verdict rest on a prediction; set measure\.allow_prediction"):
        with_predictions(Verdict((latency(1000),)), bundle(tmp_path / "bundle"))


def test_the_devices_own_latency_and_other_budgets_stay(tmp_path: Path, millions: list[int]) -> None:
    folder = bundle(tmp_path / "bundle", allow_prediction=True)
    checks = (latency(1, "device"), Check("size_mb", "model.float32.tflite", 3, "<=", 4, "MB", "host", True, None, ""))
    assert with_predictions(Verdict(checks), folder).checks == checks


def test_a_latency_that_was_never_measured_can_be_predicted(tmp_path: Path, millions: list[int]) -> None:
    missing = Check("latency_ms.p90", "model.float32.tflite", None, "<=", 1000, "ms", "none", None, None, "")
    (found,) = with_predictions(Verdict((missing,)), bundle(tmp_path / "b", allow_prediction=True)).checks
    assert (found.passed, found.source) == (True, "predicted")


def test_a_size_that_was_not_measured_is_undecided(tmp_path: Path, millions: list[int]) -> None:
    millions.append(1)
    (found,) = with_predictions(Verdict((latency(1000),)), bundle(tmp_path / "b", allow_prediction=True)).checks
    assert found.passed is None
    assert "1 million instructions are far from what was measured" in found.explanation


def test_a_file_that_cant_be_predicted_keeps_its_check_with_the_reason(tmp_path: Path, millions: list[int]) -> None:
    check = latency(5, file="model.float32.onnx")
    (found,) = with_predictions(Verdict((check,)), bundle(tmp_path / "b", allow_prediction=True)).checks
    assert (found.source, found.passed, found.value) == ("host", True, 1.0)
    assert found.explanation.startswith("p90 1.00 ms; not predicted: no latency of onnxruntime was measured")


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("manifest.json", {}, r"manifest\.json: holds no profile; make the bundle again"),
        ("report.json", {"budgets": {}}, r"report\.json: incomplete"),
    ],
)
def test_an_incomplete_bundle_is_told(file: str, content: object, told: str, tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", allow_prediction=True)
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(InputError, match=told):
        with_predictions(Verdict((latency(5),)), folder)
