"""Times one model file where its target's profile says, without a recipe or data."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from pipeline.coverage import coverage
from pipeline.errors import InputError
from pipeline.report.latency import series_notes
from pipeline.words import listed
from targets.latency import describe, summarise
from targets.place import named_tools, placed
from targets.profile import Profile, Scheme, load_profile
from targets.runners.base import runner_for
from targets.runtimes.base import RuntimeOptions, TensorSpec, open_model

INPUTS = 16  # made-up inputs that runs take in turn, so that no single one stays in the caches


def bench(
    file: Path, target: str, runs: int | None = None, device: str | None = None, tools: Sequence[str] = ()
) -> dict[str, Any]:
    """Milliseconds of single inferences of a .onnx or .tflite file, with the threads and runs of `target`'s profile,
    at the place that it names or at `device`; `tools` (NAME=PATH) measure there.

    Inputs are made up: random pixels, or token ids. Raises InputError or TargetError for a file that is no model,
    and for a target without its runtime.
    """
    profile = placed(load_profile(target), device, named_tools(tools))
    options = options_for(file, profile)
    feeds = made_up_feeds(file, options)
    plan = profile.measure
    if runs:
        plan = plan.model_copy(update={"min_runs": runs, "max_runs": max(runs, plan.max_runs)})
    with tempfile.TemporaryDirectory() as folder:
        found = runner_for(plan).measure(file, options, feeds, plan, Path(folder))
    summary, series = summarise(found.samples_ms), describe(found.samples_ms)
    quiet = found.quiet
    return {
        "file": file.name,
        "source": found.source,
        "machine": found.machine,
        "runtime": options.runtime,
        "threads": options.threads,
        "runs": len(found.samples_ms),
        "p50_ms": round(summary.p50, 4),
        "p90_ms": round(summary.p90, 4),
        "p99_ms": round(summary.p99, 4),
        "mean_ms": round(summary.mean, 4),
        **{
            f"{name}_interval_ms": [_rounded(bound, 4) for bound in (interval.low, interval.high)]
            for name, interval in series.intervals.items()
        },
        "cold_start_ms": _rounded(found.cold_start_ms, 3),
        "peak_memory_mb": _rounded(found.peak_mem_mb, 2),
        "size_mb": round(file.stat().st_size / 1e6, 4),
        **_operators(file, options),
        **({"energy_mj": round(found.energy_mj, 4)} if found.energy_mj is not None else {}),
        **({"quiet": "yes" if quiet.quiet else f"no: {'; '.join(quiet.reasons)}"} if quiet else {}),
        "notes": "; ".join((*found.notes, *series_notes(found.samples_ms))),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _operators(file: Path, options: RuntimeOptions) -> dict[str, Any]:
    """How the runtime runs the file's operators, as far as its name says what they are to compute in: `float32` is
    asked for nothing."""
    named = file.name.replace("-io8", "")
    scheme: Scheme = next((name for name in get_args(Scheme) if f".{name}." in named), "float32")
    found = coverage(file, options, scheme)
    told: dict[str, Any] = {"operators": found.operators, "run_as_meant": round(found.share, 4)}
    if found.pieces is not None:
        told["pieces"] = found.pieces
    left = {**found.left_out, **found.in_float}
    return told | ({"left_out": listed(left)} if left else {})


def options_for(file: Path, profile: Profile) -> RuntimeOptions:
    """The session options of the profile's runtime for `file`. Raises InputError if it has none."""
    suffix = file.suffix.removeprefix(".")
    if suffix not in ("onnx", "tflite"):
        raise InputError(f"{file}: found a name that ends in '{file.suffix}', expected .onnx or .tflite")
    for runtime in profile.runtimes:
        if runtime.format == suffix:
            return RuntimeOptions(runtime.name, runtime.threads, runtime.delegate)
    raise InputError(f"target {profile.id} has no runtime for .{suffix} files; name another target")


def made_up_feeds(file: Path, options: RuntimeOptions) -> list[dict[str, np.ndarray]]:
    """`INPUTS` inputs that the file can take, always the same ones."""
    specs = open_model(file, options).inputs
    random = np.random.default_rng(0)
    return [{spec.name: _made_up(spec, random) for spec in specs} for _ in range(INPUTS)]


def _made_up(spec: TensorSpec, random: np.random.Generator) -> np.ndarray:
    """Values that the input can take: 8-bit and float are pixels, wide integers are ids that any vocabulary has."""
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return random.integers(0, 256, spec.shape).astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    low, high = (limits.min, limits.max + 1) if limits.bits == 8 else (0, 2)
    return random.integers(low, high, spec.shape).astype(spec.dtype)
