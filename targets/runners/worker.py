"""The process that measures: numpy, one runtime and a model file, as an app would hold them, no more.

Started by `targets.runners.host` as `python -m targets.runners.worker REQUEST.json`; writes samples.npy
(float64 [runs], milliseconds) and answer.json beside the request. On a board `targets.runners.board_worker` starts it.
"""

import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from targets.errors import TargetError
from targets.latency import StopRule
from targets.runners.energy import read_microjoules, used_millijoules
from targets.runners.pace import EVERY, Ticks, reference_ms
from targets.runtimes.base import Model, RuntimeOptions, open_model, runtime_version
from targets.statistics.warmup import settled_after

TELL_NS = 500_000_000  # between two parts of the samples
FEWEST_WARMUP = 20  # inferences that tell whether they have settled
MOST_WARMUP = 320

Feed = dict[str, np.ndarray]  # by input name


def main(request_file: Path, tell: Callable[[list[float]], None] | None = None) -> dict[str, Any]:
    """`tell` hears of new samples while others are still to come; `already` of the request are of an earlier try."""
    folder = request_file.parent
    request = json.loads(request_file.read_text(encoding="utf-8"))
    feeds = read_feeds(folder / "feeds.npz", request["inputs"])
    notes = pin(request["pin_cores"])
    options = RuntimeOptions(request["runtime"], request["threads"], request["delegate"])
    version = runtime_version(options.runtime)  # imports it: neither its time nor its memory is the model's
    _reset_peak()
    before_mb = _peak_mb()

    start = perf_counter_ns()
    model = open_model(folder / request["file"], options)
    model.run(feeds[0])
    cold_start_ms = (perf_counter_ns() - start) / 1e6

    answer: dict[str, Any] = {"cold_start_ms": cold_start_ms, "version": version}
    peak_mb = _peak_mb()
    if request["max_runs"]:
        ticks = Ticks(request["pace_ms"])
        warmup, settled = warm_up(model, feeds, request["warmup"], ticks)
        ticks.late = 0
        peak_mb = _peak_mb()  # the statistics that say when to stop are no part of the model
        samples, references, energy_mj = _measure(model, feeds, request, ticks, tell)
        np.save(folder / "samples.npy", samples)
        answer |= {"references_ms": references, "energy_mj": energy_mj}
        notes += [warmup_note(warmup, settled), *_late(ticks, len(samples))]
    answer |= {"model_mem_mb": max(0.0, peak_mb - before_mb), "process_mem_mb": peak_mb, "notes": notes}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
    return answer


def warm_up(model: Model, feeds: list[Feed], least: int, ticks: Ticks) -> tuple[int, int | None]:
    """Inferences that don't count, at least `least`, until their times have settled: (how many were made, after how
    many they had settled, None if they had not by `MOST_WARMUP`)."""
    taken: list[float] = []
    wanted = max(FEWEST_WARMUP, least)
    while True:
        while len(taken) < wanted:
            ticks.wait()
            start = perf_counter_ns()
            model.run(feeds[len(taken) % len(feeds)])
            taken.append((perf_counter_ns() - start) / 1e6)
        settled = settled_after(np.array(taken))
        if settled is not None or wanted >= MOST_WARMUP:
            return len(taken), settled
        wanted = min(2 * wanted, max(MOST_WARMUP, least))


def warmup_note(made: int, settled: int | None) -> str:
    found = f"settled after {settled}" if settled is not None else "not settled by then: latencies may fall further"
    return f"{made} warm-up runs, {found} (MSER-5)"


def _late(ticks: Ticks, runs: int) -> list[str]:
    return [f"{ticks.late} of {runs} inferences began later than the pace wants: the one before took too long"] * bool(
        ticks.late
    )


def outputs(request_file: Path) -> dict[str, np.ndarray]:
    """The outputs of each feed of a request, as "<feed>_<output>"."""
    folder = request_file.parent
    request = json.loads(request_file.read_text(encoding="utf-8"))
    options = RuntimeOptions(request["runtime"], request["threads"], request["delegate"])
    model = open_model(folder / request["file"], options)
    found = [model.run(feed) for feed in read_feeds(folder / "feeds.npz", request["inputs"])]
    return {f"{row}_{place}": array for row, arrays in enumerate(found) for place, array in enumerate(arrays)}


def _measure(
    model: Model,
    feeds: list[Feed],
    request: dict[str, Any],
    ticks: Ticks,
    tell: Callable[[list[float]], None] | None,
) -> tuple[np.ndarray, list[float], float | None]:
    """Milliseconds of single inferences, float64 [runs], and of the reference work before each `EVERY` of them; the
    energy of an inference in mJ where the processor tells it."""
    rule = StopRule(**request["rule"])
    gc.collect()
    gc.disable()  # a collection in the middle of a run would be Python's, not the model's
    parent = request["parent"] or os.getppid()
    already = request.get("already", [])
    samples = np.zeros(request["max_runs"])
    samples[: len(already)] = already
    runs = told = len(already)
    references: list[float] = []
    energy = read_microjoules()
    begin = told_at = perf_counter_ns() - int(sum(already) * 1e6)
    while runs < request["max_runs"]:
        if runs % EVERY == 0:
            references.append(reference_ms())
        feed = feeds[runs % len(feeds)]
        ticks.wait()
        start = perf_counter_ns()
        model.run(feed)
        end = perf_counter_ns()
        samples[runs] = (end - start) / 1e6
        runs += 1
        if os.getppid() != parent:  # whoever asked was killed: nobody waits for an answer
            raise TargetError("the process that asked for this measurement has ended")
        if tell and end - told_at > TELL_NS:
            tell(samples[told:runs].tolist())
            told, told_at = runs, end
        if runs < request["min_runs"] or end - begin < request["min_seconds"] * 1e9:
            continue
        if rule.ends(samples[:runs]):
            break
    used = used_millijoules(energy, read_microjoules())
    if tell:
        tell(samples[told:runs].tolist())
    made = runs - len(already)
    return samples[:runs], references, used / made if used is not None and made else None


def read_feeds(file: Path, names: list[str]) -> list[Feed]:
    """Inferences' inputs by name, from an .npz with <row>_<place of the name in `names`>."""
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
