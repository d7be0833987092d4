"""Which operators static quantization leaves in float, because 8 bits would cost accuracy and gain nothing."""

from collections.abc import Mapping

from pipeline.quantize.graph import Graph, Operator
from pipeline.quantize.inspect import LAYERS

# Padding is shut out of the attention by adding the least float, or minus infinity, to its scores. In 8 bits either
# the scores round to nothing beside it, or it is cut to the least score and padding is attended to.
MASK = 1e30
# Operators in which the least float comes to nothing.
ABSORB = frozenset({"softmax", "max-pool", "max-pool-2d", "clip", "max", "maximum", "reduce-max"})


def mask_operators(graph: Graph, ranges: Mapping[str, tuple[float, float]]) -> list[Operator]:
    """Operators that take or give a mask, in the order of the graph.

    Masks are activations with a calibrated range beyond `MASK`, constants below -`MASK`, and what is computed from
    them until it is absorbed: calibration samples need not have padding for a mask to be found.
    """
    masks = {name for name, (low, high) in ranges.items() if max(-low, high) > MASK}
    masks |= {constant.name for constant in graph.constants.values() if constant.least < -MASK}
    found = []
    for operator in graph.operators:
        if masks.intersection((*operator.inputs, *operator.outputs)):
            found.append(operator)
            if operator.kind not in ABSORB:
                masks.update(operator.outputs)
    return found


def operators_before_layers(graph: Graph) -> list[Operator]:
    """Operators that no convolution, matrix product or embedding stands before, in the order of the graph: the
    arithmetic on pixels and on the attention's mask. In 8 bits it would only be rounded; it is cheap as it is."""
    behind: set[str] = set()
    found = []
    for operator in graph.operators:
        if operator.kind in LAYERS or behind.intersection(operator.inputs):
            behind.update(operator.outputs)
        else:
            found.append(operator)
    return found
