"""Latency, cold start and memory of a model file on this host, in a fresh process that holds nothing else."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from targets.errors import TargetError
from targets.latency import StopRule
from targets.machine import available_cores, describe_machine
from targets.profile import Budgets, Measure
from targets.runners.base import Feeds, Measured, rule_of
from targets.runners.pace import at_pace
from targets.runners.quiet import judge, look_around
from targets.runtimes.base import RuntimeOptions, open_model, session_settings


class HostRunner:
    """This computer: see `targets.runners.base.Runner`."""

    def identity(self, options: RuntimeOptions) -> str:
        return describe_machine().label

    def run(self, file: Path, options: RuntimeOptions, feeds: Feeds) -> list[list[np.ndarray]]:
        model = open_model(file, options)
        return [model.run(feed) for feed in feeds]

    def measure(
        self,
        file: Path,
        options: RuntimeOptions,
        feeds: Feeds,
        plan: Measure,
        folder: Path,
        *,
        budget: Budgets | None = None,
    ) -> Measured:
        return measure(file, options, feeds, plan, folder, budget=budget)


def measure(
    file: Path,
    options: RuntimeOptions,
    feeds: Feeds,
    plan: Measure,
    folder: Path,
    *,
    budget: Budgets | None = None,
) -> Measured:
    """As `targets.runners.base.Runner.measure` says. `folder` is where temporary files may go; none is left.

    Raises TargetError if the file can't be measured: what the runtime said, or how its process ended.
    """
    if not feeds:
        raise TargetError(f"{file}: no sample to measure it with, expected at least one")
    rule = rule_of(plan, budget)
    before = look_around(plan.pin_cores)
    if plan.mode == "cold":
        samples, answers = _cold_starts(file, options, feeds, plan, rule, folder)
        references = np.array([])
    else:
        answer, samples = _once(file, options, feeds, plan, rule, folder)
        answers, references = [answer], np.array(answer["references_ms"])
    last = answers[-1]
    return Measured(
        samples_ms=samples,
        cold_start_ms=float(np.median([answer["cold_start_ms"] for answer in answers])),
        peak_mem_mb=max(answer["model_mem_mb"] for answer in answers),
        process_mem_mb=max(answer["process_mem_mb"] for answer in answers),
        looks=rule.looks,
        notes=(
            f"{options.runtime} {last['version']}: {session_settings(options)}",
            *_what_was_timed(plan, len(feeds), len(samples)),
            "peak memory: what the process grew by from opening the file on, Python and the runtime left out",
            *_crowded(options.threads),
            *last["notes"],
        ),
        source="host",
        machine=describe_machine().label,
        quiet=judge(before, references, options.threads),
        at_pace_ms=at_pace(samples, references) if len(references) else None,
        energy_mj=last.get("energy_mj"),
    )


def _once(
    file: Path, options: RuntimeOptions, feeds: Feeds, plan: Measure, rule: StopRule, folder: Path
) -> tuple[dict[str, Any], np.ndarray]:
    """What one fresh process answers, and its samples; a cold one makes none but the first inference."""
    inputs = list(feeds[0])
    arrays = {f"{row}_{place}": feed[name] for row, feed in enumerate(feeds) for place, name in enumerate(inputs)}
    request = {
        "file": str(file.resolve()),
        "runtime": options.runtime,
        "threads": options.threads,
        "delegate": options.delegate,
        "inputs": inputs,
        "warmup": plan.warmup,
        "min_runs": plan.min_runs,
        "max_runs": 0 if plan.mode == "cold" else plan.max_runs,
        "min_seconds": plan.min_seconds,
        "pace_ms": plan.pace_ms,
        "pin_cores": plan.pin_cores,
        "rule": asdict(rule),
        "parent": os.getpid(),
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix="latency-") as scratch:
        place = Path(scratch)
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
        np.savez(place / "feeds.npz", **arrays)  # type: ignore[arg-type]
        run_worker(file, place)
        answer: dict[str, Any] = json.loads((place / "answer.json").read_text(encoding="utf-8"))
        samples = np.array([]) if plan.mode == "cold" else np.load(place / "samples.npy")
    return answer, samples


def _cold_starts(
    file: Path, options: RuntimeOptions, feeds: Feeds, plan: Measure, rule: StopRule, folder: Path
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Milliseconds of the first inference in one fresh process after the other, the opening of the file included."""
    answers: list[dict[str, Any]] = []
    begin = time.monotonic()
    while len(answers) < plan.max_runs:
        answers.append(_once(file, options, feeds[len(answers) % len(feeds) :], plan, rule, folder)[0])
        starts = np.array([answer["cold_start_ms"] for answer in answers])
        long_enough = time.monotonic() - begin >= plan.min_seconds
        if len(starts) >= plan.min_runs and long_enough and rule.ends(starts):
            break
    return starts, answers


def _what_was_timed(plan: Measure, feeds: int, runs: int) -> tuple[str, ...]:
    cold = "opening the file and the first inference, start of the process left out"
    if plan.mode == "cold":
        return (f"latencies are cold starts: {cold}; {runs} processes, the median is the cold start",)
    pace = f", one every {plan.pace_ms:g} ms" if plan.pace_ms else ""
    return (
        f"{feeds} samples in turn after the warm-up{pace}; inputs handed over and outputs fetched included, "
        "preprocessing not",
        f"cold start: {cold}",
    )


def _crowded(threads: int) -> list[str]:
    cores = available_cores()
    return [f"{threads} threads on {cores} cores: they wait for each other"] if threads > cores else []


def run_worker(file: Path, place: Path, module: str = "targets.runners.worker") -> None:
    """Runs `module` on the request in `place`. Raises TargetError, about `file`, for what it says or how it ends."""
    # -P keeps the current folder off the import path: a file there could stand in for ours or a library's.
    command = [sys.executable, "-P", "-m", module, str(place / "request.json")]
    done = subprocess.run(
        command,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    if str(file.resolve()) in said:
        raise TargetError(said)
    raise TargetError(f"{file}: measuring it failed ({_ending(done.returncode)}): {said}")


def _environment() -> dict[str, str]:
    """This process's environment; where `targets` is not installed, its folder is put on the import path."""
    root = str(Path(__file__).resolve().parents[2])
    if root == sysconfig.get_paths()["purelib"]:
        return dict(os.environ)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
