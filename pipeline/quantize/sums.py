"""Sums in 8 bits: what is added up and the sum get one range, so that integers are added as they are.

Where the scales differ, kernels scale both terms in float before they add, and each instruction set rounds that in its
own way: now and then a value comes out a level off. With one scale nothing is scaled, so files compute alike on every
processor.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from pipeline.quantize.graph import Graph, Operator

SUMS = frozenset({"add"})
# Quantizers leave these out of the file and let the range cut: it must stay theirs.
CUTTING = frozenset({"relu", "relu6", "clip"})

Ends = tuple[float, float]
T = TypeVar("T", bound=Hashable)


def share_ranges_of_sums(graph: Graph, ranges: Mapping[str, Ends]) -> dict[str, Ends]:
    """`ranges` by tensor of the float ONNX file `graph`, but the terms of a sum of two activations of one shape get one
    range with the sum, which holds all of theirs; a chain of residual blocks has one. Sums with a term that a ReLU
    gives, and sums that a ReLU takes, keep their own."""
    shared = dict(ranges)
    for group in joined(names for operator in graph.operators if (names := _added_up(graph, operator, ranges))):
        ends = min(ranges[name][0] for name in group), max(ranges[name][1] for name in group)
        shared |= dict.fromkeys(group, ends)
    return shared


def _added_up(graph: Graph, operator: Operator, ranges: Mapping[str, Ends]) -> tuple[str, ...]:
    """The tensors of a sum that share a range, or none."""
    names = (*operator.inputs, *operator.outputs)
    alike = (
        operator.kind in SUMS
        and all(name in ranges and name not in graph.fixed for name in names)
        and len({graph.shapes.get(name) for name in names}) == 1
        and not any(name in graph.makers and graph.makers[name].kind in CUTTING for name in operator.inputs)
        and not any(taker.kind in CUTTING for taker in graph.takers.get(operator.outputs[0], ()))
    )
    return names if alike else ()


def joined(groups: Iterable[Iterable[T]]) -> list[frozenset[T]]:
    """The groups, those that have a member in common made one."""
    found: list[frozenset[T]] = []
    for group in groups:
        whole = frozenset(group)
        apart = [other for other in found if not other & whole]
        found = [*apart, whole.union(*(other for other in found if other & whole))]
    return found
