from dataclasses import replace
from pathlib import Path

import pytest

from calibration.errors import CalibrationError
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.quantize.failures import quantizing
from pipeline.quantize.onnx import quantize_onnx
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.errors import TargetError
from targets.profile import Quantization


def test_a_quantizers_own_error_is_told_with_the_scheme_and_what_to_do() -> None:
    told = r"tflite file can't be quantized to int8-static.*KeyError.*choose another"
    with pytest.raises(InputError, match=told), quantizing("tflite", "int8-static"):
        raise KeyError("tensor 7")


@pytest.mark.parametrize("error", [InputError("told"), CalibrationError("told"), OSError("no space"), MemoryError()])
def test_errors_that_say_what_is_wrong_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, quantizing("onnx", "int8-static"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("scheme", ["float16", "int8-dynamic", "int8-static"])
def test_a_truncated_model_is_told_and_leaves_no_result(
    image_onnx: ExportedFile,
    image_calibration: Calibration,
    digits: PreparedData,
    context: RunContext,
    tmp_path: Path,
    scheme: str,
) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(image_onnx.file.read_bytes()[: image_onnx.bytes // 2])
    export = replace(image_onnx, file=cut)
    calibration = replace(image_calibration, model_file=cut)
    with pytest.raises((InputError, TargetError)):
        quantize_onnx(export, digits, Quantization(scheme=scheme), calibration, (), context)  # type: ignore[arg-type]
    assert not list((tmp_path / "store").rglob("result.json"))
