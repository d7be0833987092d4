"""Times two model files in turn on this machine: which is faster, as far as the rounds can show."""

import tempfile
from pathlib import Path
from typing import Any

from pipeline.bench import made_up_feeds, options_for
from pipeline.errors import InputError
from targets.machine import describe_machine
from targets.profile import load_profile
from targets.runners.paired import Contender, measure_paired
from targets.statistics.order import percentile


def bench_pair(first: Path, second: Path, target: str, runs: int | None = None) -> dict[str, Any]:
    """The ratio of the latencies of two .onnx or .tflite files with its 95% interval, each run by its own runtime with
    the threads of `target`'s profile. Inputs are made up.

    Raises InputError or TargetError for a file that is no model, for a target without its runtime, and for one that is
    measured somewhere else.
    """
    profile = load_profile(target)
    plan = profile.measure
    if plan.where != "host":
        raise InputError(
            f"two files are timed in turn on this host, target {profile.id} says measure.where: {plan.where}; name "
            "another target, or time them one by one"
        )
    if runs:
        plan = plan.model_copy(update={"min_runs": runs, "max_runs": max(runs, plan.max_runs)})
    one, other = (
        Contender(file, options_for(file, profile), made_up_feeds(file, options_for(file, profile)))
        for file in (first, second)
    )
    with tempfile.TemporaryDirectory() as folder:
        found = measure_paired(one, other, plan, Path(folder))
    ratio = found.ratio()
    return {
        "first": str(first),
        "second": str(second),
        "source": "host",
        "machine": describe_machine().label,
        "threads": [one.options.threads, other.options.threads],
        "rounds": ratio.rounds,
        "runs_each": found.file_ms.size,
        "first_p50_ms": round(percentile(found.file_ms.ravel(), 0.5), 4),
        "second_p50_ms": round(percentile(found.reference_ms.ravel(), 0.5), 4),
        "ratio": round(ratio.value, 4),
        "ratio_interval": [None if bound is None else round(bound, 4) for bound in (ratio.low, ratio.high)],
        "verdict": f"the first is {ratio.told()}" if ratio.outcome != "no difference" else ratio.told(),
    }
