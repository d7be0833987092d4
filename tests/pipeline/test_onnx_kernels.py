"""Changes to ONNX graphs that keep every number and spare onnxruntime work."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.context import RunContext
from pipeline.export.onnx_pooling import pool_globally
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.onnx_kernels import TOGETHER, widen_first_convolution
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.profile import Quantization


def model_of(nodes: list[Any], constants: list[Any], shape: tuple[int, ...], opset: int = 20) -> Any:
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    ends.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape)))
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def result(model: Any, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    found: np.ndarray = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]
    return found


def quantized_convolution(channels: int, takers: str = "convolution") -> Any:
    random = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(np.float32(0.5), "scale"),
        numpy_helper.from_array(np.uint8(7), "zero"),
        numpy_helper.from_array(random.integers(-127, 128, (8, channels, 3, 3)).astype(np.int8), "weight"),
        numpy_helper.from_array(np.float32(0.01), "weight_scale"),
        numpy_helper.from_array(np.int8(0), "weight_zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x_8"]),
        helper.make_node("DequantizeLinear", ["x_8", "scale", "zero"], ["x_real"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["weight_real"]),
        helper.make_node("Conv", ["x_real", "weight_real"], ["y"], pads=[1, 1, 1, 1]),
    ]
    if "the 8 bits" in takers:
        nodes.insert(2, helper.make_node("DequantizeLinear", ["x_8", "scale", "zero"], ["again"]))
    if "the real numbers" in takers:  # as a residual connection does
        nodes.append(helper.make_node("Neg", ["x_real"], ["again"]))
    return model_of(nodes, constants, (1, channels, 6, 6))


def test_colours_get_a_channel_of_zeros_beside_them_and_the_numbers_stay() -> None:
    model, x = quantized_convolution(3), np.random.default_rng(1).uniform(-9, 99, (1, 3, 6, 6)).astype(np.float32)
    expected = result(model, x)
    widen_first_convolution(model)
    onnx.checker.check_model(model)
    weight = next(constant for constant in model.graph.initializer if constant.name == "weight")
    assert list(weight.dims) == [8, TOGETHER, 3, 3]
    assert [node.op_type for node in model.graph.node].count("Pad") == 1
    np.testing.assert_array_equal(result(model, x), expected)


@pytest.mark.parametrize(
    ("channels", "takers"),
    [(4, "convolution"), (8, "convolution"), (3, "and another of the 8 bits"), (3, "and another of the real numbers")],
)
def test_enough_channels_and_what_others_take_too_stay_as_they_are(channels: int, takers: str) -> None:
    model = quantized_convolution(channels, takers)
    before = model.SerializeToString()
    widen_first_convolution(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("io_dtype", ["float32", "uint8"])
def test_a_students_first_convolution_takes_pixels_and_zeros(
    form: str,
    io_dtype: str,
    image_calibration: Calibration,
    image_onnx: ExportedFile,
    digits: PreparedData,
    session_context: RunContext,
) -> None:
    """Nothing is computed before it: pixels are stored, or come stored, as they are."""
    scheme = Quantization(scheme="int8-static", onnx_format=form, io_dtype=io_dtype)  # type: ignore[arg-type]
    file = quantize_onnx(image_onnx, digits, scheme, image_calibration, (), session_context)
    kinds = [node.op_type for node in onnx.load(str(file.file)).graph.node]
    before = [kind for kind in kinds[: kinds.index("Pad")] if kind != "DequantizeLinear"]
    assert before == (["QuantizeLinear"] if io_dtype == "float32" else [])
    assert not {"Sub", "Mul"} & set(kinds)


@pytest.mark.parametrize("opset", [13, 20])
def test_a_mean_over_positions_becomes_global_pooling(opset: int) -> None:
    axes = numpy_helper.from_array(np.int64([-1, -2]), "axes")
    pool = (
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1)
        if opset >= 18
        else helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=1)
    )
    nodes = [
        pool,
        helper.make_node("Reshape", ["mean", "row"], ["all"]),
        helper.make_node("Gather", ["all", "order"], ["looked_up"], axis=0),
        helper.make_node("Neg", ["looked_up"], ["y"]),
    ]
    constants = [
        axes, numpy_helper.from_array(np.int64([-1]), "row"),
        numpy_helper.from_array(np.arange(5).reshape(1, 5, 1, 1), "order"),
    ]  # fmt: skip
    model, x = (
        model_of(nodes, constants, (1, 5, 4, 4), opset),
        np.random.default_rng(0).random((1, 5, 4, 4), np.float32),
    )
    pool_globally(model)
    assert [node.op_type for node in model.graph.node] == ["GlobalAveragePool", "Neg"]
    np.testing.assert_allclose(result(model, x), -x.mean((2, 3), keepdims=True), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axes", "keepdims"), [((1, 5, 4), [-1, -2], 1), ((1, 5, 4, 4), [1, 2], 1), ((1, 5, 4, 4), [2, 3], 0)]
)
def test_other_means_stay(shape: tuple[int, ...], axes: list[int], keepdims: int) -> None:
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=keepdims)
    model = model_of([node], [numpy_helper.from_array(np.int64(axes), "axes")], shape)
    pool_globally(model)
    assert [node.op_type for node in model.graph.node] == ["ReduceMean"]


def test_a_lookup_in_another_order_stays() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Reshape", ["mean", "row"], ["all"]),
        helper.make_node("Gather", ["all", "order"], ["y"], axis=0),
    ]
    constants = [
        numpy_helper.from_array(np.int64([2, 3]), "axes"), numpy_helper.from_array(np.int64([-1]), "row"),
        numpy_helper.from_array(np.arange(5)[::-1].reshape(1, 5, 1, 1).copy(), "order"),
    ]  # fmt: skip
    model, x = model_of(nodes, constants, (1, 5, 2, 2)), np.random.default_rng(0).random((1, 5, 2, 2), np.float32)
    pool_globally(model)
    np.testing.assert_allclose(result(model, x), x.mean((2, 3), keepdims=True)[:, ::-1], rtol=1e-6)


def test_a_student_pools_by_one_operator_and_computes_nothing_before_it(image_onnx: ExportedFile) -> None:
    kinds = [node.op_type for node in onnx.load(str(image_onnx.file)).graph.node]
    assert kinds.count("GlobalAveragePool") == 1
    assert not {"ReduceMean", "Gather", "Sub", "Mul"} & set(kinds)
