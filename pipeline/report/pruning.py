"""What pruning was asked for, what it foresaw and what it came to."""

from itertools import pairwise
from typing import Any

from pipeline.report.figures import COUNTED, accuracy_figure, figure
from pipeline.results import NetworkResult, PrunedPace, RunResult
from pipeline.settings.prune import GoalName, PruneSettings

UNITS: dict[GoalName, str] = {"macs": "share", "params": "share", "latency": "share", "size_mb": "MB"}


def pruning(run: RunResult, settings: PruneSettings) -> dict[str, Any] | None:
    """The network before and after pruning, and the goal; None where nothing was pruned. What was pruned before it was
    distilled had no accuracy to lose."""
    if run.start is not None:
        pair = run.start, run.students[0]
    else:
        found = next((pair for pair in pairwise(run.students) if pair[1].role == "pruned"), None)
        if found is None:
            return None
        pair = found
    before, after = pair
    accuracy = {"before": accuracy_figure(before.accuracy), "after": accuracy_figure(after.accuracy)}
    return {
        "parameters": sides("parameters", before.parameters, after.parameters),
        "accuracy": accuracy if run.start is None else None,
        "macs": sides("multiply-accumulates", before.macs, after.macs),
        "goal": _goal(run, settings, before, after),
        "sparsity": None if settings.sparsity is None else figure(settings.sparsity, "share", "recipe"),
    }


def sides(unit: str, before: int | None, after: int | None) -> dict[str, Any] | None:
    if before is None or after is None:
        return None
    return {"before": figure(before, unit, COUNTED), "after": figure(after, unit, COUNTED)}


def _goal(
    run: RunResult, settings: PruneSettings, before: NetworkResult, after: NetworkResult
) -> dict[str, Any] | None:
    """Asked, predicted, measured. What a clock measured stands with the files."""
    if settings.goal is None:
        return None
    name, asked = settings.goal
    measured: float | None
    if name == "macs" or name == "params":
        of, left = (before.macs, after.macs) if name == "macs" else (before.parameters, after.parameters)
        predicted = measured = left / of if of and left is not None else None
    else:
        assert run.pruning is not None, "such a goal is searched for"
        predicted = run.pruning.predicted
        shipped = [file.export.bytes for file in run.files if file.shipped]
        measured = max(shipped) / 1e6 if name == "size_mb" else None
    unit, told = UNITS[name], "host" if name == "latency" else COUNTED
    return {
        "name": name,
        "asked": figure(asked, unit, "recipe"),
        "predicted": None if predicted is None else figure(predicted, unit, told),
        "measured": None if measured is None else figure(measured, unit, told),
    }


def pace_figures(pace: PrunedPace | None) -> dict[str, Any] | None:
    """A pruned file's latency beside the unpruned student's."""
    if pace is None:
        return None
    return {
        "share": {**figure(pace.share, "share", "host"), "low": pace.low, "high": pace.high},
        "unpruned": figure(pace.whole_ms, "ms", "host"),
        "pruned": figure(pace.pruned_ms, "ms", "host"),
    }


def pace_notes(pace: PrunedPace | None, run: RunResult) -> list[str]:
    if pace is None or run.pruning is None:
        return []
    return [
        f"pruned to {pace.share:.1%} of the unpruned student's latency ({run.pruning.asked:.1%} asked for, "
        f"{run.pruning.predicted:.1%} predicted): medians of {pace.rounds} rounds, the two in turns"
        + (f"; 95% interval {pace.low:.1%} to {pace.high:.1%}" if pace.low and pace.high else "")
    ]


def pruning_notes(run: RunResult) -> list[str]:
    """Of a size that was asked for: what a clock measured is noted with the files."""
    choice = run.pruning
    if choice is None or choice.goal != "size_mb":
        return []
    largest = max((file.export.bytes for file in run.files if file.shipped), default=0) / 1e6
    told = f"the largest file that ships has {largest:.3f} MB ({choice.predicted:.3f} MB predicted)"
    return [f"Pruned for {choice.asked:g} MB: {told}; {choice.macs_left:.0%} of the multiply-accumulates were to stay."]
