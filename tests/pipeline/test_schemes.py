"""Every scheme in both formats on students that were trained: it runs in its runtime, says what the float file says,
has the size that its name promises, and holds the dtypes inside."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.quantize.graph import read_graph
from pipeline.quantize.inspect import LAYERS, check_quantized, layer_weights
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.profile import Quantization
from targets.schemes import FOUR_BIT
from tests.pipeline.quantized import accuracy_of, likeness, opened, scores_of

DATA = {"image": "digits", "text": "reviews"}


def quantized(
    request: pytest.FixtureRequest, task: str, format: str, scheme: str, **settings: Any
) -> tuple[ExportedFile, ExportedFile, PreparedData]:
    """The float file of the trained student, the file in `scheme`, and the data that they are for."""
    export: ExportedFile = request.getfixturevalue(f"{task}_{format}")
    data: PreparedData = request.getfixturevalue(DATA[task])
    context: RunContext = request.getfixturevalue("session_context")
    quantization = Quantization.model_validate({"scheme": scheme, **settings})
    calibration: Calibration | None = None
    if quantization.static:
        calibration = request.getfixturevalue(f"{task}_calibration")
    if format == "onnx":
        return export, quantize_onnx(export, data, quantization, calibration, ("neon",), context), data
    return export, quantize_tflite(export, data, quantization, calibration, context), data


@dataclass(frozen=True)
class Wanted:
    """Weights' dtypes by operator; `smaller`: the float file's bytes over the file's, at least; `lost`: of accuracy, at
    most; `like`: correlation of the scores with the float file's, at least."""

    weights: dict[str, set[str]]
    smaller: float
    lost: float = 0.05
    like: float = 0.9


INT8 = {"int8"}
FOUR = {"int4"}


def of_images(layers: set[str], depthwise: set[str] | None = None) -> dict[str, set[str]]:
    """The dtypes of a MobileNet's weights in TFLite."""
    return {"conv-2d": layers, "fully-connected": layers, "depthwise-conv-2d": depthwise or layers}


MATRIX = {
    ("image", "onnx", "float16"): Wanted({"conv": {"float16"}, "gemm": {"float16"}}, 1.7, 0.0, 0.999),
    ("image", "onnx", "int8-dynamic"): Wanted({"conv-integer": INT8, "mat-mul-integer": INT8}, 3.0),
    ("image", "onnx", "int8-static"): Wanted({"conv": INT8, "gemm": INT8}, 2.5),
    ("image", "onnx", "int8-static-a16"): Wanted({"conv": INT8, "gemm": INT8}, 2.5, 0.05, 0.97),
    ("image", "tflite", "float16"): Wanted(of_images({"float16"}), 1.7, 0.0, 0.999),
    ("image", "tflite", "int8-dynamic"): Wanted(of_images(INT8), 2.2),
    ("image", "tflite", "int8-static"): Wanted(of_images(INT8), 2.2),
    ("image", "tflite", "int8-static-a16"): Wanted(of_images(INT8), 2.2, 0.05, 0.97),
    ("image", "tflite", "int4-dynamic"): Wanted(of_images(FOUR, INT8), 3.0, 0.2, 0.5),
    ("image", "tflite", "int4-weights"): Wanted(of_images(FOUR, INT8), 3.0, 0.2, 0.5),
    ("text", "onnx", "int8-dynamic"): Wanted({"gather": {"uint8"}, "mat-mul-integer": INT8}, 3.8),
    ("text", "onnx", "int8-static"): Wanted({"gather": {"uint8"}, "mat-mul": INT8, "gemm": INT8}, 3.5),
    ("text", "onnx", "int8-static-a16"): Wanted({"gather": INT8, "mat-mul": INT8, "gemm": INT8}, 3.5, 0.05, 0.97),
    ("text", "onnx", "int4-dynamic"): Wanted({"gather-block-quantized": FOUR, "mat-mul-n-bits": {"uint4"}}, 4.0),
    ("text", "onnx", "int4-weights"): Wanted({"gather-block-quantized": FOUR, "mat-mul-n-bits": {"uint4"}}, 4.0),
    ("text", "tflite", "int8-dynamic"): Wanted({"embedding-lookup": INT8, "fully-connected": INT8}, 3.1),
    ("text", "tflite", "int8-static"): Wanted({"embedding-lookup": INT8, "fully-connected": INT8}, 3.1),
    ("text", "tflite", "int8-static-a16"): Wanted({"embedding-lookup": INT8, "fully-connected": INT8}, 3.1, 0.05, 0.97),
    ("text", "tflite", "int4-dynamic"): Wanted({"embedding-lookup": FOUR, "fully-connected": FOUR}, 4.0),
    ("text", "tflite", "int4-weights"): Wanted({"embedding-lookup": FOUR, "fully-connected": FOUR}, 4.0, 0.2, 0.5),
}
# One scale for a whole channel of 4-bit weights: what LiteRT has no other form of.
WHOLE = {("image", "tflite", "int4-dynamic"), ("image", "tflite", "int4-weights"), ("text", "tflite", "int4-weights")}


@pytest.mark.parametrize(("task", "format", "scheme"), MATRIX)
def test_a_scheme_keeps_what_its_name_promises(
    request: pytest.FixtureRequest, task: str, format: str, scheme: str
) -> None:
    wanted = MATRIX[task, format, scheme]
    blocks = {"granularity": "per-block"} if scheme in FOUR_BIT and (task, format, scheme) not in WHOLE else {}
    export, file, data = quantized(request, task, format, scheme, **blocks)
    assert file.label == scheme
    found: dict[str, set[str]] = {}
    for weight in layer_weights(read_graph(file.file, format)):  # type: ignore[arg-type]
        found.setdefault(weight.operator, set()).add(weight.dtype)
    assert found == wanted.weights
    assert export.bytes / file.bytes >= wanted.smaller
    assert accuracy_of(file, data) >= accuracy_of(export, data) - wanted.lost
    assert likeness(scores_of(file, data), scores_of(export, data)) >= wanted.like
    assert {spec.dtype for spec in opened(file).outputs} == {"float32"}


def activations(file: ExportedFile) -> Counter[str]:
    """Dtypes of what the operators give, by number; in ONNX, of what is quantized on its way."""
    if file.format == "onnx":
        model = onnx.load(str(file.file))
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        return Counter(constants[node.input[2]].dtype.name for node in nodes)
    graph = read_graph(file.file, file.format)
    made = [name for operator in graph.operators for name in operator.outputs]
    return Counter(graph.dtypes[name] for name in made if graph.dtypes.get(name, "").startswith(("int", "uint")))


@pytest.mark.parametrize("task", ["image", "text"])
@pytest.mark.parametrize(("format", "symmetry"), [("onnx", "symmetric"), ("onnx", "asymmetric"), ("tflite", None)])
def test_activations_of_16_bits_are_16_bits_wide_and_round_less_than_8(
    request: pytest.FixtureRequest, task: str, format: str, symmetry: str | None
) -> None:
    export, wide, data = quantized(request, task, format, "int8-static-a16", activations=symmetry)
    _, narrow, _ = quantized(request, task, format, "int8-static")
    dtype = "uint16" if symmetry == "asymmetric" else "int16"
    assert activations(wide)[dtype] > 10
    # Rows of an 8-bit table are no more precise than 8 bits.
    assert task == "text" or not {"int8", "uint8"} & set(activations(wide))
    expected = scores_of(export, data)
    assert np.abs(scores_of(wide, data) - expected).mean() < np.abs(scores_of(narrow, data) - expected).mean()


def zero_points(file: ExportedFile) -> set[int]:
    """Of the 8-bit activations."""
    if file.format == "onnx":
        model = onnx.load(str(file.file))
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        return {int(constants[node.input[2]]) for node in model.graph.node if node.op_type == "QuantizeLinear"}
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file.file))
    made = {int(index) for operator in interpreter._get_ops_details() for index in operator["outputs"]}
    details = [detail for detail in interpreter.get_tensor_details() if detail["index"] in made]
    return {detail["quantization"][1] for detail in details if detail["dtype"] == np.int8}


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_symmetric_activations_have_zero_points_of_zero(request: pytest.FixtureRequest, format: str) -> None:
    signed = {"onnx_activations": "int8"}
    export, symmetric, data = quantized(request, "image", format, "int8-static", activations="symmetric", **signed)
    _, asymmetric, _ = quantized(request, "image", format, "int8-static", **signed)
    softmax = {-128} if format == "tflite" else set()  # LiteRT's has a range of its own
    assert zero_points(symmetric) == {0} | softmax
    assert len(zero_points(asymmetric)) > 3
    assert likeness(scores_of(symmetric, data), scores_of(export, data)) > 0.9


@pytest.mark.parametrize("granularity", ["per-channel", "per-block"])
def test_weights_of_4_bits_have_a_scale_a_channel_or_a_block(request: pytest.FixtureRequest, granularity: str) -> None:
    from ai_edge_litert.tools import flatbuffer_utils

    export, file, data = quantized(request, "text", "tflite", "int4-dynamic", granularity=granularity)
    model = flatbuffer_utils.read_model(str(file.file))
    details = [tensor.quantization.details for tensor in model.subgraphs[0].tensors if tensor.quantization]
    blocks = {detail.blockSize for detail in details if hasattr(detail, "blockSize")}
    assert blocks == ({32} if granularity == "per-block" else set())
    assert likeness(scores_of(file, data), scores_of(export, data)) > 0.9


def test_a_4_bit_convolution_is_refused_for_onnxruntime(
    request: pytest.FixtureRequest, image_onnx: ExportedFile
) -> None:
    with pytest.raises(InputError, match="none for convolutions"):
        quantized(request, "image", "onnx", "int4-weights")
    assert "conv" in LAYERS


@pytest.mark.parametrize(("format", "dtype"), [("onnx", "mat-mul"), ("tflite", "fully-connected")])
def test_a_file_of_8_bit_weights_does_not_pass_for_one_of_4(
    request: pytest.FixtureRequest, format: str, dtype: str
) -> None:
    from dataclasses import replace

    _, file, _ = quantized(request, "text", format, "int8-dynamic")
    with pytest.raises(InputError, match=rf"{dtype}.*are not int4 or uint4"):
        check_quantized(replace(file, scheme="int4-dynamic"))
