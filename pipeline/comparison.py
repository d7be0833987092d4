"""Bundles set side by side: what each file gained or lost to the first bundle's, beyond noise or not, and which files
no other beats."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.gate import decide
from pipeline.gating.baseline import p90_interval
from pipeline.integrity import REPORT, read_json


@dataclass(frozen=True)
class Difference:
    """A figure less that of the first bundle's file, in `unit`, with its 95% interval where there is one (a size is
    exact). `better` None: the interval holds 0."""

    value: float
    low: float | None
    high: float | None
    unit: str
    better: bool | None


@dataclass(frozen=True)
class Candidate:
    """A file that ships, with the differences to the first bundle's file of the same format: None where that has none,
    or where the figures can't be compared. Latencies are in ms; `front`: no other file of its format is as good in all
    that was compared and better in one."""

    bundle: str
    recipe: str
    target: str
    file: str
    format: str
    scheme: str
    accuracy: dict[str, Any]
    accuracy_difference: Difference | None
    agreement_with_student: float
    agreement: float | None  # with the bundle's other file
    size: int
    size_difference: Difference | None
    latency: dict[str, Any] | None
    latency_difference: Difference | None
    times_faster_than_float32: float | None
    covered: float | None
    pieces: int | None
    checks: int
    checks_passed: int
    front: bool = True


@dataclass(frozen=True)
class Comparison:
    """`axes`: by format, what the front was found of."""

    task: str
    labels: int
    bundles: tuple[str, ...]
    files: tuple[Candidate, ...]
    axes: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def compare(folders: Sequence[Path]) -> Comparison:
    """The bundles in `folders`, in that order, the first as the measure of the others.

    Accuracies differ beyond noise if Newcombe's 95% interval of two proportions (1998, method 10), made of their Wilson
    intervals, does not hold 0. It takes the samples for independent: on the same test samples, noise is less than
    that. Latencies are compared at p90, of the same machine, source and threads alone, and differ if the 95% intervals
    of both by order statistics do not overlap.
    Raises InputError for less than two folders, for one that is no bundle, and for another task or other labels.
    """
    if len(folders) < 2:
        raise InputError(f"found {len(folders)} bundle(s) to compare, expected two or more")
    reports = [(str(folder), _read(folder)) for folder in folders]
    if len(dict(reports)) < len(reports):
        raise InputError("a bundle stands twice among those to compare: name each once")
    try:
        return _compared(reports)
    except (KeyError, TypeError) as error:
        raise InputError(f"report: incomplete, can't be compared ({error!r}); make the bundle again") from None


def _compared(reports: Sequence[tuple[str, dict[str, Any]]]) -> Comparison:
    first_name, first = reports[0]
    for name, report in reports[1:]:
        if report["task"] != first["task"]:
            raise InputError(f"{name} is for {report['task']}, {first_name} for {first['task']}: compare one task")
        if report["data"]["labels"] != first["data"]["labels"]:
            raise InputError(
                f"{name} has other labels ({len(report['data']['labels'])}) than {first_name} "
                f"({len(first['data']['labels'])}), or in another order: their accuracies can't be compared"
            )
    beside = {file["format"]: file for file in first["files"] if file["shipped"]}
    pairs = [
        (file, _candidate(name, report, file, None if report is first else beside.get(file["format"])))
        for name, report in reports
        for file in report["files"]
        if file["shipped"]
    ]
    axes, files = dict[str, tuple[str, ...]](), list[Candidate]()
    for format_name in dict.fromkeys(file["format"] for file, _ in pairs):
        same = [(file, found) for file, found in pairs if file["format"] == format_name]
        axes[format_name], front = _front([file for file, _ in same])
        files += [replace(found, front=on) for (_, found), on in zip(same, front, strict=True)]
    return Comparison(
        first["task"], len(first["data"]["labels"]), tuple(name for name, _ in reports), tuple(files), axes,
        tuple(_notes(reports, files)),
    )  # fmt: skip


def short_names(bundles: tuple[str, ...]) -> dict[str, str]:
    """Bundles without the folders that all of them lie in."""
    above = os.path.commonpath([os.path.dirname(bundle) or "." for bundle in map(os.path.abspath, bundles)])
    return {bundle: os.path.relpath(os.path.abspath(bundle), above) for bundle in bundles}


def _read(folder: Path) -> dict[str, Any]:
    """The report of a bundle. Raises InputError if there is none, or one that can't be read."""
    if not (folder / REPORT).is_file():
        raise InputError(f"{folder}: no bundle: it holds no {REPORT}; give folders that edgepress run wrote")
    report = read_json(folder / REPORT)
    decide(report)  # complete, and of the schema that is known here
    return report


def _candidate(name: str, report: dict[str, Any], file: dict[str, Any], beside: dict[str, Any] | None) -> Candidate:
    checks = [check for check in decide(report).checks if file["name"] in check.file.split(" and ")]
    measured, operators = file["measured"], file.get("operators")
    faster = measured["times_faster_than_float32"] if measured else None
    others = [pair["value"] for pair in report["agreements"] if file["name"] in pair["files"]]
    latency = None
    if measured:
        shares = {share: measured["latency"][share]["value"] for share in ("p50", "p90", "p99")}
        latency = {**shares, **{key: measured[key] for key in ("source", "machine", "threads")}}
    return Candidate(
        bundle=name,
        recipe=report["recipe"],
        target=report["target"]["id"],
        file=file["name"],
        format=file["format"],
        scheme=file["scheme"],
        accuracy={key: file["accuracy"][key] for key in ("value", "low", "high", "correct", "total")},
        accuracy_difference=accuracy_difference(file["accuracy"], beside["accuracy"]) if beside else None,
        agreement_with_student=file["agreement_with_student"]["value"],
        agreement=min(others, default=None),
        size=file["size"]["value"],
        size_difference=_size(file, beside) if beside else None,
        latency=latency,
        latency_difference=latency_difference(measured, beside["measured"]) if beside else None,
        times_faster_than_float32=faster["value"] if faster else None,
        covered=operators["covered"]["value"] if operators else None,
        pieces=operators["pieces"] if operators else None,
        checks=len(checks),
        checks_passed=sum(check.passed is True for check in checks),
    )


def accuracy_difference(mine: dict[str, Any], theirs: dict[str, Any]) -> Difference:
    """In points, from two accuracies with their Wilson intervals (Newcombe 1998, method 10)."""
    value = mine["value"] - theirs["value"]
    low = value - hypot(mine["value"] - mine["low"], theirs["high"] - theirs["value"])
    high = value + hypot(mine["high"] - mine["value"], theirs["value"] - theirs["low"])
    better = None if low <= 0 <= high else low > 0
    return Difference(100 * value, 100 * low, 100 * high, "points", better)


def _size(file: dict[str, Any], beside: dict[str, Any]) -> Difference:
    value = file["size"]["value"] - beside["size"]["value"]
    return Difference(value, None, None, "bytes", value < 0 if value else None)


def latency_difference(mine: dict[str, Any] | None, theirs: dict[str, Any] | None) -> Difference | None:
    """Of the p90, in ms; None for times that can't be compared."""
    if mine is None or theirs is None or not _comparable([mine, theirs]):
        return None
    value = mine["latency"]["p90"]["value"] - theirs["latency"]["p90"]["value"]
    own, other = p90_interval(mine), p90_interval(theirs)
    if own.low is None or own.high is None or other.low is None or other.high is None:  # too few runs
        return Difference(value, None, None, "ms", None)
    better = None if own.low <= other.high and other.low <= own.high else own.high < other.low
    return Difference(value, own.low - other.high, own.high - other.low, "ms", better)


def _comparable(measured: Sequence[dict[str, Any] | None]) -> bool:
    """Whether all were timed, and on the same machine with as many threads."""
    return None not in measured and len({(m["machine"], m["source"], m["threads"]) for m in measured if m}) == 1


def _front(files: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[bool]]:
    """What the files of one format are compared by, and of each whether it lies on the front: the figures as they are,
    noise and all."""
    costs = [[-file["accuracy"]["value"], file["size"]["value"]] for file in files]
    axes: tuple[str, ...] = ("accuracy", "size")
    if _comparable([file["measured"] for file in files]):
        axes += ("latency p90",)
        costs = [[*cost, file["measured"]["latency"]["p90"]["value"]] for cost, file in zip(costs, files, strict=True)]

    def beats(a: list[float], b: list[float]) -> bool:
        return a != b and all(mine <= theirs for mine, theirs in zip(a, b, strict=True))

    return axes, [not any(beats(other, cost) for other in costs) for cost in costs]


def _notes(reports: Sequence[tuple[str, dict[str, Any]]], files: Sequence[Candidate]) -> list[str]:
    names = short_names(tuple(name for name, _ in reports))
    (first_name, first), *others = [(names[name], report) for name, report in reports]
    notes = [
        f"{name} was judged on other test samples than {first_name}: of another data set, split or seed"
        for name, report in others
        if _test_set(report) != _test_set(first)
    ]
    notes += [
        f"{names[found.bundle]}, {found.file}: timed on another machine, source or number of threads than "
        f"{first_name}, or not timed: latencies are not compared"
        for found in files
        if found.size_difference is not None and found.latency_difference is None
    ]
    if any(found.latency_difference for found in files):
        notes.append("Latencies were measured in runs of their own: the machine's load may have differed.")
    return notes


def _test_set(report: dict[str, Any]) -> tuple[object, ...]:
    data = report["data"]
    return data["content_sha256"], data["counts"].get("test"), report["provenance"]["seeds"]["split"]
