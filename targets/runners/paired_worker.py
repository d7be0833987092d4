"""The process that measures two model files in turn: numpy, the runtimes of the two files, and these.

Started by `targets.runners.paired` as `python -m targets.runners.paired_worker REQUEST.json`; writes samples.npy
(float64 [rounds, 2, runs a round], milliseconds) beside the request.
"""

import gc
import json
import os
import sys
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from targets.errors import TargetError
from targets.runners.pace import Ticks
from targets.runners.worker import pin, warm_up
from targets.runtimes.base import Model, RuntimeOptions, open_model

Feed = dict[str, np.ndarray]  # by input name


def main(request_file: Path) -> None:
    folder = request_file.parent
    request = json.loads(request_file.read_text(encoding="utf-8"))
    pin(request["pin_cores"])
    models = [
        open_model(Path(file), RuntimeOptions(*options))
        for file, options in zip(request["files"], request["options"], strict=True)
    ]
    with np.load(folder / "feeds.npz") as arrays:
        feeds = [_feeds(arrays, which, names) for which, names in enumerate(request["inputs"])]
    per_round = request["per_round"]
    for model, own in zip(models, feeds, strict=True):
        warm_up(model, own, request["warmup"], Ticks(None))
    rounds: list[list[list[float]]] = []
    gc.collect()
    gc.disable()  # a collection in the middle of a run would be Python's, not a model's
    begin = perf_counter_ns()
    while len(rounds) < request["min_rounds"] or perf_counter_ns() - begin < request["min_seconds"] * 1e9:
        both: list[list[float]] = [[], []]
        for which in (0, 1) if len(rounds) % 2 == 0 else (1, 0):
            _run(models[which], feeds[which], 1)  # the other one has had the caches
            both[which] = _run(models[which], feeds[which], per_round, len(rounds) * per_round)
        rounds.append(both)
        if os.getppid() != request["parent"]:  # whoever asked was killed: nobody waits for an answer
            raise TargetError("the process that asked for this measurement has ended")
    np.save(folder / "samples.npy", np.array(rounds))


def _run(model: Model, feeds: list[Feed], runs: int, first: int = 0) -> list[float]:
    """Milliseconds of `runs` single inferences, in turn through `feeds`."""
    taken = []
    for run in range(first, first + runs):
        feed = feeds[run % len(feeds)]
        start = perf_counter_ns()
        model.run(feed)
        taken.append((perf_counter_ns() - start) / 1e6)
    return taken


def _feeds(arrays: "np.lib.npyio.NpzFile", which: int, names: list[str]) -> list[Feed]:
    count = sum(name.startswith(f"{which}_") for name in arrays.files) // len(names)
    return [{name: arrays[f"{which}_{row}_{place}"] for place, name in enumerate(names)} for row in range(count)]


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except TargetError as error:
        sys.exit(str(error))
