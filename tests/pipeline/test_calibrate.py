"""One calibration serves both formats: who calibrates, and what is recorded of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import CalibrationError
from calibration.manifest import read_manifest
from calibration.ranges import FIRST
from calibration.stream import CHUNK
from pipeline.context import RunContext
from pipeline.evaluate import predict
from pipeline.networks import load_network
from pipeline.results import Calibration, ExportedFile, NetworkResult, PreparedData
from tests.pipeline.quantized import FEW, calibrated


def test_only_training_samples_calibrate_and_the_manifest_holds_them(
    image_calibration: Calibration, image_onnx: ExportedFile, digits: PreparedData
) -> None:
    manifest = read_manifest(image_calibration.manifest_file)
    assert set(manifest.rows) <= set(digits.rows("train").tolist())
    assert len(set(manifest.rows)) == FEW
    assert min(manifest.samples_by_label.values()) >= 1
    assert manifest.model_sha256 == image_onnx.sha256


@pytest.mark.parametrize("select", ["random", "coverage", "uncertainty"])
def test_every_selection_takes_as_many_training_samples_and_says_which(
    image_onnx: ExportedFile,
    image_student: NetworkResult,
    digits: PreparedData,
    session_context: RunContext,
    select: str,
) -> None:
    found = calibrated(image_onnx, digits, image_student, session_context, samples=FEW, select=select)
    manifest = read_manifest(found.manifest_file)
    assert set(manifest.rows) <= set(digits.rows("train").tolist())
    assert len(set(manifest.rows)) == FEW
    assert manifest.selection != "stratified by class"
    assert manifest.selection in manifest.notes[0]


def test_the_samples_that_the_teacher_doubts_most_are_taken_first(
    image_onnx: ExportedFile, image_student: NetworkResult, digits: PreparedData, session_context: RunContext
) -> None:
    found = calibrated(image_onnx, digits, image_student, session_context, samples=8, select="uncertainty")
    rows = digits.rows("train")
    logits = predict(load_network(image_student), digits, rows).astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    entropy = dict(zip(rows.tolist(), -(odds * np.log(odds)).sum(axis=1), strict=True))
    taken = [entropy[row] for row in read_manifest(found.manifest_file).rows]
    assert taken == pytest.approx(sorted(entropy.values(), reverse=True)[:8], rel=1e-4)


def test_too_few_training_samples_are_all_taken_and_it_is_said(
    image_onnx: ExportedFile, image_student: NetworkResult, digits: PreparedData, session_context: RunContext
) -> None:
    found = calibrated(image_onnx, digits, image_student, session_context, samples=10_000)
    notes = read_manifest(found.manifest_file).notes
    assert any("asked for 10000 samples and took all 210" in note for note in notes)


def test_no_more_samples_are_taken_than_the_ranges_need_to_settle(
    image_onnx: ExportedFile, image_student: NetworkResult, digits: PreparedData, session_context: RunContext
) -> None:
    loose = calibrated(image_onnx, digits, image_student, session_context, samples=200, settle=0.5)
    manifest = read_manifest(loose.manifest_file)
    assert manifest.settled
    assert len(manifest.rows) == FIRST * CHUNK
    assert any("had settled" in note for note in manifest.notes)
    never = calibrated(image_onnx, digits, image_student, session_context, samples=200, settle=1e-9)
    assert not read_manifest(never.manifest_file).settled
    assert len(read_manifest(never.manifest_file).rows) == 200


def test_pixels_have_the_range_that_they_have(image_calibration: Calibration) -> None:
    assert image_calibration.ranges["image"] == (0, 255)


def test_a_class_without_training_samples_is_an_error(
    image_onnx: ExportedFile,
    image_student: NetworkResult,
    digits: PreparedData,
    context: RunContext,
    tmp_path: Path,
) -> None:
    labels = digits.targets
    kept = digits.rows("train")[labels[digits.rows("train")] != 3]
    np.savez(tmp_path / "split.npz", train=kept, validation=digits.rows("validation"), test=digits.rows("test"))
    data = replace(digits, split_file=tmp_path / "split.npz")
    with pytest.raises(CalibrationError, match="class 3"):
        calibrated(image_onnx, data, image_student, context, samples=FEW)
