"""Layers by the same name in both formats, and files in which some of them are in float on purpose."""

from pathlib import Path

import numpy as np
import pytest

from calibration.manifest import read_manifest
from calibration.observe import TfliteTensors
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.quantize.graph import Constant, Graph, Operator, read_graph
from pipeline.quantize.inspect import check_quantized, layer_weights
from pipeline.quantize.layers import Layer, layers_of, operators_of, shared_names
from pipeline.quantize.matching import same_activations, signatures
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.samples import stream_of
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import Calibration, ExportedFile, PreparedData
from targets.profile import Quantization
from tests.pipeline.quantized import likeness, opened, scores_of
from tests.pipeline.test_inspect import two_products
from tests.pipeline.test_quantize_onnx import kernels

STATIC = Quantization(scheme="int8-static")


def graph_of(*operators: tuple[str, str, str]) -> Graph:
    """Operators as kind, inputs and output; inputs in capitals are weights of two dimensions."""
    made = tuple(Operator(kind, tuple(inputs.split()), (output,)) for kind, inputs, output in operators)
    weights = {name for operator in made for name in operator.inputs if name.isupper()}
    return Graph(made, {name: Constant(name, "float32", (2, 3), 24, 0.0) for name in weights}, {})


# x -> conv a -> relu -> conv b -> sum with a's -> pool -> gemm c -> softmax
BLOCK = graph_of(
    ("div", "x", "scaled"), ("conv", "scaled A", "a"), ("relu", "a", "ar"), ("conv", "ar B", "b"),
    ("add", "ar b", "sum"), ("global-average-pool", "sum", "pooled"), ("gemm", "pooled C", "c"),
    ("softmax", "c", "scores"),
)  # fmt: skip


def in_float(*names: str) -> list[str]:
    layers = [layer for layer in layers_of(BLOCK) if layer.name in names]
    return [operator.outputs[0] for operator in operators_of(BLOCK, layers)]


def test_layers_stand_in_the_order_in_which_they_run() -> None:
    assert [(layer.name, layer.operator, layer.output, layer.size) for layer in layers_of(BLOCK)] == [
        ("a", "conv", "a", 6), ("b", "conv", "b", 6), ("c", "gemm", "c", 6),
    ]  # fmt: skip


def test_layers_have_the_names_of_their_modules_or_operators() -> None:
    weights = ("network.body.blocks.1.conv_pw.weight", "onnx::MatMul_7")
    operators = [Operator("conv", ("x", weight), (f"/layer/{place}_output_0",)) for place, weight in enumerate(weights)]
    graph = Graph(tuple(operators), {name: Constant(name, "float32", (2, 3), 24, 0.0) for name in weights}, {})
    assert [layer.name for layer in layers_of(graph)] == ["blocks.1.conv_pw", "/layer/1"]


def test_what_stands_behind_kept_layers_alone_is_in_float_with_them() -> None:
    assert in_float() == []
    assert in_float("a") == ["a", "ar"]  # the sum takes b too, which is in 8 bits
    assert in_float("b") == ["b"]
    assert in_float("a", "b") == ["a", "ar", "b", "sum", "pooled"]
    assert in_float("c") == ["c", "scores"]
    assert in_float("a", "b", "c") == [operator.outputs[0] for operator in BLOCK.operators[1:]]


def test_embeddings_are_no_layers_that_could_be_kept_but_stand_before_others() -> None:
    graph = graph_of(("gather", "E ids", "words"), ("add", "words x", "sum"), ("mat-mul", "sum W", "y"))
    (layer,) = layers_of(graph)
    assert layer.weight == "W"
    assert [operator.kind for operator in operators_of(graph, [layer])] == ["mat-mul"]


def test_layers_are_told_by_their_numbers_and_the_rest_by_their_order() -> None:
    layers = layers_of(BLOCK)
    others = [Layer("", "conv-2d", f"w{place}", f"o{place}", 6) for place in range(3)]
    assert shared_names(layers, BLOCK, others, {"o1": "a", "o0": "b"}) == {"o0": "b", "o1": "a", "o2": "c"}
    assert shared_names(layers, BLOCK, others, {"o0": "ar"}) == {"o0": "a", "o1": "b", "o2": "c"}
    assert shared_names(layers, BLOCK, others, {"o0": "sum"})["o0"] == "a"  # behind two layers: tells neither


def test_files_whose_layers_differ_are_refused() -> None:
    others = [Layer("", "conv-2d", "w", "o", size) for size in (6, 6, 7)]
    with pytest.raises(InputError, match=r"remove quantize\.max_drop"):
        shared_names(layers_of(BLOCK), BLOCK, others, {})


@pytest.mark.parametrize("task", ["image", "text"])
def test_every_layer_of_a_tflite_file_has_its_name_and_size_in_the_onnx_file(
    task: str, request: pytest.FixtureRequest
) -> None:
    calibration: Calibration = request.getfixturevalue(f"{task}_calibration")
    tflite: ExportedFile = request.getfixturevalue(f"{task}_tflite")
    data: PreparedData = request.getfixturevalue("digits" if task == "image" else "reviews")
    tensors = TfliteTensors(tflite.file)
    rows = read_manifest(calibration.manifest_file).rows[:3]
    found = signatures([tensors(sample) for sample in stream_of(tflite, data, rows)])
    graph, layers = read_graph(calibration.model_file, "onnx"), layers_of(read_graph(tflite.file, "tflite"))
    mine = {layer.name: layer for layer in layers_of(graph)}
    names = shared_names(list(mine.values()), graph, layers, same_activations(found, calibration.signatures))
    assert sorted(names.values()) == sorted(mine)
    assert [mine[names[layer.output]].size for layer in layers] == [layer.size for layer in layers]
    assert len(layers) == (53 if task == "image" else 2 * 6 + 2)


def float_weights(file: ExportedFile) -> list[int]:
    weights = layer_weights(read_graph(file.file, file.format))
    return sorted(weight.bytes // 4 for weight in weights if weight.dtype == "float32")


@pytest.mark.parametrize("settings", [{}, {"onnx_format": "qoperator"}, {"io_dtype": "int8"}, {"io_dtype": "uint8"}])
def test_the_first_and_the_last_layer_can_stay_in_float_in_both_formats(
    settings: dict[str, str],
    image_calibration: Calibration,
    image_onnx: ExportedFile,
    image_tflite: ExportedFile,
    digits: PreparedData,
    session_context: RunContext,
) -> None:
    kept = ("conv_stem", "classifier")
    layers = layers_of(read_graph(image_calibration.model_file, "onnx"))
    sizes = sorted(layer.size for layer in layers if layer.name in kept)
    quantization = Quantization(scheme="int8-static", **settings)  # type: ignore[arg-type]
    onnx = quantize_onnx(image_onnx, digits, quantization, image_calibration, (), session_context, kept)
    tflite = quantize_tflite(image_tflite, digits, quantization, image_calibration, session_context, kept)
    for file in (onnx, tflite):
        assert float_weights(file) == sizes
        assert f"kept in float by quantize.max_drop: {', '.join(kept)}" in file.notes
        assert likeness(scores_of(file, digits), scores_of(image_onnx, digits)) > 0.9
        assert opened(file).outputs[0].dtype == settings.get("io_dtype", "float32")
        assert opened(file).outputs[0].scale == (1 / 256 if "io_dtype" in settings else None)


@pytest.mark.parametrize("onnx_format", ["qdq", "qoperator"])
def test_onnxruntime_leaves_a_kept_layer_between_two_in_8_bits_in_float(
    image_calibration: Calibration,
    image_onnx: ExportedFile,
    digits: PreparedData,
    session_context: RunContext,
    tmp_path: Path,
    onnx_format: str,
) -> None:
    """By itself it would round the weights of such a layer when it opens the file."""
    quantization = Quantization(scheme="int8-static", onnx_format=onnx_format)  # type: ignore[arg-type]
    for kept in ("blocks.3.0.conv_pwl", "blocks.3.0.conv_dw"):  # linear, and with ReLU6 behind
        file = quantize_onnx(image_onnx, digits, quantization, image_calibration, (), session_context, (kept,))
        found = kernels(file.file, tmp_path)
        assert found["QLinearConv"] == 51
        assert found["Conv"] + found["FusedConv"] == 1


def test_a_file_may_hold_the_float_weights_that_it_is_meant_to(tmp_path: Path) -> None:
    file = two_products(tmp_path, np.int8, np.float32)
    check_quantized(file, kept={"weight1"})
    with pytest.raises(InputError, match=r"1 mat-mul \(float32\)"):
        check_quantized(two_products(tmp_path, np.int8, np.float32, np.float32), kept={"weight1"})


def test_a_layer_that_is_not_in_float_as_told_is_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 of the 1 layers"):
        check_quantized(two_products(tmp_path, np.int8, np.int8), kept={"weight1"})


def test_a_file_of_float_layers_alone_is_no_8_bit_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not what its name says"):
        check_quantized(two_products(tmp_path, np.float32, np.float32), kept={"weight0", "weight1"})
