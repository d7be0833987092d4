"""Every family's student as files that ship: exported to both formats, quantized, run by both runtimes."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.context import RunContext
from pipeline.export.onnx import export_onnx
from pipeline.export.tflite import export_tflite
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.student import STUDENTS, student_architecture
from targets.profile import Quantization
from targets.runtimes.base import operators
from tests.networks import small_student
from tests.pipeline.quantized import FEW, calibrated, likeness, scores_of
from tests.pipeline.trained import image_teacher

STATIC, DYNAMIC = Quantization(scheme="int8-static"), Quantization(scheme="int8-dynamic")
VNNI = ("avx512_vnni",)
# Others than the MobileNetV2 and the TinyBERT that most tests export and quantize; one is adapted besides.
IMAGES = sorted(name for name, family in STUDENTS.items() if family.task == "image-classification")
IMAGES.remove("mobilenetv2")


def image_files(
    settings: StudentSettings, data: PreparedData, folder: Path, context: RunContext
) -> tuple[NetworkResult, list[ExportedFile], list[ExportedFile]]:
    """A student, its float32 files and its INT8 files, ONNX before TFLite."""
    architecture = student_architecture(settings, data, image_teacher(data, context))
    student = small_student(data, architecture, folder, epochs=1)
    onnx, tflite = export_onnx(data, student, 20, None, context), export_tflite(data, student, None, context)
    calibration = calibrated(onnx, data, student, context, samples=FEW)
    quantized = [
        quantize_onnx(onnx, data, STATIC, calibration, VNNI, context),
        quantize_tflite(tflite, data, STATIC, calibration, context),
    ]
    return student, [onnx, tflite], quantized


def kinds(file: ExportedFile) -> set[str]:
    return set(operators(file.file, "onnxruntime" if file.format == "onnx" else "litert"))


@pytest.mark.parametrize("family", IMAGES)
def test_an_image_student_ships_in_both_formats_in_8_bits(
    family: str, digits: PreparedData, session_context: RunContext, tmp_path: Path
) -> None:
    settings = StudentSettings(family=family, width=0.25)
    student, exported, quantized = image_files(settings, digits, tmp_path, session_context)
    logits = np.exp(student.test_logits)
    probabilities = logits / logits.sum(1, keepdims=True)
    for file in exported:
        np.testing.assert_allclose(scores_of(file, digits), probabilities, atol=2e-3)
    for file, before in zip(quantized, exported, strict=True):
        assert likeness(scores_of(file, digits), probabilities) > 0.9
        assert file.bytes < before.bytes
