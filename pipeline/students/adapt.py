"""Operators that students can do without: what stands in their place, so that distillation trains the accuracy back.

Names are those of the profiles' `banned_ops`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.settings.student import Adapted
from targets.profile import Profile


@dataclass(frozen=True)
class Replacement:
    """`form`: the function that replaces an operator, as an architecture names it; `operator`: what the exported file
    holds instead."""

    form: str
    operator: str


# What XNNPACK (LiteRT 2.3) was seen to take in 8 bits. Not hard-swish, nor when that is written as a sum, ReLU6 and
# products, for the converter finds it in them; ReLU6 becomes a part of the layer before. Not GELU, exact or by tanh,
# but x * sigmoid(1.702 x), which is within 0.021 of it (Hendrycks and Gimpel 2016, section 2). Hard-sigmoid is a sum,
# ReLU6 and a product in TFLite anyway, and stays the function that it is.
REPLACEMENTS: dict[Adapted, Replacement] = {
    "hard-swish": Replacement("relu6", "relu6"),
    "hard-sigmoid": Replacement("relu6(x + 3) / 6", "relu6"),
    "gelu": Replacement("quick_gelu", "sigmoid"),
}


def adaptable(operators: Iterable[str], profiles: Sequence[Profile]) -> tuple[Adapted, ...]:
    """Those of `operators` that a profile bans and whose replacement none of them bans."""
    banned = {name for profile in profiles for name in profile.export.banned_ops}
    known = banned.intersection(operators)
    return tuple(name for name, new in REPLACEMENTS.items() if name in known and new.operator not in banned)


def adapted_operators(operators: frozenset[str], adapted: Sequence[Adapted], family: str) -> frozenset[str]:
    """What a student of `family` is made of once `adapted` are replaced. Raises InputError for one that it has not."""
    for name in adapted:
        if name not in operators:
            able = ", ".join(sorted(operators.intersection(REPLACEMENTS))) or "nothing that can be replaced"
            raise InputError(f"student.adapt: {family} has no {name}, it has {able}: remove it, or use adapt: auto")
    return operators - set(adapted) | {REPLACEMENTS[name].operator for name in adapted}


def forms_of(adapted: Sequence[Adapted]) -> dict[str, str]:
    """What an architecture says of a network's `adapted` operators."""
    return {name: REPLACEMENTS[name].form for name in adapted}
