"""The budget on the group that lost most: classes and subgroups of the test split, each held to one limit."""

from itertools import pairwise
from typing import Any

from pipeline.gating.verdict import Check

NAME = "accuracy.max_group_drop"
ROUNDING = 1e-9  # what it may take from a drop that lies on its budget


def group_drop(file: dict[str, Any], report: dict[str, Any]) -> list[Check]:
    """One check of `file` if the report has such a budget.

    Passes if no group of at least `min_group_size` samples lost more than the limit, fails if the whole 95% interval of
    a group's loss is over it, and is undecided between the two and where no group is large enough: a small sample
    can't tell a loss from noise.
    """
    budget, name = report["budgets"]["accuracy"], file["name"]
    limit = budget.get("max_group_drop")
    if limit is None:
        return []
    least, groups = budget["min_group_size"], _model(report, name)["groups"]
    judged = [group for group in groups if group["accuracy"]["total"] >= least]
    if not judged:
        most = max(group["accuracy"]["total"] for group in groups) if groups else 0
        text = (
            f"no group has the {least} test samples that it takes to judge one, the largest has {most}: add test "
            "samples, or lower budgets.accuracy.min_group_size"
        )
        return [Check(NAME, name, None, "<=", limit, "points", "none", None, None, text)]
    sure = [group for group in judged if group["drop"]["low"] > limit]
    worst = max(sure or judged, key=lambda group: group["drop"]["value"])
    drop, words = worst["drop"], f"{worst['by']} {worst['group']}"
    value, over = drop["value"], drop["value"] - limit
    interval = f"95% interval {drop['low']:.2f} to {drop['high']:.2f}, {worst['accuracy']['total']} samples"
    against = f"{abs(value):.2f} points {'below' if value >= 0 else 'above'} the teacher"
    told = f"largest drop of {len(judged)} groups: {words}, {against} ({interval}), {limit:g} allowed"
    if over <= ROUNDING:
        return [Check(NAME, name, value, "<=", limit, "points", "host", True, None, told)]
    if not sure:
        text = f"{told}: may be noise in so few samples; more test samples would tell"
        return [Check(NAME, name, value, "<=", limit, "points", "host", None, None, text)]
    stage, points = _largest_loss(file, report, groups.index(worst))
    text = f"{words} is {against} ({interval}), {over:.2f} more than the {limit:g} allowed"
    text += f"; most was lost in {stage}: {points:.2f} points"
    return [Check(NAME, name, value, "<=", limit, "points", "host", False, stage, text)]


def _model(report: dict[str, Any], name: str) -> dict[str, Any]:
    models: dict[str, dict[str, Any]] = {model["name"]: model for model in report["audit"]["models"]}
    return models[name]


def _largest_loss(file: dict[str, Any], report: dict[str, Any], group: int) -> tuple[str, float]:
    """The stage in which group number `group` lost most on the way from the teacher, and how many points."""
    steps = file["attribution"]["steps"]
    path = ["teacher", *(_name(step["to"], file, report) for step in steps[:-1]), file["name"]]
    figures = [_model(report, name)["groups"][group]["accuracy"] for name in path]
    lost = [100 * (before["correct"] - after["correct"]) / after["total"] for before, after in pairwise(figures)]
    return max(zip((step["stage"] for step in steps), lost, strict=True), key=lambda found: found[1])


def _name(step: str, file: dict[str, Any], report: dict[str, Any]) -> str:
    """A step of the attribution as the audit names it: a role, or the float32 file beside."""
    if step in report["networks"]:
        return step
    float32 = {beside["format"]: str(beside["name"]) for beside in report["files"] if beside["scheme"] == "float32"}
    return float32[file["format"]]
