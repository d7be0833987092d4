"""The process that runs on the emulated core: numpy, one runtime and a model file.

Started by `targets.runners.emulated` as `python -m targets.runners.emulated_worker REQUEST.json`; writes outputs.npz
(<row>_<output>, each output of each feed) beside the request, or, where it is to count, marks the inferences for the
plugin of `targets/emulator/count.c`.
"""

import ctypes
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from targets.errors import TargetError
from targets.runners.worker import Feed, outputs, read_feeds
from targets.runtimes.base import Model, RuntimeOptions, open_model, runtime_version


def main(request_file: Path) -> None:
    folder = request_file.parent
    request = json.loads(request_file.read_text(encoding="utf-8"))
    if request["marks"]:
        options = RuntimeOptions(request["runtime"], request["threads"], request["delegate"])
        feeds = read_feeds(folder / "feeds.npz", request["inputs"])
        _count(open_model(Path(request["file"]), options), feeds, request["warmup"], request["marks"])
    else:
        np.savez(folder / "outputs.npz", **outputs(request_file))  # type: ignore[arg-type]
    print(runtime_version(request["runtime"]))


def _count(model: Model, feeds: list[Feed], warmup: int, marks: list[int]) -> None:
    """An empty region, then a region for the inference of each feed."""
    call, first, last = marks
    system_call = ctypes.CDLL(None).syscall

    def region(run: Callable[[], object]) -> None:
        system_call(call, first)
        run()
        system_call(call, last)

    gc.collect()
    gc.disable()  # a collection in the middle of a run would be Python's, not the model's
    for _ in range(warmup):  # weights are packed and memory is laid out in the first ones
        region(model.prepare(feeds[0]))
    region(gc.isenabled)  # what marking itself costs
    for feed in feeds:
        region(model.prepare(feed))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except TargetError as error:
        sys.exit(str(error))
