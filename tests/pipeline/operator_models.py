"""Model files of a few operators in a row, written directly in both formats: each takes what the one before gives,
[4, 4] numbers, in float or in 8 bits."""

from pathlib import Path

import numpy as np

SIDE = 4
MACS = SIDE**3  # of a product of two [4, 4]
WEIGHTS = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 7 - 3).astype(np.int8)
SCALE = 0.05
VERSIONS = {"FULLY_CONNECTED": 4, "HARD_SWISH": 1, "TRANSPOSE": 2}  # of TFLite's operators that take int8


def onnx_chain(file: Path, *kinds: str, quantized: bool = True) -> Path:
    """`kinds` are ONNX's names. Quantized: each operator stands between DequantizeLinear and QuantizeLinear, and the
    weights of a MatMul behind DequantizeLinear."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants = [
        numpy_helper.from_array(WEIGHTS if quantized else WEIGHTS.astype(np.float32), "weights"),
        numpy_helper.from_array(np.float32(SCALE), "scale"),
        numpy_helper.from_array(np.int8(0), "weight_zero"),
        numpy_helper.from_array(np.uint8(128), "zero"),
    ]
    nodes, given = [], "x"

    def through_8_bits(name: str) -> str:
        nodes.append(helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}_8"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_8", "scale", "zero"], [f"{name}_real"]))
        return f"{name}_real"

    if quantized:
        given = through_8_bits(given)
    for place, kind in enumerate(kinds):
        taken = [given]
        if kind == "MatMul":
            taken.append("weights")
            if quantized:
                taken[1] = f"weights_{place}"
                nodes.append(helper.make_node("DequantizeLinear", ["weights", "scale", "weight_zero"], [taken[1]]))
        given = f"y{place}"
        nodes.append(helper.make_node(kind, taken, [given]))
        if quantized:
            given = through_8_bits(given)
    nodes.append(helper.make_node("Identity", [given], ["y"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIDE, SIDE]) for name in "xy"]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(file))
    return file


def tflite_chain(file: Path, *kinds: str, quantized: bool = True) -> Path:
    """`kinds` are TFLite's names: FULLY_CONNECTED, in which a ReLU is fused as converters do, HARD_SWISH, TRANSPOSE."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kind_of = schema.TensorType.INT8 if quantized else schema.TensorType.FLOAT32
    buffers, tensors, operators, codes = [schema.BufferT()], [], [], list(dict.fromkeys(kinds))

    def tensor(name: str, shape: list[int], kind: int, values: np.ndarray | None = None, scale: float = 0.0) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, 0
        if values is not None:
            held = schema.BufferT()
            held.data = np.frombuffer(values.tobytes(), np.uint8)
            buffers.append(held)
            made.buffer = len(buffers) - 1
        if scale:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        tensors.append(made)
        return len(tensors) - 1

    scale = SCALE if quantized else 0.0
    values = WEIGHTS if quantized else WEIGHTS.astype(np.float32)
    weights = tensor("weights", [SIDE, SIDE], kind_of, values, scale)
    turn = tensor("turn", [2], schema.TensorType.INT32, np.array([1, 0], np.int32))
    first = given = tensor("x", [SIDE, SIDE], kind_of, scale=scale)
    for place, kind in enumerate(kinds):
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs = codes.index(kind), [given]
        if kind == "FULLY_CONNECTED":
            made.inputs = [given, weights, -1]
            made.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
            made.builtinOptions = schema.FullyConnectedOptionsT()
            made.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
        elif kind == "TRANSPOSE":
            made.inputs = [given, turn]
            made.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
            made.builtinOptions = schema.TransposeOptionsT()
        given = tensor(f"y{place}", [SIDE, SIDE], kind_of, scale=scale)
        made.outputs = [given]
        operators.append(made)
    model = schema.ModelT()
    model.version, model.description, model.buffers, model.operatorCodes = 3, "chain", buffers, []
    for kind in codes:
        code = schema.OperatorCodeT()
        number = getattr(schema.BuiltinOperator, kind)
        code.builtinCode, code.deprecatedBuiltinCode, code.version = (
            number,
            min(number, 127),
            VERSIONS[kind] if quantized else 1,
        )
        model.operatorCodes.append(code)
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators, graph.inputs, graph.outputs = (
        "main", tensors, operators, [first], [given],
    )  # fmt: skip
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(bytes(builder.Output()))
    return file
