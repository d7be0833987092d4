from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.quantize.graph import read_graph
from pipeline.quantize.inspect import float_operators, layer_weights, weight_bytes
from pipeline.quantize.onnx import preset_for, quantize_onnx
from pipeline.results import Calibration, ExportedFile, NetworkResult, PreparedData
from pipeline.store import Store
from targets.profile import Quantization
from tests.pipeline.quantized import FEW, calibrated, likeness, opened, scores_of, without_padding

STATIC = Quantization(scheme="int8-static")


def kernels(file: Path, folder: Path) -> Counter[str]:
    """Operators that onnxruntime really runs, after its own optimisation."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(file), options)
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


def test_float32_is_handed_on_as_it_is(image_onnx: ExportedFile, digits: PreparedData, context: RunContext) -> None:
    assert quantize_onnx(image_onnx, digits, Quantization(scheme="float32"), None, (), context) is image_onnx


@pytest.mark.parametrize("onnx_format", ["qdq", "qoperator"])
def test_every_convolution_of_a_static_file_runs_in_8_bits(
    image_calibration: Calibration,
    image_onnx: ExportedFile,
    digits: PreparedData,
    session_context: RunContext,
    tmp_path: Path,
    onnx_format: str,
) -> None:
    convolutions = sum(node.op_type == "Conv" for node in onnx.load(str(image_onnx.file)).graph.node)
    quantization = Quantization(scheme="int8-static", onnx_format=onnx_format)  # type: ignore[arg-type]
    file = quantize_onnx(image_onnx, digits, quantization, image_calibration, (), session_context)
    found = kernels(file.file, tmp_path)
    assert found["QLinearConv"] == convolutions
    assert not {"Conv", "Gemm", "Clip", "Relu"} & set(found)


@pytest.mark.parametrize(("activations", "weights"), [("uint8", "uint8"), ("int8", "int8")])
def test_the_profile_chooses_the_types(
    image_calibration: Calibration,
    image_onnx: ExportedFile,
    digits: PreparedData,
    session_context: RunContext,
    activations: str,
    weights: str,
) -> None:
    quantization = Quantization(scheme="int8-static", onnx_activations=activations, onnx_weights=weights)  # type: ignore[arg-type]
    file = quantize_onnx(image_onnx, digits, quantization, image_calibration, (), session_context)
    assert {weight.dtype for weight in layer_weights(read_graph(file.file, "onnx"))} == {weights}
    quantized = [n for n in onnx.load(str(file.file)).graph.node if n.op_type == "QuantizeLinear"]
    assert {read_graph(file.file, "onnx").dtypes[node.input[2]] for node in quantized} == {activations}
    assert likeness(scores_of(file, digits), scores_of(image_onnx, digits)) > 0.9


def test_signed_activations_with_unsigned_weights_are_refused(
    image_calibration: Calibration, image_onnx: ExportedFile, digits: PreparedData, context: RunContext
) -> None:
    quantization = Quantization(scheme="int8-static", onnx_activations="int8", onnx_weights="uint8")
    with pytest.raises(InputError, match="onnx_weights"):
        quantize_onnx(image_onnx, digits, quantization, image_calibration, (), context)


def test_per_tensor_weights_have_one_scale_each(
    image_calibration: Calibration, image_onnx: ExportedFile, digits: PreparedData, session_context: RunContext
) -> None:
    per_channel = quantize_onnx(image_onnx, digits, STATIC, image_calibration, (), session_context)
    per_tensor = quantize_onnx(
        image_onnx,
        digits,
        Quantization(scheme="int8-static", granularity="per-tensor"),
        image_calibration,
        (),
        session_context,
    )

    def scales(file: ExportedFile) -> set[int]:
        """Dimensions of the scales of the convolutions' weights: one for a list, none for a single number."""
        model = onnx.load(str(file.file))
        dimensions = {constant.name: len(constant.dims) for constant in model.graph.initializer}
        dequantized = [node.input for node in model.graph.node if node.op_type == "DequantizeLinear"]
        return {dimensions[scale] for value, scale, *_ in dequantized if dimensions.get(value) == 4}

    assert scales(per_channel) == {1}
    assert scales(per_tensor) == {0}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_8_bit_inputs_take_pixels_exactly_and_outputs_tell_their_scale(
    image_calibration: Calibration,
    image_onnx: ExportedFile,
    digits: PreparedData,
    session_context: RunContext,
    dtype: str,
) -> None:
    quantization = Quantization(scheme="int8-static", io_dtype=dtype)  # type: ignore[arg-type]
    file = quantize_onnx(image_onnx, digits, quantization, image_calibration, (), session_context)
    assert file.label == "int8-static-io8"
    (given,), (taken,) = opened(file).inputs, opened(file).outputs
    assert (given.name, given.dtype, taken.name, taken.dtype) == ("image", dtype, "scores", dtype)
    pixels = np.arange(256, dtype=np.float32)
    assert np.array_equal(given.dequantize(given.quantize(pixels)), pixels)
    with_float_io = quantize_onnx(image_onnx, digits, STATIC, image_calibration, (), session_context)
    # The same arithmetic: only the scores are rounded, softmax being computed in 8 bits too.
    assert np.abs(scores_of(file, digits) - scores_of(with_float_io, digits)).max() <= 2 / 256


@pytest.mark.parametrize("scheme", ["float16", "int8-dynamic", "int8-static"])
def test_the_same_input_gives_the_same_bytes(
    image_calibration: Calibration, image_onnx: ExportedFile, digits: PreparedData, tmp_path: Path, scheme: str
) -> None:
    quantization = Quantization(scheme=scheme)  # type: ignore[arg-type]
    contexts = [RunContext(Store(tmp_path / name), seed=0) for name in ("a", "somewhere_else")]
    files = [quantize_onnx(image_onnx, digits, quantization, image_calibration, (), context) for context in contexts]
    assert files[0].file.read_bytes() == files[1].file.read_bytes()
    assert files[0].sha256 == files[1].sha256
    assert str(tmp_path).encode() not in files[0].file.read_bytes()


def test_without_float_fallback_every_operator_is_quantized(
    image_calibration: Calibration, image_onnx: ExportedFile, digits: PreparedData, session_context: RunContext
) -> None:
    allowed = quantize_onnx(image_onnx, digits, STATIC, image_calibration, (), session_context)
    assert float_operators(read_graph(allowed.file, "onnx"), "onnx")["softmax"]
    strict = Quantization(scheme="int8-static", allow_float_fallback=False)
    file = quantize_onnx(image_onnx, digits, strict, image_calibration, (), session_context)
    assert not float_operators(read_graph(file.file, "onnx"), "onnx")
    assert likeness(scores_of(file, digits), scores_of(image_onnx, digits)) > 0.9


def test_what_has_to_stay_float_is_listed_where_the_profile_forbids_it(
    text_calibration: Calibration, text_onnx: ExportedFile, reviews: PreparedData, context: RunContext
) -> None:
    strict = Quantization(scheme="int8-static", allow_float_fallback=False)
    with pytest.raises(InputError, match=r"2 softmax.*allow_float_fallback"):
        quantize_onnx(text_onnx, reviews, strict, text_calibration, (), context)


@pytest.mark.parametrize("task", ["image", "text"])
def test_float16_halves_the_file_and_keeps_the_scores(
    task: str, request: pytest.FixtureRequest, session_context: RunContext, tmp_path: Path
) -> None:
    export: ExportedFile = request.getfixturevalue(f"{task}_onnx")
    data: PreparedData = request.getfixturevalue("digits" if task == "image" else "reviews")
    file = quantize_onnx(export, data, Quantization(scheme="float16"), None, (), session_context)
    assert file.bytes < 0.56 * export.bytes
    assert next(iter(weight_bytes(file.file, "onnx"))) == "float16"
    assert likeness(scores_of(file, data), scores_of(export, data)) > 0.999
    # The casts are folded when the file is opened: no operator more than in the float32 file.
    assert kernels(file.file, tmp_path) == kernels(export.file, tmp_path)


def test_dynamic_images_have_8_bit_weights(
    image_onnx: ExportedFile, digits: PreparedData, session_context: RunContext
) -> None:
    file = quantize_onnx(image_onnx, digits, Quantization(scheme="int8-dynamic"), None, (), session_context)
    assert file.calibration_manifest is None
    assert {weight.dtype for weight in layer_weights(read_graph(file.file, "onnx"))} == {"int8"}
    assert likeness(scores_of(file, digits), scores_of(image_onnx, digits)) > 0.9


@pytest.mark.parametrize(("isa", "weights"), [((), "int8"), (("neon", "dotprod"), "int8"), (("avx2",), "uint8")])
def test_dynamic_texts_follow_the_preset_of_the_instruction_set(
    text_onnx: ExportedFile, reviews: PreparedData, session_context: RunContext, isa: tuple[str, ...], weights: str
) -> None:
    file = quantize_onnx(text_onnx, reviews, Quantization(scheme="int8-dynamic"), None, isa, session_context)
    found = layer_weights(read_graph(file.file, "onnx"))
    assert {weight.dtype for weight in found if weight.operator == "mat-mul-integer"} == {weights}
    assert {weight.dtype for weight in found if weight.operator == "gather"} == {"uint8"}  # embeddings
    assert file.bytes < text_onnx.bytes / 3.8
    assert np.abs(scores_of(file, reviews) - scores_of(text_onnx, reviews)).max() < 0.05


def test_weights_that_the_profile_asks_for_go_before_the_preset(
    text_calibration: Calibration, text_onnx: ExportedFile, reviews: PreparedData, session_context: RunContext
) -> None:
    quantization = Quantization(scheme="int8-dynamic", onnx_weights="int8")
    file = quantize_onnx(text_onnx, reviews, quantization, text_calibration, ("avx2",), session_context)
    assert {w.dtype for w in layer_weights(read_graph(file.file, "onnx")) if w.operator != "gather"} == {"int8"}


@pytest.mark.parametrize(
    ("isa", "preset"),
    [
        (("avx2", "avx512f", "avx512_vnni"), "avx512_vnni"),
        (("avx2", "avx512f"), "avx512"),
        (("avx2", "avx_vnni"), "avx512_vnni"),
        (("avx2",), "avx2"),
        (("neon", "fp16"), "arm64"),
        ((), "arm64"),
    ],
)
def test_the_best_instruction_set_names_the_preset(isa: tuple[str, ...], preset: str) -> None:
    assert preset_for(isa) == preset


@pytest.mark.parametrize("padding", [True, False])
def test_static_texts_keep_padding_out_of_the_attention(
    text_onnx: ExportedFile,
    text_student: NetworkResult,
    reviews: PreparedData,
    session_context: RunContext,
    tmp_path: Path,
    padding: bool,
) -> None:
    seen = reviews if padding else without_padding(reviews, tmp_path)
    calibration = calibrated(text_onnx, seen, text_student, session_context, samples=FEW)
    file = quantize_onnx(text_onnx, seen, STATIC, calibration, (), session_context)
    left = float_operators(read_graph(file.file, "onnx"), "onnx")
    assert left["add"] == 2  # the mask is added to the scores in float, once a layer
    assert np.abs(scores_of(file, reviews) - scores_of(text_onnx, reviews)).max() < 0.05
