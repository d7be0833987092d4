"""Model files of one format side by side: accuracy from the runtime that ships, latencies taken in turn."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Bar
from pipeline.bench import made_up_feeds
from pipeline.feeds import feeds
from pipeline.results import PreparedData
from targets.emulator.cores import emulated_core
from targets.runners.emulated import EmulatedRunner
from targets.runtimes.base import RuntimeOptions, open_model

SAMPLES = 16  # test images that the runs take in turn
WARM_UP = 3  # runs of a turn that are not counted
CORES = ("cortex-a53", "cortex-a76")  # to be emulated: without dot-product instructions and with them
SLOWER = 1.03  # how much slower than the best peer a file may be

Rounds = dict[str, list[float]]  # by file: its milliseconds in each round


@dataclass(frozen=True)
class Judged:
    """A file: `accuracy` in percent, `agreement` with the float student in [0, 1], `median_ms` of single inferences,
    `against_ours` its latency divided by that of the file it is compared with, the median over the rounds."""

    accuracy: float
    agreement: float
    bytes: int
    median_ms: float
    against_ours: float


def turns(files: Mapping[str, Path], options: RuntimeOptions, data: PreparedData, rounds: int, runs: int) -> Rounds:
    """The median milliseconds of each file in each of `rounds`, in which every file runs `runs` times; each round
    begins with another file."""
    rows = data.rows("test")[:SAMPLES]
    calls = {}
    for name, file in files.items():
        model = open_model(file, options)
        calls[name] = (model.run, [feeds(model.inputs, data, int(row)) for row in rows])
    found: Rounds = {name: [] for name in files}
    for turn in range(rounds):
        for name in rotated(list(files), turn):
            run, samples = calls[name]
            found[name].append(statistics.median(_timed(run, samples, runs)))
    return found


def _timed(run: Callable[..., Any], samples: Sequence[dict[str, np.ndarray]], runs: int) -> list[float]:
    milliseconds = []
    for index in range(-WARM_UP, runs):
        started = time.perf_counter()
        run(samples[index % len(samples)])
        if index >= 0:
            milliseconds.append(1000 * (time.perf_counter() - started))
    return milliseconds


def rotated(names: list[str], turn: int) -> list[str]:
    """Every name once, beginning with another in each turn, the other way round in every second."""
    start = turn % len(names)
    order = names[start:] + names[:start]
    return order if turn % 2 == 0 else order[::-1]


def against(found: Rounds, ours: str) -> dict[str, float]:
    """Each file's time divided by that of `ours` in the same round, the median over the rounds."""
    return {
        name: statistics.median(theirs / own for theirs, own in zip(times, found[ours], strict=True))
        for name, times in found.items()
    }


def instructions(core: str, files: Mapping[str, Path]) -> dict[str, float]:
    """What one inference of each TFLite file takes on an emulated core. Raises TargetError where there is no
    emulator."""
    runner, options = EmulatedRunner(emulated_core(core)), RuntimeOptions("litert", 1, "xnnpack")
    return {name: runner.count(file, options, made_up_feeds(file, options)).total for name, file in files.items()}


def best_peer(peers: Mapping[str, Judged]) -> str:
    """The most accurate, the fastest of equals."""
    return min(peers, key=lambda name: (-peers[name].accuracy, peers[name].median_ms))


def better_in_both(ours: Judged, peers: Mapping[str, Judged]) -> list[str]:
    """The peers that are more accurate than `ours` and faster."""
    return [name for name, peer in peers.items() if peer.accuracy > ours.accuracy and peer.against_ours < 1]


def bars(title: str, ours: Judged, peers: Mapping[str, Judged]) -> list[Bar]:
    """At or above the best peer in accuracy, at its latency or little more, and no peer better in both."""
    if not peers:
        return []
    best = best_peer(peers)
    return [
        Bar(f"{title}: points above the best peer ({best})", ours.accuracy - peers[best].accuracy, ">=", 0),
        Bar(f"{title}: latency against the best peer's ({best})", 1 / peers[best].against_ours, "<=", SLOWER),
        Bar(f"{title}: peers better in both", len(better_in_both(ours, peers)), "==", 0),
    ]
