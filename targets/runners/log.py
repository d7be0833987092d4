"""Figures from elsewhere: what benchmark tools, an app's log, a device farm wrote, read run by run."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from targets.errors import TargetError
from targets.runners import tools
from targets.runners.traces import inferences


@dataclass(frozen=True)
class Logged:
    """`samples_ms`: every inference of the log, in its order. What it does not tell is None: opening the file and the
    first inference, memory (MB are 10**6 bytes), the model's file name and SHA-256, the threads."""

    samples_ms: tuple[float, ...]
    cold_start_ms: float | None = None
    peak_mem_mb: float | None = None
    model: str | None = None
    sha256: str | None = None
    threads: int | None = None


def read_log(text: str, form: str) -> Logged:
    """A log of one of `FORMATS`. Raises TargetError for another form, and for one that does not tell every run."""
    if form not in FORMATS:
        raise TargetError(f"log format '{form}' is not known; known: {', '.join(FORMATS)}")
    try:
        logged = FORMATS[form](text.replace("\r\n", "\n"))
    except (ValueError, KeyError, TypeError) as error:
        told = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise TargetError(f"not a log of the form {form}: {told}; docs/devices.md shows each") from None
    times = np.array(logged.samples_ms)
    if not (times.size and np.isfinite(times).all() and times.min() > 0):
        raise TargetError(f"not a log of the form {form}: it tells no inference, or one of no time at all")
    return logged


def _benchmark_model(text: str) -> Logged:
    told = tools.read_benchmark_model(text)
    runs, samples = sum(one.runs for one in told), [ms for one in told for ms in one.samples_ms]
    if len(samples) < runs:
        raise ValueError(
            f"it tells {len(samples)} of {runs} inferences, and a verdict takes each: run benchmark_model with "
            "--num_runs=2 --min_secs=0, as often as it takes, into one log"
        )
    models = {one.model for one in told}
    if len(models) > 1:
        raise ValueError(f"it is of several models: {', '.join(sorted(map(str, models)))}")
    memory = [one.peak_mem_mb for one in told if one.peak_mem_mb is not None]
    threads = _one_of(re.findall(r"\b[Nn]um threads: \[(\d+)\]", text), "numbers of threads")
    return Logged(
        tuple(samples), told[0].cold_start_ms, max(memory, default=None), models.pop(), None, _number(threads)
    )


def _perf_test(text: str) -> Logged:
    """The result file; or what the tool prints with -v, a line `iteration:1,time_cost:0.005` for each run."""
    printed = re.findall(r"^iteration:\d+,time_cost:([0-9.e+-]+)", text, re.MULTILINE)
    threads = _number(_one_of(re.findall(r"Setting intra_op_num_threads to (\d+)", text), "numbers of threads"))
    if not printed:
        return Logged(tools.read_perf_test_results(text).samples_ms)
    return Logged(tuple(float(s) * 1e3 for s in printed), tools.perf_test_cold_start(text), threads=threads)


LOGCAT = re.compile(  # threadtime, time, brief and tag, with as many blanks as versions put there
    r"^[ \t]*(?:[\d-]+ [\d:.]+\s+)?"
    r"(?:(?:(?P<process>\d+)\s+\d+\s+)?[VDIWEF] (?P<tag>\S+?)"
    r"|[VDIWEF]/(?P<named>[^\s(:]+)[ \t]*(?:\([ \t]*(?P<number>\d+)\))?)"
    r"[ \t]*:[ \t]?(?P<said>.*)$",
    re.MULTILINE,
)
TOOL, OWN = "tflite", "edgepress"  # tags: of benchmark_model as an app, and of whoever times inferences itself


def _logcat(text: str) -> Logged:
    """What an app wrote under the tag `edgepress`, `key=value` divided by blanks: `latency_us` of one inference, and
    once or with each `model`, `sha256`, `threads`, `cold_start_us`. Where there is none, what benchmark_model wrote
    under its tag `tflite`, process by process."""
    lines = [(m["tag"] or m["named"], m["process"] or m["number"], m["said"]) for m in LOGCAT.finditer(text)]
    own = [said for tag, _, said in lines if tag == OWN]
    if own or not any(tag == TOOL for tag, _, _ in lines):
        return _told_by_app(own)
    processes = dict.fromkeys(process for tag, process, _ in lines if tag == TOOL)
    return _benchmark_model(
        "\n".join(said for one in processes for tag, process, said in lines if (tag, process) == (TOOL, one))
    )


def _told_by_app(lines: list[str]) -> Logged:
    told = _pairs(lines)
    cold = told.get("cold_start_us")
    samples = tuple(float(us) / 1e3 for us in told.get("latency_us", []))
    return Logged(samples, float(cold[0]) / 1e3 if cold else None, **_of_model(told))


def _perfetto(text: str) -> Logged:
    """Sections of a system trace: those that an app named `edgepress`, with the keys of `logcat` behind that tell the
    model, or TensorFlow Lite's own. Every one counts, the first ones too."""
    found = inferences(text)
    return Logged(tuple(one.ms for one in found), **_of_model(_pairs([one.name for one in found])))


def _pairs(lines: list[str]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for key, value in (pair for line in lines for pair in re.findall(r"(\w+)=(\S+)", line)):
        told.setdefault(key, []).append(value)
    return told


def _of_model(told: dict[str, list[str]]) -> dict[str, Any]:
    one = {key: _one_of(told.get(key, []), key) for key in ("model", "sha256", "threads")}
    return {**one, "threads": _number(one["threads"])}


def _ai_hub(text: str) -> Logged:
    """The profile of a job of Qualcomm AI Hub, as `download_profile` gives it: microseconds and bytes. Every inference
    counts, the first ones too. Cold start is the warm load and the first inference."""
    summary: dict[str, Any] = json.loads(text)["execution_summary"]
    times = [float(us) / 1e3 for us in summary["all_inference_times"]]
    load, peak = summary.get("warm_load_time"), summary.get("estimated_inference_peak_memory")
    cold = float(load) / 1e3 + times[0] if load and times else None
    return Logged(tuple(times), cold, float(peak) / 1e6 if peak else None)


def _csv(text: str) -> Logged:
    """A header with a column `latency_ms` or `latency_us`, and a row for each inference."""
    rows = csv.DictReader(io.StringIO(text))
    units = {"latency_ms": 1.0, "latency_us": 1e-3}
    found = [name for name in rows.fieldnames or [] if name in units]
    if len(found) != 1:
        raise ValueError(f"expected a column latency_ms or latency_us, found {', '.join(rows.fieldnames or [])[:80]}")
    return Logged(tuple(float(row[found[0]]) * units[found[0]] for row in rows))


FORMATS: dict[str, Callable[[str], Logged]] = {
    "benchmark-model": _benchmark_model,
    "perf-test": _perf_test,
    "logcat": _logcat,
    "perfetto": _perfetto,
    "ai-hub": _ai_hub,
    "csv": _csv,
}


def _one_of(values: list[str], what: str) -> str | None:
    if len(set(values)) > 1:
        raise ValueError(f"several values of {what}: {', '.join(sorted(set(values)))}")
    return values[0] if values else None


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
