"""Changes to 8-bit ONNX graphs that keep every number and let onnxruntime take its faster kernels."""

from typing import Any

import numpy as np

# Channels that onnxruntime's direct 8-bit convolution takes at a time. Where they do not come out even, the input is
# first copied out, kernel position by kernel position, as that of an image's three colours.
TOGETHER = 4
LAYERS = {"Conv": 1, "QLinearConv": 3}  # and where their weights stand among their inputs


def widen_first_convolution(model: Any) -> None:
    """Gives convolutions that take fewer than `TOGETHER` quantized channels more of them, which hold zeros, as do the
    weights for them; in place."""
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for layer in [node for node in graph.node if node.op_type in LAYERS]:
        quantize = _through(makers, layer.input[0], "QuantizeLinear")
        weight = constants.get(_stored(makers, layer.input[LAYERS[layer.op_type]]))
        if quantize is None or weight is None or len(quantize.input) < 3 or len(weight.dims) != 4:
            continue
        channels, zero_point = weight.dims[1], constants.get(quantize.input[2])
        grouped = any(attribute.name == "group" and attribute.i > 1 for attribute in layer.attribute)
        takers = [node for node in graph.node if quantize.output[0] in node.input]
        alone = len(takers) == 1 and not _shared(graph, layer.input[0])
        if channels >= TOGETHER or grouped or zero_point is None or zero_point.dims or not alone:
            continue
        values = numpy_helper.to_array(weight)
        eight_bits = values.dtype.itemsize == numpy_helper.to_array(zero_point).dtype.itemsize == 1
        if not eight_bits or _shared(graph, weight.name):
            continue
        more = ((0, 0), (0, TOGETHER - channels), (0, 0), (0, 0))
        weight.CopyFrom(numpy_helper.from_array(np.pad(values, more), weight.name))
        pads = numpy_helper.from_array(np.array(more, dtype=np.int64).T.reshape(-1), f"{quantize.output[0]}_more")
        wide = f"{quantize.output[0]}_wide"
        graph.initializer.append(pads)
        taker = takers[0]
        for place, name in enumerate(taker.input):
            taker.input[place] = wide if name == quantize.output[0] else name
        pad = helper.make_node("Pad", [quantize.output[0], pads.name, zero_point.name], [wide], name=wide)
        graph.node.insert(list(graph.node).index(quantize) + 1, pad)


def _through(makers: dict[str, Any], name: str, kind: str) -> Any:
    """The node of `kind` that gives tensor `name`, directly or before a DequantizeLinear."""
    node = makers.get(name)
    if node is not None and node.op_type == "DequantizeLinear":
        node = makers.get(node.input[0])
    return node if node is not None and node.op_type == kind else None


def _stored(makers: dict[str, Any], name: str) -> str:
    """The constant behind a weight's DequantizeLinear, where there is one."""
    return str(makers[name].input[0]) if name in makers and makers[name].op_type == "DequantizeLinear" else name


def _shared(graph: Any, name: str) -> bool:
    return sum(name in node.input for node in graph.node) > 1
