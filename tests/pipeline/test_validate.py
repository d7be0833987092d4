"""Files judged and timed by the runtimes that ship."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from rich.console import Console

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.latency import measure_latency
from pipeline.progress import Reporter
from pipeline.results import ExportedFile, LatencyFigures, NetworkResult, PreparedData
from pipeline.validate import validate
from targets.errors import TargetError
from targets.profile import Budgets, Measure
from targets.runners.base import RUNNERS, Feeds, Measured
from targets.runtimes.base import RuntimeOptions
from tests import releases

ORT = RuntimeOptions("onnxruntime", 1, "cpu")
LITERT = RuntimeOptions("litert", 1, "xnnpack")
QUICK = Measure(warmup=1, min_runs=5, max_runs=20, min_seconds=0)


@pytest.fixture
def linear(digits: PreparedData, tmp_path: Path) -> tuple[ExportedFile, NetworkResult]:
    student, weights, bias = releases.linear_student(tmp_path / "student", digits)
    return releases.linear_onnx(tmp_path / "export", digits, weights, bias), student


def test_accuracy_is_that_of_the_runtime_on_every_test_sample(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    file, student = linear
    found = validate(file, digits, student, ORT, context)
    session = onnxruntime.InferenceSession(str(file.file), providers=["CPUExecutionProvider"])
    rows = digits.rows("test")
    pixels = digits.inputs[rows].transpose(0, 3, 1, 2).astype(np.float32)
    expected = np.concatenate([session.run(None, {"image": image[None]})[0] for image in pixels])
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    assert found.accuracy.correct == (expected.argmax(1) == digits.targets[rows]).sum()
    assert found.accuracy.total == len(rows)
    assert found.runtime == "onnxruntime"
    assert found.runtime_version == onnxruntime.__version__


def test_agreement_is_with_the_student_not_with_the_labels(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    file, student = linear
    assert validate(file, digits, student, ORT, context).agreement_with_student == 1.0
    logits = student.test_logits
    logits[:6] = -logits[:6]  # another opinion on the first six
    np.save(tmp_path / "other.npy", logits)
    other = replace(student, fingerprint="other", test_logits_file=tmp_path / "other.npy")
    total = len(logits)
    assert validate(file, digits, other, ORT, context).agreement_with_student == pytest.approx((total - 6) / total)


def test_a_second_validation_takes_the_stored_result(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    file, student = linear
    first = validate(file, digits, student, ORT, context)
    file.file.unlink()
    assert validate(file, digits, student, ORT, context) == first
    with pytest.raises(TargetError, match="no such file"):
        validate(file, digits, student, replace(ORT, threads=2), context)


def test_a_file_for_other_labels_is_refused(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    file, student = linear
    fewer = replace(digits, fingerprint="fewer", labels=digits.labels[:7])
    with pytest.raises(InputError, match="holds 10 scores, expected 7"):
        validate(file, fewer, student, ORT, context)


def test_scores_that_are_no_numbers_are_refused(digits: PreparedData, context: RunContext, tmp_path: Path) -> None:
    student, weights, bias = releases.linear_student(tmp_path / "student", digits)
    broken = releases.linear_onnx(tmp_path / "export", digits, np.full_like(weights, np.inf), bias)
    with pytest.raises(InputError, match="not finite on sample"):
        validate(broken, digits, student, ORT, context)


def test_what_is_no_model_is_refused(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    _, student = linear
    text = tmp_path / "model.onnx"
    text.write_text("not a model")
    with pytest.raises(TargetError, match=r"model\.onnx"):
        validate(releases.exported(text, "onnx"), digits, student, ORT, context)
    with pytest.raises(TargetError, match="not a TFLite model"):
        validate(releases.exported(text, "tflite"), digits, student, LITERT, context)


def test_both_formats_of_one_network_agree_with_it(
    image_onnx: ExportedFile,
    image_tflite: ExportedFile,
    image_student: NetworkResult,
    digits: PreparedData,
    session_context: RunContext,
) -> None:
    by_ort = validate(image_onnx, digits, image_student, ORT, session_context)
    by_litert = validate(image_tflite, digits, image_student, LITERT, session_context)
    assert by_ort.agreement_with_student == by_litert.agreement_with_student == 1.0
    assert by_ort.accuracy == by_litert.accuracy == image_student.accuracy
    np.testing.assert_allclose(by_ort.scores, by_litert.scores, atol=1e-3)


def test_latency_is_measured_and_stored(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    file, _ = linear
    found = measure_latency(file, digits, ORT, QUICK, Budgets(), context)
    assert found.source == "host"
    assert found.runs == len(found.samples) >= 5
    assert found.samples.min() <= found.p50 <= found.p90 <= found.p99 <= found.samples.max()
    assert found.cold_start_ms > 0
    assert measure_latency(file, digits, ORT, QUICK, Budgets(), context) == found


def test_runs_go_on_until_a_budget_is_decided(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    file, _ = linear
    plan = Measure(warmup=1, min_runs=10, max_runs=640, min_seconds=0)
    generous = Budgets.model_validate({"latency_ms": {"p90": 10_000}, "confidence": 0.99})
    found = measure_latency(file, digits, ORT, plan, generous, context)
    assert 10 < found.runs < 640
    assert found.looks > 1


def test_a_place_where_nothing_can_be_run_is_refused(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    with pytest.raises(TargetError, match=r"measure\.where is 'log'.*--no-latency"):
        measure_latency(linear[0], digits, ORT, Measure(where="log"), Budgets(), context)


def test_validation_shows_its_progress(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    console = Console(record=True, width=120, file=io.StringIO())
    file, student = linear
    validate(file, digits, student, ORT, replace(context, reporter=Reporter(console)))
    assert "validate float32.onnx" in console.export_text()


class Phone:
    """A place of its own that tells made-up figures, and is lost the first time."""

    def __init__(self, name: str) -> None:
        self.name, self.folders = name, list[Path]()

    def identity(self, options: RuntimeOptions) -> str:
        return self.name

    def measure(
        self, file: Path, options: RuntimeOptions, feeds: Feeds, plan: Measure, folder: Path, *, budget: Budgets
    ) -> Measured:
        self.folders.append(folder)
        kept = folder / "resume" / "half"
        if not kept.exists():
            kept.parent.mkdir()
            kept.write_text("half of it")
            raise TargetError("the device was lost")
        return Measured(np.array([2.0, 4.0]), None, None, 9.0, 3, ("hot",), "device", "Acme One")


def test_a_latency_is_of_the_device_that_measured_it_and_a_lost_one_goes_on(
    linear: tuple[ExportedFile, NetworkResult],
    digits: PreparedData,
    context: RunContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phones = {name: Phone(name) for name in ("A", "B")}
    monkeypatch.setitem(RUNNERS, "adb", lambda plan: phones[plan.device])

    def figures(device: str) -> LatencyFigures:
        return measure_latency(linear[0], digits, ORT, Measure(where="adb", device=device), Budgets(), context)

    with pytest.raises(TargetError, match="the device was lost"):
        figures("A")
    found = figures("A")
    assert (found.source, found.machine, found.looks, found.notes) == ("device", "Acme One", 3, ("hot",))
    assert (found.p50, found.p90, found.cold_start_ms, found.peak_mem_mb) == (2.0, 4.0, None, None)
    assert phones["A"].folders[0] == phones["A"].folders[1]  # where the first half had been kept
    assert figures("A") == found
    assert len(phones["A"].folders) == 2  # found in the store
    with pytest.raises(TargetError, match="the device was lost"):
        figures("B")
