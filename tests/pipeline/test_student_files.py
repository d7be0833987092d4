"""Every family's student as files that ship: exported to both formats, quantized, run by both runtimes."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.context import RunContext
from pipeline.export.onnx import export_onnx
from pipeline.export.tflite import export_tflite
from pipeline.quantize.graph import read_graph
from pipeline.quantize.inspect import float_operators
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.student import student_architecture
from targets.profile import Quantization
from targets.runtimes.base import operators
from tests.networks import small_student
from tests.pipeline.quantized import FEW, calibrated, likeness, scores_of

STATIC, DYNAMIC = Quantization(scheme="int8-static"), Quantization(scheme="int8-dynamic")
VNNI = ("avx512_vnni",)
# One of each network's sizes; MobileNetV2 and TinyBERT are what most tests export and quantize.
IMAGES = [
    "mobilenetv3_small",
    "mobilenetv3_small_minimal",
    "mobilenetv4_conv_small",
    "efficientnet_lite1",
    "squeezenet",
]


def image_files(
    settings: StudentSettings, data: PreparedData, teacher: NetworkResult, folder: Path, context: RunContext
) -> tuple[NetworkResult, list[ExportedFile], list[ExportedFile]]:
    """A student, its float32 files and its INT8 files, ONNX before TFLite."""
    architecture = student_architecture(settings, data, teacher)
    rate = 3e-4 if settings.family == "squeezenet" else 3e-3  # it has no batch normalisation
    student = small_student(data, architecture, folder, epochs=6, learning_rate=rate)
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
    family: str, digits: PreparedData, image_student: NetworkResult, session_context: RunContext, tmp_path: Path
) -> None:
    settings = StudentSettings(family=family, width=0.25)
    student, exported, quantized = image_files(settings, digits, image_student, tmp_path, session_context)
    logits = np.exp(student.test_logits)
    probabilities = logits / logits.sum(1, keepdims=True)
    for file in exported:
        np.testing.assert_allclose(scores_of(file, digits), probabilities, atol=2e-3)
    for file, before in zip(quantized, exported, strict=True):
        assert likeness(scores_of(file, digits), probabilities) > 0.75  # deep and hardly trained, it rounds badly
        assert file.bytes < before.bytes


def test_an_adapted_student_ships_without_the_operator(
    digits: PreparedData, image_student: NetworkResult, session_context: RunContext, tmp_path: Path
) -> None:
    """What the delegate does not take in 8 bits is in no file, and what replaced it is in 8 bits."""
    settings = StudentSettings(family="mobilenetv3_small", width=0.25, adapt=("hard-swish", "hard-sigmoid"))
    _, exported, quantized = image_files(settings, digits, image_student, tmp_path, session_context)
    for file in (*exported, *quantized):
        assert not kinds(file) & {"hard-swish", "hard-sigmoid"}, file.label
    for file in quantized:
        left = float_operators(read_graph(file.file, file.format), file.format)
        assert not set(left) & {"clip", "relu6", "add", "conv", "conv-2d"}, file.format
        assert left["mul"] <= 1, file.format  # of the pixels


@pytest.mark.parametrize("family", ["bilstm", "textcnn"])
def test_a_text_student_ships_in_both_formats_in_8_bits_and_padding_never_counts(
    family: str, reviews: PreparedData, text_student: NetworkResult, session_context: RunContext, tmp_path: Path
) -> None:
    """A file's texts are filled up to its length, those that PyTorch judged only to the longest of a batch."""
    length = 29
    settings = StudentSettings(family=family, embedding=32, hidden=32)
    architecture = student_architecture(settings, reviews, text_student)
    student = small_student(reviews, architecture, tmp_path, epochs=3)
    rows = reviews.rows("test")
    short = reviews.lengths[rows] <= length
    assert len(np.unique(reviews.lengths[rows][short])) > 2
    logits = np.exp(student.test_logits)
    probabilities = (logits / logits.sum(1, keepdims=True))[short]
    onnx = export_onnx(reviews, student, 20, length, session_context)
    tflite = export_tflite(reviews, student, length, session_context)
    quantized = [
        quantize_onnx(onnx, reviews, DYNAMIC, None, VNNI, session_context),
        quantize_tflite(tflite, reviews, DYNAMIC, None, session_context),
    ]
    for file in (onnx, tflite):
        np.testing.assert_allclose(scores_of(file, reviews)[short], probabilities, atol=1e-4)
    for file in quantized:
        np.testing.assert_allclose(scores_of(file, reviews)[short], probabilities, atol=0.02)
        assert file.bytes < 0.45 * onnx.bytes  # each word vector has a scale
    if family == "bilstm":
        assert kinds(onnx) >= {"lstm"}
        assert "dynamic-quantize-lstm" in kinds(quantized[0])
