import weakref
from pathlib import Path

import numpy as np
import pytest

from calibration.stream import CHUNK, SampleStream
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.quantize.graph import read_graph
from pipeline.quantize.inspect import float_operators, layer_weights, weight_bytes
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.samples import stream_of
from pipeline.quantize.tflite import _extremes, quantize_tflite
from pipeline.results import Calibration, ExportedFile, NetworkResult, PreparedData
from pipeline.store import Store
from targets.profile import Quantization
from tests.pipeline.quantized import FEW, activation_scales, calibrated, likeness, opened, scores_of, without_padding

STATIC = Quantization(scheme="int8-static")


def test_float32_is_handed_on_as_it_is(image_tflite: ExportedFile, digits: PreparedData, context: RunContext) -> None:
    assert quantize_tflite(image_tflite, digits, Quantization(scheme="float32"), None, context) is image_tflite


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
def test_a_static_file_is_8_bit_inside_and_as_asked_at_its_ends(
    image_calibration: Calibration,
    image_tflite: ExportedFile,
    digits: PreparedData,
    session_context: RunContext,
    dtype: str,
) -> None:
    quantization = Quantization(scheme="int8-static", io_dtype=dtype, allow_float_fallback=False)  # type: ignore[arg-type]
    file = quantize_tflite(image_tflite, digits, quantization, image_calibration, session_context)
    graph = read_graph(file.file, "tflite")
    assert {weight.dtype for weight in layer_weights(graph)} == {"int8"}
    assert not float_operators(graph, "tflite")
    (given,), (taken,) = opened(file).inputs, opened(file).outputs
    assert (given.name, given.dtype, taken.name, taken.dtype) == ("image", dtype, "scores", dtype)
    if dtype != "float32":
        pixels = np.arange(256, dtype=np.float32)
        assert np.array_equal(given.dequantize(given.quantize(pixels)), pixels)
    assert likeness(scores_of(file, digits), scores_of(image_tflite, digits)) > 0.9


def test_both_formats_get_the_same_ranges_and_agree(
    image_onnx: ExportedFile,
    image_tflite: ExportedFile,
    image_student: NetworkResult,
    digits: PreparedData,
    session_context: RunContext,
) -> None:
    # Ranges that no file's own extremes would give.
    calibration = calibrated(image_onnx, digits, image_student, session_context, samples=FEW, method="mse")
    tflite = quantize_tflite(image_tflite, digits, STATIC, calibration, session_context)
    onnx = quantize_onnx(image_onnx, digits, STATIC, calibration, (), session_context)
    assert tflite.calibration_manifest is not None
    assert onnx.calibration_manifest is not None
    assert tflite.calibration_manifest.read_bytes() == onnx.calibration_manifest.read_bytes()
    mine, theirs = activation_scales(tflite), activation_scales(onnx)
    shared = [scale for scale in mine if np.min(np.abs(theirs - scale)) < 1e-4 * scale]
    assert len(shared) >= len(mine) - 2  # pixels and scores have scales of their own
    assert likeness(scores_of(tflite, digits), scores_of(onnx, digits)) > 0.95


def test_ranges_are_the_least_and_greatest_over_all_samples_whatever_their_order(
    image_tflite: ExportedFile, digits: PreparedData
) -> None:
    stream = stream_of(image_tflite, digits, digits.rows("train")[: 2 * CHUNK + 3])
    backwards = SampleStream(stream.rows[::-1], stream.make)
    ranges, again = (_extremes(image_tflite.file, samples, Meter("", "", 1)) for samples in (stream, backwards))
    assert ranges["image"]["max"] == max(sample["image"].max() for sample in stream)
    assert {name: (ends["min"], ends["max"]) for name, ends in ranges.items()} == {
        name: (ends["min"], ends["max"]) for name, ends in again.items()
    }


def test_no_more_than_a_chunk_of_samples_is_held_at_a_time(image_tflite: ExportedFile) -> None:
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    class Watched(np.ndarray):
        """An array that a weak set can hold."""

        __hash__ = object.__hash__

    def make(row: int) -> dict[str, np.ndarray]:
        nonlocal most
        pixels = np.full((1, 32, 32, 3), row, np.float32).view(Watched)
        alive.add(pixels)
        most = max(most, len(alive))
        return {"image": pixels}

    _extremes(image_tflite.file, SampleStream(tuple(range(5 * CHUNK)), make), Meter("", "", 1))
    assert CHUNK <= most <= 2 * CHUNK


def test_per_tensor_weights_have_one_scale_each(
    image_calibration: Calibration, image_tflite: ExportedFile, digits: PreparedData, session_context: RunContext
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    quantization = Quantization(scheme="int8-static", granularity="per-tensor")
    file = quantize_tflite(image_tflite, digits, quantization, image_calibration, session_context)
    interpreter = Interpreter(str(file.file))
    scales = {len(detail["quantization_parameters"]["scales"]) for detail in interpreter.get_tensor_details()}
    assert max(scales) == 1


@pytest.mark.parametrize("task", ["image", "text"])
def test_float16_halves_the_file_and_keeps_the_scores(
    task: str, request: pytest.FixtureRequest, session_context: RunContext
) -> None:
    export: ExportedFile = request.getfixturevalue(f"{task}_tflite")
    data: PreparedData = request.getfixturevalue("digits" if task == "image" else "reviews")
    file = quantize_tflite(export, data, Quantization(scheme="float16"), None, session_context)
    assert file.bytes < 0.6 * export.bytes
    assert next(iter(weight_bytes(file.file, "tflite"))) == "float16"
    assert likeness(scores_of(file, data), scores_of(export, data)) > 0.999


@pytest.mark.parametrize("task", ["image", "text"])
def test_dynamic_files_have_8_bit_weights_and_need_no_calibration(
    task: str, request: pytest.FixtureRequest, session_context: RunContext
) -> None:
    export: ExportedFile = request.getfixturevalue(f"{task}_tflite")
    data: PreparedData = request.getfixturevalue("digits" if task == "image" else "reviews")
    file = quantize_tflite(export, data, Quantization(scheme="int8-dynamic"), None, session_context)
    weights = layer_weights(read_graph(file.file, "tflite"))
    assert {weight.dtype for weight in weights} == {"int8"}
    assert ("embedding-lookup" in {weight.operator for weight in weights}) == (task == "text")
    assert file.calibration_manifest is None
    assert likeness(scores_of(file, data), scores_of(export, data)) > 0.9


@pytest.mark.parametrize("padding", [True, False])
def test_static_texts_have_8_bit_embeddings_and_keep_padding_out_of_the_attention(
    text_onnx: ExportedFile,
    text_tflite: ExportedFile,
    text_student: NetworkResult,
    reviews: PreparedData,
    session_context: RunContext,
    tmp_path: Path,
    padding: bool,
) -> None:
    seen = reviews if padding else without_padding(reviews, tmp_path)
    calibration = calibrated(text_onnx, seen, text_student, session_context, samples=FEW)
    file = quantize_tflite(text_tflite, seen, STATIC, calibration, session_context)
    graph = read_graph(file.file, "tflite")
    assert {weight.dtype for weight in layer_weights(graph)} == {"int8"}
    # The mask is added to the scores in float: what takes it and what comes of it, once a layer.
    assert float_operators(graph, "tflite")["add"] == float_operators(graph, "tflite")["softmax"] == 2
    assert np.abs(scores_of(file, reviews) - scores_of(text_tflite, reviews)).max() < 0.05


def test_what_has_to_stay_float_is_listed_where_the_profile_forbids_it(
    text_calibration: Calibration, text_tflite: ExportedFile, reviews: PreparedData, context: RunContext
) -> None:
    strict = Quantization(scheme="int8-static", allow_float_fallback=False)
    with pytest.raises(InputError, match=r"2 softmax.*allow_float_fallback"):
        quantize_tflite(text_tflite, reviews, strict, text_calibration, context)


@pytest.mark.parametrize("scheme", ["float16", "int8-dynamic", "int8-static"])
def test_the_same_input_gives_the_same_bytes(
    image_calibration: Calibration, image_tflite: ExportedFile, digits: PreparedData, tmp_path: Path, scheme: str
) -> None:
    quantization = Quantization(scheme=scheme)  # type: ignore[arg-type]
    contexts = [RunContext(Store(tmp_path / name), seed=0) for name in ("a", "somewhere_else")]
    files = [quantize_tflite(image_tflite, digits, quantization, image_calibration, context) for context in contexts]
    assert files[0].file.read_bytes() == files[1].file.read_bytes()
    assert str(tmp_path).encode() not in files[0].file.read_bytes()


def test_nothing_is_printed(
    image_tflite: ExportedFile,
    image_calibration: Calibration,
    digits: PreparedData,
    context: RunContext,
    capfd: pytest.CaptureFixture[str],
) -> None:
    quantize_tflite(image_tflite, digits, STATIC, image_calibration, context)
    assert capfd.readouterr() == ("", "")
