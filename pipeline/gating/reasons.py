"""The gate's verdict in words: why each budget was missed, which stage lost it and what to try next; of a bundle that
passes, which budget has the least room left."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.gating.advice import Advice, advise
from pipeline.gating.verdict import Check, Verdict
from pipeline.words import listed, short

NAMED = 3  # layers, kinds of operators and changed settings that a sentence names
ON_ACCURACY = ("accuracy.min", "accuracy.max_drop", "accuracy.max_group_drop", "baseline.accuracy")
ON_SIZE = ("size_mb", "baseline.size")
ON_OPERATORS = ("latency_ms.", "cold_start_ms", "baseline.latency_p90", "runtimes.")


@dataclass(frozen=True)
class Reason:
    """Of one missed check: what is known of it, a sentence each, and what to change."""

    check: Check
    told: tuple[str, ...]
    advice: tuple[Advice, ...]


def explain_verdict(
    verdict: Verdict, report: dict[str, Any], folder: Path | None = None, baseline: dict[str, Any] | None = None
) -> tuple[Reason, ...]:
    """A reason for each missed check of `verdict` on `report`. `folder`: the bundle, whose files tell what their bytes
    are; `baseline`: the report that regressions were found against."""
    files = {file["name"]: file for file in report["files"]}
    before = {file["name"]: file for file in baseline["files"]} if baseline else {}
    reasons = []
    for check in verdict.missed:
        file = files.get(check.file) or _worse_of(check, report, files)
        told, found = [], check
        if check.name.startswith("baseline.") and baseline is not None:
            stage, words = _since(file, before.get(check.file))
            found = dataclasses.replace(check, stage=stage)
            told += [*words, *_changed(report, baseline)]
        if file is not None:
            told += _of_file(check, file, report, folder)
        reasons.append(Reason(found, tuple(told), advise(found, report, file)))
    return tuple(reasons)


def by_advice(reasons: Sequence[Reason]) -> list[tuple[list[Reason], tuple[Advice, ...]]]:
    """Reasons with the same advice together, so that it is given once."""
    grouped: dict[tuple[Advice, ...], list[Reason]] = {}
    for reason in reasons:
        grouped.setdefault(reason.advice, []).append(reason)
    return [(group, advice) for advice, group in grouped.items()]


def least_room(verdict: Verdict) -> tuple[Check, float] | None:
    """The check that was passed most narrowly, and the share of what is allowed that is left: of a floor on accuracy,
    of the errors that it allows. None where no budget leaves room by its nature."""
    found = [(check, room) for check in verdict.checks if (room := _room(check)) is not None]
    return min(found, key=lambda pair: pair[1]) if found else None


def room_in_words(verdict: Verdict) -> str:
    """One sentence on `least_room`."""
    found = least_room(verdict)
    if found is None:
        return "No budget was set that could have room left."
    check, room = found
    return f"Least room: {check.name} of {check.file}, {room:.1%} of what is allowed is left ({check.explanation})."


def _room(check: Check) -> float | None:
    if check.passed is not True or check.value is None or check.name == "baseline.files":
        return None
    if check.op == ">=":
        return (check.value - check.limit) / (1 - check.limit) if check.unit == "share" and check.limit < 1 else None
    return max(0.0, check.limit - check.value) / check.limit if check.limit > 0 else None  # it may be over by noise


def _worse_of(check: Check, report: dict[str, Any], files: dict[str, Any]) -> dict[str, Any] | None:
    """Of a check on two files the one that departs from the student more."""
    pairs = [pair["files"] for pair in report["agreements"] if " and ".join(pair["files"]) == check.file]
    named = [files[name] for pair in pairs for name in pair]
    return min(named, key=lambda file: file["agreement_with_student"]["value"]) if named else None


def _of_file(check: Check, file: dict[str, Any], report: dict[str, Any], folder: Path | None) -> list[str]:
    if check.name in ON_ACCURACY and file["attribution"]:
        return [_path(file, report)]
    if check.name in ON_SIZE and folder is not None:
        return _bytes(folder / file["name"], file)
    if check.name.startswith(ON_OPERATORS):
        return _operators(file)
    return []


def _path(file: dict[str, Any], report: dict[str, Any]) -> str:
    """From the teacher to the file, with what each stage lost."""
    accuracy = 100 * report["networks"]["teacher"]["accuracy"]["value"]
    told = f"teacher {accuracy:.2f}%"
    for step in file["attribution"]["steps"]:
        lost = step["points_lost"]
        accuracy -= lost
        what = f"lost {lost:.2f}" if lost > 0 else f"gained {-lost:.2f}" if lost < 0 else "lost nothing"
        told += f" -> {step['to']} {accuracy:.2f}% ({step['stage']} {what})"
    return told


def _bytes(model: Path, file: dict[str, Any]) -> list[str]:
    """What the bytes of a model file are."""
    from pipeline.quantize.graph import read_graph
    from pipeline.quantize.inspect import layer_weights, weight_bytes

    try:
        size, kinds = file["size"]["value"], weight_bytes(model, file["format"])
    except Exception as error:  # a file that is no model raises anything; the reasons that are known still hold
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [f"what its bytes are can't be told: {reason}"]
    parts = [f"{short(count / 1e6)} MB {kind}" for kind, count in kinds.items() if count / size >= 0.01]
    rest = size - sum(kinds.values())
    told = [f"of {short(size / 1e6)} MB: constants {', '.join(parts)}; graph, names, metadata {short(rest / 1e6)} MB"]
    weights = {weight.name: weight for weight in layer_weights(read_graph(model, file["format"]))}
    largest = sorted(weights.values(), key=lambda weight: (-weight.bytes, weight.name))[:NAMED]
    if largest:
        named = ", ".join(f"{_short_name(w.name)} ({w.operator}, {short(w.bytes / 1e6)} MB)" for w in largest)
        told.append(f"the largest weights: {named}")
    return told


def _short_name(weight: str) -> str:
    """A weight's name without most of the modules that the TFLite converter puts before it."""
    fused = [part for part in weight.split(";") if part and not part.isdecimal()]
    modules = fused[-1].split("/") if fused else [weight]
    return "/".join(module.rsplit(".", 1)[-1] for module in modules[-3:]) if len(modules) > 1 else modules[0]


def _operators(file: dict[str, Any]) -> list[str]:
    """Operators outside the delegate, and where the time goes."""
    told, found, measured = [], file.get("operators"), file["measured"]  # earlier reports do not tell of operators
    if found:
        left, floats = (_kinds(found[key]) for key in ("left_out", "in_float"))
        if left or floats:
            words = [f"left out {listed(left, NAMED)}"] if left else []
            words += [f"computed in float {listed(floats, NAMED)}"] if floats else []
            told.append(f"{found['delegate']}, of {found['count']['value']} operators: {'; '.join(words)}")
        else:
            told.append(f"{found['delegate']} runs all {found['count']['value']} operators: none is to blame")
        device = found.get("device")
        if device and device["not_taken"]:
            kinds = {f"{kind['kind']} ({kind['dtype']})": kind["count"] for kind in device["not_taken"]}
            told.append(f"{device['delegate']} does not take, by its table: {listed(kinds, NAMED)}")
    times = measured.get("operator_times") if measured else None
    if times:
        total = sum(kind["value"] for kind in times["kinds"])
        dear = [f"{kind['kind']} {kind['value'] / total:.0%}" for kind in times["kinds"][:NAMED] if total]
        told.append(f"the profiled time goes to {', '.join(dear)}")
    if measured and measured.get("times_faster_than_float32"):
        told.append(f"{measured['times_faster_than_float32']['value']:.2f} times as fast as its float32 file")
    return told


def _kinds(found: list[dict[str, Any]]) -> dict[str, int]:
    return {kind["kind"]: kind["count"] for kind in found}


def _since(file: dict[str, Any] | None, before: dict[str, Any] | None) -> tuple[str | None, list[str]]:
    """The stage that loses more accuracy than it did in the baseline, if any."""
    if file is None or before is None or not file["attribution"] or not before["attribution"]:
        return None, []
    old = {step["stage"]: step["points_lost"] for step in before["attribution"]["steps"]}
    more = {step["stage"]: step["points_lost"] - old.get(step["stage"], 0) for step in file["attribution"]["steps"]}
    stage = max(more, key=lambda name: more[name])
    if more[stage] <= 0:
        return None, ["no stage loses more than in the baseline: its teacher was better, or the test set another"]
    return stage, [f"{stage} loses {more[stage]:.2f} points more than in the baseline"]


def _changed(report: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """Settings and libraries that are not what they were."""
    now, then = report["provenance"], baseline["provenance"]
    told = []
    for what, mine, theirs in (
        ("recipe", _flat(now["recipe"]), _flat(then["recipe"])),
        ("profile", _flat(now["profile"]), _flat(then["profile"])),
        ("versions", now["versions"], then["versions"]),
    ):
        names = sorted(name for name in mine if name in theirs and mine[name] != theirs[name])
        alone = len(set(mine) ^ set(theirs))
        if names:
            shown = [f"{name} {theirs[name]} -> {mine[name]}" for name in names[: 2 * NAMED]]
            rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
            told.append(f"changed in the {what}: {', '.join(shown)}{rest}")
        if alone:
            told.append(f"in the {what}, {alone} that only one of the two knows")
    return told or ["recipe, profile and versions are those of the baseline"]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {prefix: value}
    items = (_flat(inner, f"{prefix}.{name}" if prefix else str(name)) for name, inner in value.items())
    return {name: inner for part in items for name, inner in part.items()}
