"""Exported ONNX graphs of images written with the operators that runtimes have their best kernels for; the numbers
stay."""

from typing import Any

import numpy as np

LAST_TWO = ({-2, -1}, {2, 3})  # axes of the positions of [B, C, H, W]


def fuse_padding(model: Any) -> None:
    """Moves zeros that are padded around the positions of an image into the convolution that takes it, in place. (Where
    quantized operators follow, no runtime does it any more.)"""
    from onnx import helper

    graph, constants = model.graph, _constants(model)
    makers = {name: node for node in graph.node for name in node.output}
    for layer in [node for node in graph.node if node.op_type == "Conv"]:
        pad = makers.get(layer.input[0])
        if pad is None or pad.op_type != "Pad" or sum(pad.output[0] in node.input for node in graph.node) != 1:
            continue
        around = _padding(pad, constants)
        given = {attribute.name: attribute for attribute in layer.attribute}
        if around is None or ("auto_pad" in given and given["auto_pad"].s not in (b"", b"NOTSET")):
            continue
        own = list(given["pads"].ints) if "pads" in given else [0] * 4
        if "pads" in given:
            layer.attribute.remove(given["pads"])
        layer.attribute.append(helper.make_attribute("pads", [a + b for a, b in zip(own, around, strict=True)]))
        layer.input[0] = pad.input[0]
        graph.node.remove(pad)


def _padding(pad: Any, constants: dict[str, np.ndarray]) -> list[int] | None:
    """[top, left, bottom, right] of a Pad that puts zeros around the positions of [B, C, H, W], and nothing else."""
    mode = next((attribute.s for attribute in pad.attribute if attribute.name == "mode"), b"constant")
    amounts = constants.get(pad.input[1]) if len(pad.input) > 1 else None
    value = constants.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(())
    axes = len(pad.input) > 3 and pad.input[3] != ""
    if mode != b"constant" or amounts is None or amounts.size != 8 or value is None or value.any() or axes:
        return None
    before, after = amounts.reshape(2, 4).tolist()
    if before[:2] != [0, 0] or after[:2] != [0, 0] or min(before + after) < 0:
        return None
    return [*before[2:], *after[2:]]


def pool_globally(model: Any) -> None:
    """Writes means over the positions of images as GlobalAveragePool, in place, and leaves out what torch's exporter
    puts behind an adaptive pooling: all elements in a row, then each of them looked up in order."""
    from onnx import shape_inference

    graph, constants = model.graph, _constants(model)
    inferred = shape_inference.infer_shapes(model).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*inferred.value_info, *inferred.input)}
    for node in graph.node:
        if node.op_type != "ReduceMean" or ranks.get(node.input[0]) != 4 or not _keeps_dimensions(node):
            continue
        if set(_axes(node, constants)) not in LAST_TWO:
            continue
        node.op_type = "GlobalAveragePool"
        del node.input[1:]
        del node.attribute[:]
        _skip_lookup(graph, node, constants)


def _constants(model: Any) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    return {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}


def _keeps_dimensions(node: Any) -> bool:
    return all(attribute.i == 1 for attribute in node.attribute if attribute.name == "keepdims")


def _axes(node: Any, constants: dict[str, np.ndarray]) -> list[int]:
    """An input since operator set 18, an attribute before."""
    if len(node.input) > 1:
        return [int(axis) for axis in constants.get(node.input[1], ())]
    return [axis for attribute in node.attribute if attribute.name == "axes" for axis in attribute.ints]


def _skip_lookup(graph: Any, pool: Any, constants: dict[str, np.ndarray]) -> None:
    row = _only_taker(graph, pool, "Reshape")
    lookup = row and _only_taker(graph, row, "Gather")
    if not lookup or lookup.input[1] not in constants:
        return
    looked_up = constants[lookup.input[1]]
    shape = looked_up.shape
    if len(shape) == 4 and shape[2:] == (1, 1) and np.array_equal(looked_up.reshape(-1), np.arange(looked_up.size)):
        pool.output[0] = lookup.output[0]
        graph.node.remove(row)
        graph.node.remove(lookup)


def _only_taker(graph: Any, node: Any, kind: str) -> Any:
    takers = [other for other in graph.node if node.output[0] in other.input]
    return takers[0] if len(takers) == 1 and takers[0].op_type == kind else None
