"""Latency of one model file beside that of another, in turn in one fresh process: what slows the machine down for a
while slows both, so that their ratio stays what it is."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from targets.profile import Measure
from targets.runners.base import Feeds
from targets.runners.host import run_worker
from targets.runtimes.base import RuntimeOptions
from targets.statistics.ratio import FEWEST_ROUNDS, Ratio, ratio_of_rounds

PER_ROUND = 5  # inferences of each file in turn: enough for its weights to be in the caches again


@dataclass(frozen=True)
class Contender:
    """A model file, the options it runs with, and the samples it takes in turn."""

    file: Path
    options: RuntimeOptions
    feeds: Feeds


@dataclass(frozen=True, eq=False)
class PairedSamples:
    """Milliseconds, float64 [rounds, PER_ROUND]: single inferences of the file and of the other one, round by round."""

    file_ms: np.ndarray
    reference_ms: np.ndarray

    def ratio(self) -> Ratio:
        """Of the file's latency to the other's."""
        return ratio_of_rounds(self.file_ms, self.reference_ms)

    def at_pace(self, reference_ms: float) -> np.ndarray:
        """float64 [rounds * PER_ROUND]: the file's latencies, each round scaled as if the other's median had been
        `reference_ms` in it."""
        pace = reference_ms / np.median(self.reference_ms, axis=1, keepdims=True)
        return (self.file_ms * pace).reshape(-1)


def measure_paired(file: Contender, reference: Contender, plan: Measure, folder: Path) -> PairedSamples:
    """Single inferences of both, each by its own runtime, in rounds of `PER_ROUND` of each; the one that begins changes
    from round to round. Warm, whatever the mode of `plan`, which counts the inferences and seconds of both: rounds go
    on until `plan.min_runs` of each and `plan.min_seconds` are reached. `folder` is where temporary files may go; none
    is left.

    Raises TargetError if one of the two can't be measured.
    """
    both = (file, reference)
    request = {
        "files": [str(each.file.resolve()) for each in both],
        "inputs": [list(each.feeds[0]) for each in both],
        "options": [[each.options.runtime, each.options.threads, each.options.delegate] for each in both],
        "warmup": plan.warmup,
        "min_rounds": max(FEWEST_ROUNDS, -(-plan.min_runs // PER_ROUND)),
        "per_round": PER_ROUND,
        "min_seconds": plan.min_seconds,
        "pin_cores": plan.pin_cores,
        "parent": os.getpid(),
    }
    arrays = {
        f"{which}_{row}_{column}": feed[name]
        for which, each in enumerate(both)
        for row, feed in enumerate(each.feeds)
        for column, name in enumerate(each.feeds[0])
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix="paired-") as scratch:
        place = Path(scratch)
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
        np.savez(place / "feeds.npz", **arrays)  # type: ignore[arg-type]
        run_worker(file.file, place, "targets.runners.paired_worker")
        samples = np.load(place / "samples.npy")
    return PairedSamples(samples[:, 0], samples[:, 1])
