"""Pooling over all positions in exported ONNX graphs, written as the operator that runtimes have 8-bit kernels for."""

from typing import Any

import numpy as np

LAST_TWO = ({-2, -1}, {2, 3})  # axes of the positions of [B, C, H, W]


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
