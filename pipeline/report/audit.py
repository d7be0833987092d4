"""The audit as the report holds it: every network and file by class and by subgroup, the worst of them named."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.audit import BINS, Judged, calibration_error, judge_groups, reliability, softmax
from pipeline.data.groups import Grouping, groupings
from pipeline.report.figures import COUNTED, accuracy_figure, figure
from pipeline.results import RunResult, TargetFile
from targets.budgets import GROUP_SIZE, Budgets


def audit(run: RunResult, files: Mapping[str, TargetFile], budgets: Budgets) -> dict[str, Any]:
    """The test split divided into groups, and how the networks and the `files` (by name) do on each of them.

    Drops are from the teacher, on the same samples. The worst are named among groups of at least the budgets'
    `min_group_size`.
    """
    labels = run.data.targets[run.data.rows("test")]
    divided = groupings(run.data)
    least = budgets.accuracy.min_group_size or GROUP_SIZE
    networks = [network for network in (run.teacher, run.naive, *run.students, run.int8) if network]
    scores: dict[str, np.ndarray] = {network.role: softmax(network.test_logits) for network in networks}
    student, teacher = scores[run.students[-1].role], scores["teacher"]
    every = {**scores, **{name: file.accuracy.scores for name, file in files.items()}}
    return {
        "min_group_size": least,
        "bins": BINS,
        "groupings": [_grouping(grouping) for grouping in divided],
        "models": [
            _model(name, found, labels, student, None if name == "teacher" else teacher, divided, least)
            for name, found in every.items()
        ],
    }


def _grouping(grouping: Grouping) -> dict[str, Any]:
    counts = np.bincount(grouping.members, minlength=len(grouping.names)).tolist()
    return {
        "by": grouping.by,
        "edges": None if grouping.edges is None else list(grouping.edges),
        "unit": grouping.unit,
        "groups": [
            {"name": name, "samples": figure(count, "samples", COUNTED)}
            for name, count in zip(grouping.names, counts, strict=True)
        ],
    }


def _model(
    name: str,
    scores: np.ndarray,
    labels: np.ndarray,
    student: np.ndarray,
    teacher: np.ndarray | None,
    divided: tuple[Grouping, ...],
    least: int,
) -> dict[str, Any]:
    bins = reliability(scores, labels)
    groups = [
        _group(grouping.by, group, judged)
        for grouping in divided
        for group, judged in zip(
            grouping.names,
            judge_groups(scores, labels, student, teacher, grouping.members, len(grouping.names)),
            strict=True,
        )
    ]
    large = [group for group in groups if group["accuracy"]["total"] >= least]
    worst = min(large, key=lambda group: group["accuracy"]["value"], default=None)
    fallen = [group for group in large if group["drop"] is not None]
    largest = max(fallen, key=lambda group: group["drop"]["value"], default=None)
    return {
        "name": name,
        "calibration_error": figure(calibration_error(bins), "share", "host"),
        "reliability": [asdict(found) for found in bins],
        "groups": groups,
        "worst": worst and {"by": worst["by"], "group": worst["group"], "accuracy": worst["accuracy"]},
        "largest_drop": largest and {"by": largest["by"], "group": largest["group"], "drop": largest["drop"]},
    }


def _group(by: str, name: str, judged: Judged) -> dict[str, Any]:
    drop = judged.drop
    return {
        "by": by,
        "group": name,
        "accuracy": accuracy_figure(judged.accuracy),
        "calibration_error": figure(judged.calibration_error, "share", "host"),
        "agreement_with_student": figure(judged.agreement, "share", "host"),
        "drop": drop
        and {
            **figure(drop.points, "points", "host"),
            "low": drop.low,
            "high": drop.high,
            "lost": drop.lost,
            "gained": drop.gained,
        },
    }
