"""The model: milliseconds are what each term of the work costs on a core, times how much of it there is.

One cost per instruction for each core and dtype, one cost per byte of weights for each core, none negative. The classes
of instructions share their cost, and the dtypes that of a byte: a core has six published latencies, which can't tell
more costs apart (`benchmarks/devices_prediction.py` compares other forms by the same leave-one-out error).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from targets.errors import TargetError
from targets.prediction.measurements import Measurement, Work

MILLION = 1e6


@dataclass(frozen=True)
class Term:
    """A part of the work, in millions; `by_dtype` where each dtype has its own cost of it."""

    name: str
    amount: Callable[[Work], int]
    by_dtype: bool = False

    def key(self, work: Work) -> tuple[str, str]:
        """Under which cost this term of `work` goes: (term, dtype), no dtype where all share it."""
        return self.name, work.dtype if self.by_dtype else ""


INSTRUCTIONS = Term("instructions", lambda work: work.instructions, by_dtype=True)
WEIGHTS = Term("weight_bytes", lambda work: work.weight_bytes)
FORM = (INSTRUCTIONS, WEIGHTS)

Costs = dict[tuple[str, str], float]  # ms per million, by `Term.key`


def fit(measured: Sequence[Measurement], form: Sequence[Term] = FORM) -> Costs:
    """The costs, none below 0, with the least sum of squared relative errors (Lawson and Hanson's non-negative least
    squares). Relative, since a millisecond matters more to a small network."""
    from scipy.optimize import nnls

    keys = sorted({term.key(one.work) for one in measured for term in form})
    rows = np.zeros((len(measured), len(keys)))
    for row, one in zip(rows, measured, strict=True):
        for term in form:
            row[keys.index(term.key(one.work))] += term.amount(one.work) / MILLION / one.ms
    costs, _ = nnls(rows, np.ones(len(measured)))
    return dict(zip(keys, costs.tolist(), strict=True))


def milliseconds(work: Work, costs: Costs, form: Sequence[Term] = FORM) -> float:
    """Raises TargetError if there is no cost for the dtype of `work`."""
    total = 0.0
    for term in form:
        if term.key(work) not in costs:
            known = ", ".join(sorted({dtype for _, dtype in costs if dtype}))
            raise TargetError(f"no latency of {work.dtype} was measured to predict from, there are: {known}")
        total += costs[term.key(work)] * term.amount(work) / MILLION
    return total


@dataclass(frozen=True)
class LeftOut:
    """A measurement, and what costs fitted without its network predict for it."""

    measured: Measurement
    predicted: float

    @property
    def error(self) -> float:
        """Relative, in [-1, inf)."""
        return self.predicted / self.measured.ms - 1

    @property
    def log_error(self) -> float:
        return math.log(self.measured.ms / self.predicted)


def leave_one_network_out(measured: Sequence[Measurement], form: Sequence[Term] = FORM) -> list[LeftOut]:
    """Each measurement of one core, predicted from those of the core's other networks: all dtypes of its own are left
    out, and so would be another core's."""
    found = []
    for one in measured:
        others = [other for other in measured if other.network != one.network]
        found.append(LeftOut(one, milliseconds(one.work, fit(others, form), form)))
    return found


def spread(log_errors: Iterable[float]) -> float:
    """Root of the mean square: of the predictions, not of what their mean leaves."""
    errors = list(log_errors)
    return math.sqrt(sum(error**2 for error in errors) / len(errors))


def interval(ms: float, deviation: float, freedom: int, confidence: float) -> tuple[float, float]:
    """(low, high): within them the measured latency lies with `confidence`, if the errors of predictions are
    log-normal about 0 with `deviation`, told by `freedom` independent ones (Student's t)."""
    from scipy.stats import t

    factor = math.exp(deviation * float(t.ppf((1 + confidence) / 2, freedom)))
    return ms / factor, ms * factor
