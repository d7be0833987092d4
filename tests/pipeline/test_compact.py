"""Shipped files hold nothing that no runtime reads, and say what they said before."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.context import RunContext
from pipeline.export.compact import LONGEST, compact_onnx, compact_tflite
from pipeline.feeds import feeds
from pipeline.flatbuffer import read_model, write_model
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.profile import Quantization
from targets.runtimes.base import RuntimeOptions, open_model

STATIC = Quantization(scheme="int8-static")


@pytest.fixture(scope="module")
def int8_onnx(
    image_calibration: Calibration, image_onnx: ExportedFile, digits: PreparedData, session_context: RunContext
) -> ExportedFile:
    return quantize_onnx(image_onnx, digits, STATIC, image_calibration, (), session_context)


@pytest.fixture(scope="module")
def int8_tflite(
    image_calibration: Calibration, image_tflite: ExportedFile, digits: PreparedData, session_context: RunContext
) -> ExportedFile:
    return quantize_tflite(image_tflite, digits, STATIC, image_calibration, session_context)


def same_scores(one: Path, other: Path, runtime: str, data: PreparedData) -> bool:
    models = [open_model(file, RuntimeOptions(runtime)) for file in (one, other)]  # type: ignore[arg-type]
    rows = [int(row) for row in data.rows("test")[:8]]
    first, second = ([model.run(feeds(model.inputs, data, row))[0] for row in rows] for model in models)
    return np.array_equal(first, second)


def test_an_onnx_file_is_smaller_and_says_the_same(
    int8_onnx: ExportedFile, digits: PreparedData, tmp_path: Path
) -> None:
    model = onnx.load(str(int8_onnx.file))
    before = len(model.graph.initializer)
    compact_onnx(model)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").stat().st_size < 0.95 * int8_onnx.bytes
    assert len(model.graph.initializer) < before
    assert {value.name for value in (*model.graph.input, *model.graph.output)} == {"image", "scores"}
    assert any(constant.name.endswith("conv_stem.weight_quantized") for constant in model.graph.initializer)
    assert same_scores(int8_onnx.file, tmp_path / "small.onnx", "onnxruntime", digits)


def test_a_tflite_file_is_smaller_and_says_the_same(
    int8_tflite: ExportedFile, digits: PreparedData, tmp_path: Path
) -> None:
    model = read_model(int8_tflite.file.read_bytes())
    compact_tflite(model)
    small = tmp_path / "small.tflite"
    small.write_bytes(write_model(model))
    assert small.stat().st_size < 0.8 * int8_tflite.bytes
    names = [tensor.name.decode() for tensor in model.subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= LONGEST + len(".1000")
    assert {spec.name for spec in open_model(small, RuntimeOptions("litert")).inputs} == {"image"}
    assert same_scores(int8_tflite.file, small, "litert", digits)


def test_equal_constants_are_kept_once_and_unused_ones_not_at_all() -> None:
    one, two = (numpy_helper.from_array(np.float32([1, 2]), name) for name in ("one", "two"))
    unlike = numpy_helper.from_array(np.int32([1, 2]), "unlike")
    unused = numpy_helper.from_array(np.float32([5]), "unused")
    nodes = [
        helper.make_node("Add", ["x", "one"], ["a long name"], name="first"),
        helper.make_node("Mul", ["a long name", "two"], ["product"], name="second"),
        helper.make_node("Cast", ["unlike"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Clip", ["product", "", ""], ["cut"]),
        helper.make_node("Sub", ["cut", "real"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [one, two, unlike, unused])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    x = {"x": np.float32([3, 4])}
    expected = onnx.reference.ReferenceEvaluator(model).run(None, x)[0]
    compact_onnx(model)
    onnx.checker.check_model(model)
    assert len(model.graph.initializer) == 2
    assert {node.name for node in model.graph.node} == {""}
    assert max(len(name) for node in model.graph.node for name in (*node.input, *node.output)) == 1
    np.testing.assert_array_equal(onnx.reference.ReferenceEvaluator(model).run(None, x)[0], expected)


def test_a_graph_with_branches_stays_as_it_is() -> None:
    """A branch takes tensors of the graph around it by their names."""
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [2])
    branch = helper.make_graph([helper.make_node("Identity", ["shared"], ["inner"])], "branch", [], [value])
    choice = helper.make_node("If", ["which"], ["y"], then_branch=branch, else_branch=branch)
    ends = [helper.make_tensor_value_info("which", TensorProto.BOOL, []), helper.make_tensor_value_info("y", 1, [2])]
    shared = numpy_helper.from_array(np.float32([1, 2]), "shared")
    model = helper.make_model(helper.make_graph([choice], "g", ends[:1], ends[1:], [shared]))
    before = model.SerializeToString()
    compact_onnx(model)
    assert model.SerializeToString() == before
