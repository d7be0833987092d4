"""Times of a graph's prefixes on this host: what each operator adds to the one before it."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from targets.profile import Measure
from targets.runners.host import run_worker
from targets.runtimes.base import RuntimeOptions

SWEEPS = 5  # times through all prefixes: what slows the machine for a while slows neighbours alike
WARMUP = 3  # inferences of each prefix in each sweep that don't count
RUNS = 15  # that do


def time_prefixes(
    file: Path,
    prefixes: Sequence[Path],
    options: RuntimeOptions,
    feed: Mapping[str, np.ndarray],
    plan: Measure,
    folder: Path,
    tell: Callable[[int], None] = lambda sweep: None,
) -> np.ndarray:
    """Milliseconds, float64 [SWEEPS, prefixes]: the fastest inference of each prefix of `file`, a .tflite file each,
    one after the other in a process of its own for every sweep. `feed` are inputs of `file`, in the order of its graph;
    `tell` hears of every sweep that is done. `folder` is where temporary files may go; none is left.

    Raises TargetError if one can't be measured.
    """
    request = {
        "files": [str(prefix.resolve()) for prefix in prefixes],
        "threads": options.threads,
        "warmup": WARMUP,
        "runs": RUNS,
        "pin_cores": plan.pin_cores,
        "parent": os.getpid(),
    }
    sweeps = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="sweeps-") as scratch:
        place = Path(scratch)
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
        arrays = {str(number): values for number, values in enumerate(feed.values())}
        np.savez(place / "feeds.npz", **arrays)  # type: ignore[arg-type]
        for sweep in range(SWEEPS):
            run_worker(file, place, "targets.runners.layers_worker")
            sweeps.append(np.load(place / "samples.npy"))
            tell(sweep + 1)
    return np.array(sweeps)
