"""What is added up shares a range with its sum, in the calibration and in the files of both formats."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.context import RunContext
from pipeline.quantize.graph import Graph, Operator, read_graph
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.sums import joined, share_ranges_of_sums
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.profile import Quantization

STATIC = Quantization(scheme="int8-static")


def graph_of(*operators: tuple[str, str, str], shapes: dict[str, tuple[int, ...]] | None = None) -> Graph:
    """Each operator as its kind, its inputs and its output, of one letter each."""
    made = tuple(Operator(kind, tuple(inputs), (output,)) for kind, inputs, output in operators)
    return Graph(made, {}, {}, shapes or {})


RANGES = {"a": (-1.0, 1.0), "b": (-3.0, 2.0), "c": (-2.0, 2.5), "d": (0.0, 6.0), "e": (-1.0, 7.0)}


def test_a_chain_of_sums_has_one_range_that_holds_all_of_theirs() -> None:
    graph = graph_of(("conv", "x", "a"), ("conv", "a", "b"), ("add", "ab", "c"), ("conv", "c", "d"), ("add", "cd", "e"))
    assert share_ranges_of_sums(graph, {**RANGES, "x": (0.0, 255.0)}) == {
        **dict.fromkeys("abcde", (-3.0, 7.0)), "x": (0.0, 255.0)
    }  # fmt: skip


@pytest.mark.parametrize(
    "graph",
    [
        graph_of(("relu", "x", "a"), ("conv", "a", "b"), ("add", "ab", "c")),
        graph_of(("conv", "x", "a"), ("conv", "x", "b"), ("add", "ab", "c"), ("clip", "c", "d")),
        graph_of(("conv", "x", "a"), ("conv", "x", "b"), ("mul", "ab", "c")),
        graph_of(("conv", "x", "a"), ("add", "ay", "c")),
        graph_of(("conv", "x", "a"), ("conv", "x", "b"), ("add", "ab", "c"), shapes={"a": (1, 4), "b": (1, 1)}),
    ],
    ids=["a ReLU gives a term", "a ReLU takes the sum", "a product", "no range of a term", "of other shapes"],
)
def test_other_ranges_stay(graph: Graph) -> None:
    assert share_ranges_of_sums(graph, RANGES) == RANGES


@given(st.lists(st.sets(st.integers(0, 12), min_size=1)))
def test_joined_groups_are_apart_and_hold_each_group_whole(groups: list[set[int]]) -> None:
    found = joined(groups)
    assert sorted(member for group in found for member in group) == sorted(set().union(*groups))
    assert all(any(group <= whole for whole in found) for group in groups)


def test_files_of_both_formats_add_integers_of_one_scale(
    image_calibration: Calibration,
    image_onnx: ExportedFile,
    image_tflite: ExportedFile,
    digits: PreparedData,
    session_context: RunContext,
) -> None:
    graph = read_graph(image_calibration.model_file, "onnx")
    sums = [operator for operator in graph.operators if operator.kind == "add" and operator.inputs[1] in graph.makers]
    assert sums
    for operator in sums:
        assert len({image_calibration.ranges[name] for name in (*operator.inputs, *operator.outputs)}) == 1
    tflite = quantize_tflite(image_tflite, digits, STATIC, image_calibration, session_context)
    onnx = quantize_onnx(image_onnx, digits, STATIC, image_calibration, (), session_context)
    for scales in (scales_of_tflite_sums(tflite.file), scales_of_onnx_sums(onnx.file)):
        assert len(scales) == len(sums)
        assert all(len(of_one) == 1 for of_one in scales)


def scales_of_tflite_sums(file: Path) -> list[set[float]]:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(file))
    (subgraph,) = model.subgraphs
    codes = [code.builtinCode for code in model.operatorCodes]
    return [
        {float(subgraph.tensors[index].quantization.scale[0]) for index in (*operator.inputs, *operator.outputs)}
        for operator in subgraph.operators
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.ADD
    ]


def scales_of_onnx_sums(file: Path) -> list[set[float]]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(file)).graph
    values = {constant.name: constant for constant in graph.initializer}
    real = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "DequantizeLinear"}
    stored = {node.input[0]: node.input[1] for node in graph.node if node.op_type == "QuantizeLinear"}
    return [
        {
            float(numpy_helper.to_array(values[name]))
            for name in (*(real[taken] for taken in node.input), stored[node.output[0]])
        }
        for node in graph.node
        if node.op_type == "Add"
    ]
