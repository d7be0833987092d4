"""The layers that may stay in float when the others go to 8 bits: named alike in a student's ONNX and TFLite file."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.quantize.graph import Graph, Operator
from pipeline.quantize.inspect import LAYERS

EMBEDDINGS = frozenset({"gather", "embedding-lookup"})  # hold weights, but compute nothing


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product with weights of its own. `name` is for people; `weight` and `output` are tensors
    of the file at hand, `size` is how many weights it has."""

    name: str
    operator: str
    weight: str
    output: str
    size: int


def layers_of(graph: Graph) -> list[Layer]:
    """The layers of a float file, in the order in which they run."""
    found = []
    for operator in graph.operators:
        if operator.kind in LAYERS - EMBEDDINGS and (weight := _weight(graph, operator)):
            size = graph.constants[weight].bytes // 4
            output = operator.outputs[0]
            found.append(Layer(_name(weight, output), operator.kind, weight, output, size))
    return found


def _name(weight: str, output: str) -> str:
    """The module's where an exporter named the weight for it, less what all have in common; else the operator's."""
    if weight.endswith(".weight"):
        return weight.removeprefix("network.body.").removesuffix(".weight")
    return output.removesuffix("_output_0")


def _weight(graph: Graph, operator: Operator) -> str | None:
    """The first constant of at least two dimensions: biases have one."""
    constants = graph.constants
    return next((name for name in operator.inputs if name in constants and len(constants[name].shape) >= 2), None)


def nearest_layers(graph: Graph) -> dict[str, frozenset[str]]:
    """For each tensor the outputs of the layers, embeddings too, that stand directly before it: through whatever
    holds no weights."""
    nearest: dict[str, frozenset[str]] = {}
    for operator in graph.operators:
        if operator.kind in LAYERS and _weight(graph, operator):
            before = frozenset(operator.outputs)
        else:
            before = frozenset[str]().union(*(nearest.get(name, frozenset()) for name in operator.inputs))
        nearest.update(dict.fromkeys(operator.outputs, before))
    return nearest


def operators_of(graph: Graph, layers: Collection[Layer]) -> list[Operator]:
    """The operators that are in float if `layers` are, in the order of the graph: these layers, and what stands behind
    no other (their activation functions, the sum of two of them). So none rounds what a kept layer has just computed,
    and with all layers in float nothing is in 8 bits."""
    kept, nearest = {layer.output for layer in layers}, nearest_layers(graph)
    return [o for o in graph.operators if o.outputs and (before := nearest[o.outputs[0]]) and before <= kept]


def shared_names(
    layers: Sequence[Layer], graph: Graph, others: Sequence[Layer], same: Mapping[str, str]
) -> dict[str, str]:
    """For the output of each of `others`, the layers of the TFLite file, the name of the layer of the ONNX file `graph`
    that it is: the one before the tensor that holds the same numbers (`same`, by name of the TFLite file's tensors).

    Layers without such a tensor are told by their order, if as many of the same sizes are left in both files. Raises
    InputError if not.
    """
    nearest, names = nearest_layers(graph), {layer.output: layer.name for layer in layers}
    found = {}
    for other in others:
        before = nearest.get(same.get(other.output, ""), frozenset[str]())
        if len(before) == 1 and (output := next(iter(before))) in names:
            found[other.output] = names[output]
    mine = [layer for layer in layers if layer.name not in found.values()]
    theirs = [other for other in others if other.output not in found]
    if [layer.size for layer in mine] != [other.size for other in theirs]:
        raise InputError(
            f"{len(mine)} of {len(layers)} layers of the ONNX file are not found in the TFLite file "
            f"({', '.join(layer.name for layer in mine[:3])}), so they can't be kept in float in both: "
            "remove quantize.max_drop, or name targets with one runtime"
        )
    return found | {other.output: layer.name for other, layer in zip(theirs, mine, strict=True)}
