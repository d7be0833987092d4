"""How long a pruned network takes beside the unpruned one, on this host: in turns, so that what slows the machine down
for a while slows both."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.feeds import feeds
from pipeline.results import ExportedFile, PreparedData
from targets.profile import Measure
from targets.runners.paired import Contender, PairedSamples, measure_paired
from targets.runtimes.base import RuntimeOptions, open_model

PROCESSES = 3  # where a file's memory comes to lie sets its pace a little, and is another in each process
SAMPLES = 16  # real samples fed in turn, as where a release is measured
FEWEST = 60  # runs of either file, in all processes together


@dataclass(frozen=True)
class Pace:
    """`share`: pruned to unpruned latency, the median over the rounds, with its 95% interval from `low` to `high`;
    `pruned_ms` and `whole_ms`: the medians of either."""

    share: float
    low: float | None
    high: float | None
    pruned_ms: float
    whole_ms: float
    rounds: int


@dataclass(frozen=True)
class TimedFile:
    """A file as it ships, the options that it ships with, and the data as it reads them."""

    file: ExportedFile
    options: RuntimeOptions
    data: PreparedData


def compare_pace(pruned: TimedFile, whole: TimedFile, plan: Measure, folder: Path) -> Pace:
    """Measures both files in turns, in `PROCESSES` fresh processes, together about as long as `plan` measures a file.
    Raises TargetError for a file that can't be measured."""
    runs = max(FEWEST, plan.min_runs) // PROCESSES
    share = {"min_runs": runs, "max_runs": max(runs, plan.max_runs), "min_seconds": plan.min_seconds / PROCESSES}
    both = _contender(pruned), _contender(whole)
    found = [measure_paired(*both, plan.model_copy(update=share), folder) for _ in range(PROCESSES)]
    samples = PairedSamples(
        np.concatenate([each.file_ms for each in found]), np.concatenate([each.reference_ms for each in found])
    )
    ratio = samples.ratio()
    pruned_ms, whole_ms = (float(np.median(ms)) for ms in (samples.file_ms, samples.reference_ms))
    return Pace(ratio.value, ratio.low, ratio.high, pruned_ms, whole_ms, ratio.rounds)


def _contender(timed: TimedFile) -> Contender:
    specs = open_model(timed.file.file, timed.options).inputs
    rows = timed.data.rows("test")[:SAMPLES]
    return Contender(timed.file.file, timed.options, [feeds(specs, timed.data, int(row)) for row in rows])
