"""A predicted latency, as it is told."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """Milliseconds of one inference on `core` of the target, with `threads`; it is the middle of what was measured
    elsewhere, so it says nothing of the slow runs (p90, p99). The latency lies in `low` to `high` with `confidence`.

    `fitted_on`: the device whose latencies the costs come from, with `fitted_threads`; `borrowed` where it is another
    core or clock. `extrapolated` where no network of about that size was measured: the interval does not cover that.
    `parts`: ms by term of the model. `notes`: all of this in words.
    """

    core: str
    threads: int
    ms: float
    low: float
    high: float
    confidence: float
    fitted_on: str
    fitted_threads: int
    borrowed: bool
    extrapolated: bool
    parts: dict[str, float]
    sources: tuple[str, ...]
    notes: tuple[str, ...]
