"""The process that measures: numpy, one runtime and a model file, as an app would hold them, no more.

Started by `targets.runners.host` as `python -m targets.runners.worker REQUEST.json`; writes samples.npy
(float64 [runs], milliseconds) and answer.json beside the request.
"""

import contextlib
import gc
import json
import os
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from targets.errors import TargetError
from targets.runtimes.base import Model, RuntimeOptions, open_model, runtime_version

Feed = dict[str, np.ndarray]  # by input name


def main(request_file: Path) -> None:
    folder = request_file.parent
    request = json.loads(request_file.read_text(encoding="utf-8"))
    feeds = _read_feeds(folder / "feeds.npz", request["inputs"])
    notes = pin(request["pin_cores"])
    options = RuntimeOptions(request["runtime"], request["threads"], request["delegate"])
    version = runtime_version(options.runtime)  # imports it: neither its time nor its memory is the model's
    samples = np.zeros(request["max_runs"])
    _reset_peak()
    before_mb = _peak_mb()

    start = perf_counter_ns()
    model = open_model(Path(request["file"]), options)
    model.run(feeds[0])
    cold_start_ms = (perf_counter_ns() - start) / 1e6

    for run in range(request["warmup"]):
        model.run(feeds[run % len(feeds)])
    runs = _measure(model, feeds, samples, request)
    np.save(folder / "samples.npy", samples[:runs])
    peak_mb = _peak_mb()
    answer = {
        "cold_start_ms": cold_start_ms,
        "model_mem_mb": max(0.0, peak_mb - before_mb),
        "process_mem_mb": peak_mb,
        "version": version,
        "notes": notes,
    }
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _measure(model: Model, feeds: list[Feed], samples: np.ndarray, request: dict[str, Any]) -> int:
    """Fills `samples` with milliseconds of single inferences; returns how many."""
    stop_rules = {int(runs): rules for runs, rules in request["stop_rules"].items()}
    gc.collect()
    gc.disable()  # a collection in the middle of a run would be Python's, not the model's
    begin = perf_counter_ns()
    runs = 0
    while runs < request["max_runs"]:
        feed = feeds[runs % len(feeds)]
        start = perf_counter_ns()
        model.run(feed)
        end = perf_counter_ns()
        samples[runs] = (end - start) / 1e6
        runs += 1
        if os.getppid() != request["parent"]:  # whoever asked was killed: nobody waits for an answer
            raise TargetError("the process that asked for this measurement has ended")
        if runs < request["min_runs"] or end - begin < request["min_seconds"] * 1e9:
            continue
        if not stop_rules or (runs in stop_rules and _decided(samples[:runs], stop_rules[runs])):
            break
    return runs


def _decided(samples: np.ndarray, rules: list[tuple[float, int, int]]) -> bool:
    """Every budget passed, or one failed; see `targets.latency.stop_rules`."""
    over = [int(np.count_nonzero(samples > budget)) for budget, _, _ in rules]
    passed = [count <= most for count, (_, most, _) in zip(over, rules, strict=True)]
    failed = [count >= least for count, (_, _, least) in zip(over, rules, strict=True)]
    return all(passed) or any(failed)


def _read_feeds(file: Path, names: list[str]) -> list[Feed]:
    with np.load(file) as arrays:
        count = len(arrays.files) // len(names)
        return [{name: arrays[f"{row}_{place}"] for place, name in enumerate(names)} for row in range(count)]


def pin(cores: list[int] | None) -> list[str]:
    """Keeps this process on `cores`; says why where it can't."""
    if not cores:
        return []
    listed = ", ".join(map(str, cores))
    if not hasattr(os, "sched_setaffinity"):
        return [f"not pinned to cores {listed}: this system can't pin a process"]
    missing = set(cores) - os.sched_getaffinity(0)
    if missing:
        return [f"not pinned to cores {listed}: not all of them are here"]
    os.sched_setaffinity(0, cores)
    return [f"pinned to cores {listed}"]


def _reset_peak() -> None:
    """Starts the kernel's high-water mark of resident memory anew, where it allows that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """Peak resident memory in MB (10**6 bytes). From /proc where there is one: ru_maxrss also counts what the
    parent held when it started this process."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except TargetError as error:
        sys.exit(str(error))
