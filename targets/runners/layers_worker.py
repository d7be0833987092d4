"""The process that times a graph's prefixes in turn: numpy, LiteRT and one prefix at a time.

Started by `targets.runners.layers` as `python -m targets.runners.layers_worker REQUEST.json`; writes samples.npy
(float64 [prefixes], milliseconds: the fastest inference of each) beside the request.
"""

import gc
import json
import os
import sys
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from targets.errors import TargetError
from targets.runners.worker import pin
from targets.runtimes.base import RuntimeOptions, open_model


def main(request_file: Path) -> None:
    folder = request_file.parent
    request = json.loads(request_file.read_text(encoding="utf-8"))
    pin(request["pin_cores"])
    options = RuntimeOptions("litert", request["threads"])
    with np.load(folder / "feeds.npz") as arrays:
        inputs = [arrays[str(place)] for place in range(len(arrays.files))]
    fastest = [
        _fastest(Path(file), options, inputs, request["warmup"], request["runs"], request["parent"])
        for file in request["files"]
    ]
    np.save(folder / "samples.npy", np.array(fastest))


def _fastest(
    file: Path, options: RuntimeOptions, inputs: list[np.ndarray], warmup: int, runs: int, parent: int
) -> float:
    """Of inferences alone: what a prefix gives is large, and handing it out is none of the model's work."""
    if os.getppid() != parent:  # whoever asked was killed: nobody waits for an answer
        raise TargetError("the process that asked for this measurement has ended")
    model = open_model(file, options)
    infer = model.prepare({spec.name: values for spec, values in zip(model.inputs, inputs, strict=True)})
    for _ in range(warmup):
        infer()
    taken = []
    gc.collect()
    for _ in range(runs):
        start = perf_counter_ns()
        infer()
        taken.append((perf_counter_ns() - start) / 1e6)
    return min(taken)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except TargetError as error:
        sys.exit(str(error))
