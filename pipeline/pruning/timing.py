"""How long a pruned network takes beside the unpruned one, on this host: in turns, so that what slows the machine down
for a while slows both."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.feeds import feeds
from pipeline.results import ExportedFile, PreparedData
from targets.latency import percentile
from targets.profile import Measure
from targets.runners.host import measure
from targets.runtimes.base import RuntimeOptions, open_model

ROUNDS = 5  # in which either is measured, in a process of its own
SAMPLES = 16  # real samples fed in turn, as where a release is measured
FEWEST = 20  # runs a round


@dataclass(frozen=True)
class Pace:
    """`share`: the median over the rounds of pruned to unpruned p50; `pruned_ms` and `whole_ms`: their medians."""

    share: float
    pruned_ms: float
    whole_ms: float


@dataclass(frozen=True)
class TimedFile:
    """A file as it ships, the options that it ships with, and the data as it reads them."""

    file: ExportedFile
    options: RuntimeOptions
    data: PreparedData


def compare_pace(pruned: TimedFile, whole: TimedFile, plan: Measure, folder: Path) -> Pace:
    """Measures both files in turns, each round the other one first, together about as long as `plan` measures a file.
    Raises TargetError for a file that can't be measured."""
    runs = max(FEWEST, plan.min_runs // ROUNDS)
    share = {"min_runs": runs, "max_runs": max(runs, plan.max_runs), "min_seconds": plan.min_seconds / ROUNDS}
    short = plan.model_copy(update=share)
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(ROUNDS):
        for is_pruned in (number % 2 == 0, number % 2 == 1):
            timed = pruned if is_pruned else whole
            times[is_pruned].append(_p50(timed, short, folder))
    first, second = (np.array(times[is_pruned]) for is_pruned in (True, False))
    return Pace(float(np.median(first / second)), float(np.median(first)), float(np.median(second)))


def _p50(timed: TimedFile, plan: Measure, folder: Path) -> float:
    specs = open_model(timed.file.file, timed.options).inputs
    samples = [feeds(specs, timed.data, int(row)) for row in timed.data.rows("test")[:SAMPLES]]
    return percentile(measure(timed.file.file, timed.options, samples, plan, folder).samples_ms, 0.5)
