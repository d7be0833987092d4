"""Model files without what no runtime reads: long names of inner tensors, and constants that stand there twice."""

from collections.abc import Iterator
from itertools import count
from typing import Any

LONGEST = 24  # characters of a module's name that stay


def compact_onnx(model: Any) -> None:
    """Names the inner tensors of an onnx.ModelProto by number, but for weights (constants of two or more dimensions),
    takes the nodes' names away, and keeps equal constants once and unused ones not at all; in place. Graphs with others
    inside (loops, branches), which may take any tensor by its name, stay as they are."""
    graph = model.graph
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return
    taken = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    names, kept = {"": ""}, []
    for constant in graph.initializer:
        if constant.name not in taken:
            continue
        unnamed = type(constant)()
        unnamed.CopyFrom(constant)
        unnamed.ClearField("name")
        key = (constant.data_type, tuple(constant.dims), unnamed.SerializeToString(deterministic=True))
        if key not in first:
            first[key] = constant.name
            kept.append(constant)
        names[constant.name] = first[key]
    outer = {value.name for value in (*graph.input, *graph.output)}
    outer |= {constant.name for constant in kept if len(constant.dims) >= 2}
    numbers = _unlike(outer)
    short = {name: name for name in outer} | {"": ""}
    for constant in kept:
        short[constant.name] = short.get(constant.name) or next(numbers)
    for node in graph.node:
        node.ClearField("name")
        for place, name in enumerate(node.input):
            node.input[place] = short[names.get(name, name)]
        for place, name in enumerate(node.output):
            short[name] = node.output[place] = short.get(name) or next(numbers)
    constants = [type(constant).FromString(constant.SerializeToString()) for constant in kept]
    for constant in constants:
        constant.name = short[constant.name]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(constants)


def compact_tflite(model: Any) -> None:
    """Shortens the names of inner tensors of a ModelT to the module that made them and a number; in place. What an app
    names, inputs and outputs, stays. (Equal vectors are written once anyway: `pipeline.flatbuffer`.)"""
    for subgraph in model.subgraphs:
        outer = {*subgraph.inputs, *subgraph.outputs}
        for number, tensor in enumerate(subgraph.tensors):
            if number not in outer and tensor.name:
                tensor.name = f"{_module(tensor.name.decode(errors='replace'), number)}.{number}".encode()


def _module(name: str, number: int) -> str:
    """The module in a tensor's name as the converter wrote it, or as it was shortened before."""
    return name.removesuffix(f".{number}").split(";")[0].rsplit("/", 1)[-1].rsplit(".", 1)[-1][:LONGEST]


def _unlike(taken: set[str]) -> Iterator[str]:
    return (str(number) for number in count() if str(number) not in taken)
