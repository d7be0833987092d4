"""Regressions of a report against an earlier one of the same recipe and target."""

from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.gating.instructions import compare_reported
from pipeline.gating.verdict import Check
from pipeline.words import short
from targets.statistics.correlation import correlation_time
from targets.statistics.order import Interval, percentile_interval

SIZE_TOLERANCE = 0.02  # share of the baseline's bytes
LATENCY_TOLERANCE = 0.10  # share of the baseline's p90


def compare_with_baseline(report: dict[str, Any], baseline: dict[str, Any]) -> tuple[Check, ...]:
    """One check for each figure that could have become worse, file by file.

    - a file that the baseline ships has to ship still;
    - accuracy must not lie under the baseline's 95% interval: less is not told from noise;
    - size: at most `SIZE_TOLERANCE` more;
    - latency p90: a regression is more than `LATENCY_TOLERANCE` above the baseline's p90 with 95% intervals of the
      two that do not overlap. Times of different machines, sources or thread counts are not compared: no check.
    - instructions on an emulated core, where both reports have them of the same emulator and runtime: 1% more.

    Raises InputError if the baseline is of another recipe, target or schema.
    """
    for what, mine, theirs in (
        ("schema", report.get("schema"), baseline.get("schema")),
        ("recipe", report.get("recipe"), baseline.get("recipe")),
        ("target", report.get("target", {}).get("id"), baseline.get("target", {}).get("id")),
    ):
        if mine != theirs:
            raise InputError(f"baseline: its {what} is {theirs!r}, this bundle's is {mine!r}; give one of the same")
    now = {file["name"]: file for file in report["files"] if file["shipped"]}
    checks: list[Check] = []
    for before in (file for file in baseline["files"] if file["shipped"]):
        file = now.get(before["name"])
        if file is None:
            text = "the baseline ships this file, this bundle does not"
            checks.append(Check("baseline.files", before["name"], 0, ">=", 1, "files", "counted", False, None, text))
            continue
        checks += [_accuracy(file, before), _size(file, before), *_latency(file, before)]
        checks += compare_reported(file, before)
    return tuple(checks)


def _accuracy(file: dict[str, Any], before: dict[str, Any]) -> Check:
    value, limit = file["accuracy"]["value"], before["accuracy"]["low"]
    passed = value >= limit
    text = f"{value:.2%}, baseline {before['accuracy']['value']:.2%} (95% interval from {limit:.2%})"
    if not passed:
        text += f": {100 * (before['accuracy']['value'] - value):.2f} points lost, more than noise"
    return Check("baseline.accuracy", file["name"], value, ">=", limit, "share", "host", passed, None, text)


def _size(file: dict[str, Any], before: dict[str, Any]) -> Check:
    value, old = file["size"]["value"], before["size"]["value"]
    limit = old * (1 + SIZE_TOLERANCE)
    text = f"{value / 1e6:.3f} MB, baseline {old / 1e6:.3f} MB ({value / old - 1:+.1%}, {SIZE_TOLERANCE:.0%} allowed)"
    return Check("baseline.size", file["name"], value, "<=", limit, "bytes", "counted", value <= limit, None, text)


def _latency(file: dict[str, Any], before: dict[str, Any]) -> list[Check]:
    mine, theirs = file["measured"], before["measured"]
    if mine is None or theirs is None:
        return []
    if any(mine[key] != theirs[key] for key in ("machine", "source", "threads")):
        return []
    value, old = mine["latency"]["p90"]["value"], theirs["latency"]["p90"]["value"]
    limit = old * (1 + LATENCY_TOLERANCE)
    low, high = p90_interval(mine).low, p90_interval(theirs).high
    passed = value <= limit or low is None or high is None or low <= high
    text = f"p90 {short(value)} ms, baseline {short(old)} ms ({value / old - 1:+.1%}, {LATENCY_TOLERANCE:.0%} allowed)"
    if value > limit and passed:
        text += "; the 95% intervals overlap, so it may be noise"
    return [Check("baseline.latency_p90", file["name"], value, "<=", limit, "ms", mine["source"], passed, None, text)]


def p90_interval(measured: dict[str, Any]) -> Interval:
    """95% interval of the p90 of a report's `measured`, in ms."""
    samples = np.array(measured["samples"]["values"])
    return percentile_interval(samples, 0.9, correlation_time=correlation_time(samples, 0.9))
