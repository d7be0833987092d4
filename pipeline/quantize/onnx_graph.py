"""Changes to ONNX graphs around quantization: weights in 16 bits, inputs and outputs in 8, and who stays float."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from targets.profile import IoType

PIXEL_SCALE = 1.0  # inputs of images are pixels, whole numbers 0..255: stored exactly
SCORE_SCALE = 1 / 256  # outputs are softmax scores in [0, 1]; LiteRT's quantizer stores them the same way


def store_weights_in_16_bits(model: Any) -> None:
    """Stores the float32 constants of two or more dimensions of `model` (an onnx.ModelProto) as float16, each with
    a Cast back before use.

    onnxruntime folds the casts when it opens the file, so the arithmetic stays float32: no overflow, and the same
    speed and fused operators as before. (Its CPU kernels for float16 are few: a graph converted throughout is run
    between casts, unfused.) LiteRT's float16 files work in the same way.
    """
    from onnx import TensorProto, helper, numpy_helper

    restored: dict[str, str] = {}
    for constant in model.graph.initializer:
        if constant.data_type != TensorProto.FLOAT or len(constant.dims) < 2:
            continue
        half = numpy_helper.to_array(constant).astype(np.float16)
        if np.isfinite(half).all():
            constant.CopyFrom(numpy_helper.from_array(half, constant.name))
            restored[constant.name] = f"{constant.name}_float32"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = restored.get(name, name)
    casts = [
        helper.make_node("Cast", [name], [cast], name=cast, to=TensorProto.FLOAT) for name, cast in restored.items()
    ]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def name_nodes(model: Any) -> None:
    """Gives every node without a name one: quantizers leave out nodes by name."""
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"


def guard_float_weights(model: Any) -> None:
    """Lets layers whose weights are float in a quantized `model` stay what they are.

    A Conv or Gemm that takes what DequantizeLinear gives is rounded by onnxruntime itself when it opens the file: its
    WeightBiasQuantization gives the weights 8 bits, with one scale a tensor. It leaves alone what takes a tensor that
    is dequantized channel by channel, so each such layer gets a DequantizeLinear of its own, with the same scale for
    every channel. (A MatMul is made a Gemm before.)
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in list(graph.node):
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        weight, given = constants.get(node.input[1]), makers.get(node.input[0])
        if weight is None or weight.data_type != TensorProto.FLOAT or not given or given.op_type != "DequantizeLinear":
            continue
        channels = _channels(node, list(weight.dims))
        names = [f"{node.name}_{part}" for part in ("given_scale", "given_zero_point", "given")]
        for name, shared in zip(names, given.input[1:], strict=False):
            value = numpy_helper.to_array(constants[shared])
            graph.initializer.append(numpy_helper.from_array(np.full(channels, value.reshape(()), value.dtype), name))
        axis = 1 if node.op_type.startswith("Conv") else -1
        inputs = [given.input[0], *names[: len(given.input) - 1]]
        graph.node.append(
            helper.make_node("DequantizeLinear", inputs, names[2:], name=names[2], axis=axis, domain=given.domain)
        )
        node.input[0] = names[2]
    taken = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    unused = [n for n in graph.node if n.op_type == "DequantizeLinear" and not taken.intersection(n.output)]
    for node in unused:
        graph.node.remove(node)


def _channels(node: Any, shape: list[int]) -> int:
    """How many channels a layer with a weight of `shape` takes."""
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Conv":
        return shape[1] * attributes.get("group", 1)
    return shape[1] if node.op_type == "Gemm" and attributes.get("transB", 0) else shape[0]


def quantize_io(model: Any, dtype: IoType) -> dict[str, str]:
    """Makes the float inputs (pixels 0..255) and outputs (scores) of `model` 8-bit, `dtype` int8 or uint8: a
    DequantizeLinear behind each input, unless it is stored so at once, and a QuantizeLinear before each output, names
    unchanged.

    Returns the metadata that tells a runtime how: `edgepress.scale.<tensor>` and `edgepress.zero_point.<tensor>`.
    """
    from onnx import TensorProto, helper

    number = TensorProto.INT8 if dtype == "int8" else TensorProto.UINT8
    zero_point = -128 if dtype == "int8" else 0
    first, last, constants, metadata = [], [], [], {}
    for scale, values in ((PIXEL_SCALE, model.graph.input), (SCORE_SCALE, model.graph.output)):
        for value in (value for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT):
            value.type.tensor_type.elem_type = number
            metadata[f"edgepress.scale.{value.name}"] = repr(scale)
            metadata[f"edgepress.zero_point.{value.name}"] = repr(zero_point)
            if same := _quantizer(model.graph, value.name, scale, zero_point, number):
                model.graph.node.remove(same)
                _rename(model.graph.node, same.output[0], value.name)
                continue
            inner = f"{value.name}_float32"
            parameters = [f"{value.name}_io_scale", f"{value.name}_io_zero_point"]
            constants.append(helper.make_tensor(parameters[0], TensorProto.FLOAT, [], [scale]))
            constants.append(helper.make_tensor(parameters[1], number, [], [zero_point]))
            _rename(model.graph.node, value.name, inner)
            if values is model.graph.input:
                first.append(helper.make_node("DequantizeLinear", [value.name, *parameters], [inner], name=inner))
            else:
                last.append(helper.make_node("QuantizeLinear", [inner, *parameters], [value.name], name=inner))
    nodes = [*first, *model.graph.node, *last]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    return metadata


def _quantizer(graph: Any, name: str, scale: float, zero_point: int, dtype: int) -> Any:
    """The QuantizeLinear that takes tensor `name`, if nothing else does and it stores it in the same way."""
    from onnx import numpy_helper

    takers = [node for node in graph.node if name in node.input]
    if [node.op_type for node in takers] != ["QuantizeLinear"] or len(takers[0].input) < 3:
        return None
    constants = {constant.name: constant for constant in graph.initializer}
    own, zero = (constants[parameter] for parameter in takers[0].input[1:3])
    same = zero.data_type == dtype and numpy_helper.to_array(own) == scale and numpy_helper.to_array(zero) == zero_point
    return takers[0] if bool(same) else None


def _rename(nodes: Iterable[Any], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
