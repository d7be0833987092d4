"""What a device has measured so far, on this computer: a device may be lost half-way, and a later call goes on."""

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from targets.latency import StopRule
from targets.profile import Budgets, Measure
from targets.runners.base import rule_of

PART = 100  # runs after which a device hands over what it has, at most


@dataclass
class Kept:
    """`samples_ms` in the order measured, and `facts` that the first part told; both lie in `file` too."""

    file: Path
    samples_ms: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, samples_ms: list[float]) -> None:
        """Keeps more samples, and the facts as they are now."""
        self.samples_ms += samples_ms
        self.file.parent.mkdir(exist_ok=True)
        beside = self.file.with_suffix(f".{os.getpid()}.part")
        beside.write_text(json.dumps({"samples_ms": self.samples_ms, "facts": self.facts}), encoding="utf-8")
        beside.replace(self.file)

    def forget(self) -> None:
        """Removes the file: the measurement is whole."""
        self.file.unlink(missing_ok=True)


def kept_in(folder: Path, file: Path, place: str) -> Kept:
    """What an earlier call kept in `folder` of model `file` at `place`; empty if there is nothing to be read."""
    told = hashlib.sha256(place.encode() + hashlib.sha256(file.read_bytes()).digest()).hexdigest()[:16]
    kept = Kept(folder / "resume" / f"measured-{told}.json")
    try:
        found = json.loads(kept.file.read_text(encoding="utf-8"))
        return Kept(kept.file, [float(ms) for ms in found["samples_ms"]], dict(found["facts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return kept


@dataclass(frozen=True)
class Stopping:
    """When the runs of a measurement end: see `targets.runners.base.Runner.measure`."""

    plan: Measure
    rule: StopRule

    @property
    def looks(self) -> int:
        return self.rule.looks

    def next_part(self, samples_ms: list[float]) -> int:
        """How many runs to make before the next look at them; 0 when there are enough."""
        runs, plan = len(samples_ms), self.plan
        seconds = sum(samples_ms) / 1e3
        enough = runs >= plan.min_runs and seconds >= plan.min_seconds
        schedule = self.rule.schedule
        if runs >= plan.max_runs or (enough and self.rule.ends(np.array(samples_ms))):
            return 0
        ends = [look for look in (*schedule, plan.max_runs) if look > runs] if schedule else [plan.min_runs]
        if not schedule and runs >= plan.min_runs:  # only time is wanting
            ends = [runs + math.ceil((plan.min_seconds - seconds) * 1e3 * runs / sum(samples_ms))]
        return min(ends[0] - runs, plan.max_runs - runs, PART)


def stopping(plan: Measure, budget: Budgets | None) -> Stopping:
    """The end of a measurement that `plan` describes and the latencies of `budget` decide."""
    return Stopping(plan, rule_of(plan, budget))


def measure_in_parts(kept: Kept, until: Stopping, part: Callable[[int], list[float]]) -> None:
    """Lets `part(runs)` make runs until there are enough, and keeps what each gave."""
    while runs := until.next_part(kept.samples_ms):
        kept.add(part(runs))
