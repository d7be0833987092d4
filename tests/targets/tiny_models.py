"""Real model files of a few bytes, written directly in both formats: softmax(x @ weights + bias), x of four numbers."""

from pathlib import Path

import numpy as np

WEIGHTS = np.array([[1.0, -0.5, 0.25], [0.5, 1.0, -1.0], [-1.0, 0.75, 0.5], [0.25, 0.0, 1.0]], dtype=np.float32)
BIAS = np.array([0.1, -0.2, 0.0], dtype=np.float32)
SCALE, ZERO_POINT = 0.0625, -3  # of 8-bit inputs
SCORE_SCALE, SCORE_ZERO_POINT = 1 / 256, -128  # of 8-bit outputs


def expected(x: np.ndarray) -> np.ndarray:
    """What both files compute, float64 [1, 3]."""
    logits = x.astype(np.float64) @ WEIGHTS + BIAS
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()


def onnx_model(
    file: Path,
    *,
    eight_bit: bool = False,
    hard_swish: bool = False,
    batch: int | str = 1,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Input "image", output "scores". 8-bit ones carry edgepress's metadata unless `metadata` says otherwise."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants = [numpy_helper.from_array(WEIGHTS, "weights"), numpy_helper.from_array(BIAS, "bias")]
    nodes = []
    real = "image"
    if eight_bit:
        for name, scale, zero in (("in", SCALE, ZERO_POINT), ("out", SCORE_SCALE, SCORE_ZERO_POINT)):
            constants.append(numpy_helper.from_array(np.array(scale, np.float32), f"{name}_scale"))
            constants.append(numpy_helper.from_array(np.array(zero, np.int8), f"{name}_zero"))
        nodes.append(helper.make_node("DequantizeLinear", ["image", "in_scale", "in_zero"], ["real"]))
        real = "real"
        metadata = metadata or {
            "edgepress.scale.image": repr(SCALE),
            "edgepress.zero_point.image": str(ZERO_POINT),
            "edgepress.scale.scores": repr(SCORE_SCALE),
            "edgepress.zero_point.scores": str(SCORE_ZERO_POINT),
        }
    if hard_swish:
        nodes.append(helper.make_node("HardSwish", [real], ["swished"]))
        real = "swished"
    nodes.append(helper.make_node("Gemm", [real, "weights", "bias"], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["shares" if eight_bit else "scores"], axis=1))
    if eight_bit:
        nodes.append(helper.make_node("QuantizeLinear", ["shares", "out_scale", "out_zero"], ["scores"]))
    dtype = TensorProto.INT8 if eight_bit else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", dtype, [batch, 4])],
        [helper.make_tensor_value_info("scores", dtype, [batch, 3])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(file))
    return file


def onnx_with_branches(file: Path) -> Path:
    """A model whose Relu and Sigmoid stand inside the two branches of an If."""
    import onnx
    from onnx import TensorProto, helper

    def branch(operator: str) -> onnx.GraphProto:
        node = helper.make_node(operator, ["image"], [f"{operator}_out"])
        output = helper.make_tensor_value_info(f"{operator}_out", TensorProto.FLOAT, [1, 4])
        return helper.make_graph([node], operator, [], [output])

    choose = helper.make_node("If", ["positive"], ["scores"], then_branch=branch("Relu"), else_branch=branch("Sigmoid"))
    graph = helper.make_graph(
        [choose],
        "branches",
        [
            helper.make_tensor_value_info("positive", TensorProto.BOOL, []),
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))
    return file


def tflite_model(
    file: Path,
    *,
    eight_bit: bool = False,
    hard_swish: bool = False,
    signature: bool = True,
    batch: int = 1,
    unsigned: bool = False,
) -> Path:
    """Signature input "image", output "scores"; the tensors themselves are called otherwise. `batch` -1: dynamic;
    `unsigned`: 8-bit ones are uint8, their zero points higher by 128."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.TensorType
    buffers = [schema.BufferT()]
    tensors: list[schema.TensorT] = []
    operators: list[schema.OperatorT] = []
    codes: list[int] = []

    def tensor(
        name: str,
        shape: list[int],
        kind: int,
        values: np.ndarray | None = None,
        quantization: tuple[float, int] | None = None,
    ) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, [abs(size) for size in shape], kind, 0
        if min(shape) < 0:
            made.shapeSignature = shape
        if values is not None:
            held = schema.BufferT()
            held.data = np.frombuffer(values.tobytes(), dtype=np.uint8)
            buffers.append(held)
            made.buffer = len(buffers) - 1
        if quantization is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [quantization[0]], [quantization[1]]
        tensors.append(made)
        return len(tensors) - 1

    def operator(code: int, inputs: list[int], output: int, kind: int = 0, options: object = None) -> None:
        if code not in codes:
            codes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = codes.index(code), inputs, [output]
        made.builtinOptionsType, made.builtinOptions = kind, options
        operators.append(made)

    edge = (kinds.UINT8 if unsigned else kinds.INT8) if eight_bit else kinds.FLOAT32
    shift = 128 if unsigned else 0
    image = tensor("serving_image:0", [batch, 4], edge, quantization=(SCALE, ZERO_POINT + shift) if eight_bit else None)
    real = image
    if eight_bit:
        real = tensor("real", [batch, 4], kinds.FLOAT32)
        operator(schema.BuiltinOperator.DEQUANTIZE, [image], real)
    if hard_swish:
        swished = tensor("swished", [batch, 4], kinds.FLOAT32)
        operator(schema.BuiltinOperator.HARD_SWISH, [real], swished)
        real = swished
    weights = tensor("weights", [3, 4], kinds.FLOAT32, np.ascontiguousarray(WEIGHTS.T))
    bias = tensor("bias", [3], kinds.FLOAT32, BIAS)
    logits = tensor("logits", [batch, 3], kinds.FLOAT32)
    dense = schema.FullyConnectedOptionsT()
    operator(
        schema.BuiltinOperator.FULLY_CONNECTED,
        [real, weights, bias],
        logits,
        schema.BuiltinOptions.FullyConnectedOptions,
        dense,
    )
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    scores = tensor("softmax:0", [batch, 3], kinds.FLOAT32)
    operator(schema.BuiltinOperator.SOFTMAX, [logits], scores, schema.BuiltinOptions.SoftmaxOptions, softmax)
    if eight_bit:
        stored = tensor("stored:0", [batch, 3], edge, quantization=(SCORE_SCALE, SCORE_ZERO_POINT + shift))
        operator(schema.BuiltinOperator.QUANTIZE, [scores], stored)
        scores = stored

    model = schema.ModelT()
    model.version, model.description, model.buffers = 3, "tiny", buffers
    model.operatorCodes = []
    for code in codes:
        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), 1
        model.operatorCodes.append(made)
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = "main", tensors, operators
    graph.inputs, graph.outputs = [image], [scores]
    model.subgraphs = [graph]
    if signature:
        model.signatureDefs = [_signature(schema, image, scores)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(bytes(builder.Output()))
    return file


def _signature(schema: object, image: int, scores: int) -> object:
    made = schema.SignatureDefT()  # type: ignore[attr-defined]
    made.signatureKey, made.subgraphIndex = "serving_default", 0
    maps = []
    for name, index in (("image", image), ("scores", scores)):
        entry = schema.TensorMapT()  # type: ignore[attr-defined]
        entry.name, entry.tensorIndex = name, index
        maps.append(entry)
    made.inputs, made.outputs = maps[:1], maps[1:]
    return made
