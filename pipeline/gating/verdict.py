"""The gate's records: one check for each budget, and the verdict that they make."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One budget held against one figure of the report. `passed` None: the figure is missing, or more runs are
    needed to be sure. `stage` is the one that lost what a failed check lacks."""

    name: str  # the budget's key: accuracy.min, latency_ms.p90 ...
    file: str
    value: float | None
    op: Literal[">=", "<="]
    limit: float
    unit: str
    source: str
    passed: bool | None
    stage: str | None
    explanation: str


@dataclass(frozen=True)
class Verdict:
    """The gate's decision; what is undecided has not passed."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed is True for check in self.checks)

    @property
    def missed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.passed is not True)
