"""Every calibration method, in both formats, on a MobileNet that was trained."""

import pytest

from calibration.manifest import read_manifest
from calibration.ranges import DESCRIPTIONS
from pipeline.context import RunContext
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from targets.profile import Quantization
from tests.pipeline.quantized import FEW, accuracy_of, calibrated, likeness, scores_of

STATIC = Quantization(scheme="int8-static")
LOST = 0.05  # at most, of the test samples that the float file has right: three of sixty


@pytest.mark.parametrize("method", DESCRIPTIONS)
def test_every_calibration_method_keeps_the_accuracy_in_both_formats(
    image_onnx: ExportedFile,
    image_tflite: ExportedFile,
    image_student: NetworkResult,
    digits: PreparedData,
    session_context: RunContext,
    method: str,
) -> None:
    calibration = calibrated(image_onnx, digits, image_student, session_context, samples=FEW, method=method)
    for export, file in (
        (image_onnx, quantize_onnx(image_onnx, digits, STATIC, calibration, (), session_context)),
        (image_tflite, quantize_tflite(image_tflite, digits, STATIC, calibration, session_context)),
    ):
        assert accuracy_of(file, digits) >= accuracy_of(export, digits) - LOST
        assert likeness(scores_of(file, digits), scores_of(export, digits)) > 0.9
        assert file.calibration_manifest is not None
        assert read_manifest(file.calibration_manifest).method.endswith(f"({method})")
