from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import InputError
from pipeline.quantize.graph import read_graph
from pipeline.quantize.inspect import check_quantized, describe_quantized, float_operators, layer_weights, weight_bytes
from pipeline.results import ExportedFile
from pipeline.store import file_sha256
from targets.errors import TargetError


def two_products(folder: Path, *dtypes: type) -> ExportedFile:
    """An ONNX file that claims to be int8-static: x -> MatMul -> MatMul -> y, weights of `dtypes`, the 8-bit ones
    behind DequantizeLinear."""
    nodes, constants, given = [], [], "x"
    for index, dtype in enumerate(dtypes):
        weight = f"weight{index}"
        constants.append(numpy_helper.from_array(np.eye(4).astype(dtype), weight))
        if dtype is np.int8:
            constants.append(numpy_helper.from_array(np.float32(0.5), f"scale{index}"))
            nodes.append(helper.make_node("DequantizeLinear", [weight, f"scale{index}"], [f"real{index}"]))
            weight = f"real{index}"
        taken = "y" if index == len(dtypes) - 1 else f"between{index}"
        nodes.append(helper.make_node("MatMul", [given, weight], [taken]))
        given = taken
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "two products", ends[:1], ends[1:], constants),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 20)],
    )
    file = folder / "model.onnx"
    onnx.save(model, str(file))
    return ExportedFile("f", file, "onnx", "int8-static", "float32", file.stat().st_size, file_sha256(file))


def test_bytes_are_counted_by_dtype(tmp_path: Path) -> None:
    file = two_products(tmp_path, np.int8, np.float32)
    assert weight_bytes(file.file, "onnx") == {"float32": 4 * 16 + 4, "int8": 16}


@pytest.mark.parametrize("name", ["image_onnx", "image_tflite", "text_onnx", "text_tflite"])
def test_exported_files_hold_float_weights_and_nothing_else(name: str, request: pytest.FixtureRequest) -> None:
    export: ExportedFile = request.getfixturevalue(name)
    sizes = weight_bytes(export.file, export.format)
    assert next(iter(sizes)) == "float32"
    assert sizes["float32"] > 0.9 * export.bytes
    assert {weight.dtype for weight in layer_weights(read_graph(export.file, export.format))} == {"float32"}
    check_quantized(export)


def test_a_file_with_8_bit_weights_passes(tmp_path: Path) -> None:
    file = two_products(tmp_path, np.int8, np.int8)
    check_quantized(file)
    assert [weight.name for weight in layer_weights(read_graph(file.file, "onnx"))] == ["weight0", "weight1"]


def test_a_single_float_weight_is_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 mat-mul \(float32\) are not int8 or uint8"):
        check_quantized(two_products(tmp_path, np.int8, np.float32))


@pytest.mark.parametrize("name", ["image_onnx", "image_tflite", "text_tflite"])
@pytest.mark.parametrize("scheme", ["float16", "int8-dynamic", "int8-static"])
def test_a_float_file_does_not_pass_for_a_quantized_one(name: str, scheme: str, request: pytest.FixtureRequest) -> None:
    export: ExportedFile = request.getfixturevalue(name)
    with pytest.raises(InputError, match="not what its name says"):
        check_quantized(replace(export, scheme=scheme))  # type: ignore[arg-type]


def test_a_file_without_weights_proves_nothing(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    file = two_products(tmp_path, np.int8)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), str(file.file))
    with pytest.raises(InputError, match="no convolution"):
        check_quantized(file)


def test_inputs_of_another_dtype_than_asked_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'x' of the int8-static-io8 onnx file is float32, expected int8"):
        check_quantized(replace(two_products(tmp_path, np.int8), io_dtype="int8"))


def test_8_bit_inputs_without_a_scale_are_told(tmp_path: Path) -> None:
    file = two_products(tmp_path, np.int8)
    model = onnx.load(str(file.file))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["x8", "scale0"], ["x"]))
    model.graph.input[0].name = "x8"
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    onnx.save(model, str(file.file))
    with pytest.raises(InputError, match=r"'x8' .* is int8 without a scale"):
        check_quantized(replace(file, io_dtype="int8"))


def test_operators_between_quantization_nodes_are_not_float(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale"], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", "scale"], ["x32"]),
        helper.make_node("Relu", ["x32"], ["positive"]),
        helper.make_node("QuantizeLinear", ["positive", "scale"], ["positive8"]),
        helper.make_node("DequantizeLinear", ["positive8", "scale"], ["positive32"]),
        helper.make_node("Tanh", ["positive32"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "relu", ends[:1], ends[1:], [numpy_helper.from_array(np.float32(1), "scale")])
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), str(file))
    assert float_operators(read_graph(file, "onnx"), "onnx") == {"tanh": 1}


def test_notes_give_the_share_of_8_bit_constants_and_what_stays_float(tmp_path: Path) -> None:
    notes = describe_quantized(two_products(tmp_path, np.int8, np.int8))
    assert notes == ("80.0% of the bytes of its constants are 8-bit", "computed in float: 2 mat-mul")


def test_a_file_that_is_no_model_is_told_by_name(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(b"not a model at all")
    claimed = ExportedFile("f", file, "tflite", "int8-static", "float32", 18, "0" * 64)
    with pytest.raises((TargetError, InputError), match=r"model\.tflite"):
        check_quantized(claimed)
