"""Budgets against the report: the verdict, decided from report.json alone, so a bundle can be judged anywhere."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.gating.baseline import compare_with_baseline
from pipeline.gating.group_budget import group_drop
from pipeline.gating.instructions import emulated_checks
from pipeline.gating.operator_budget import operator_checks
from pipeline.gating.predicted_budget import held_against
from pipeline.gating.verdict import Check, Verdict
from pipeline.integrity import REPORT, read_json, verify_bundle
from pipeline.results import MADE_OF
from pipeline.words import short
from targets.latency import PERCENTILES, early_stopping

__all__ = ["Check", "Verdict", "check_bundle", "compare_with_baseline", "decide"]

REPORT_SCHEMA = 1
ELSEWHERE = "measured on this host, not on the device"
NOT_MEASURED = {  # by `measure.where`: what to do about a figure that a clock would tell
    "emulated": "an emulated core tells none; measure on a device (--device), or import its log",
    "log": "import its log (edgepress import-log)",
}
SURE = 1e-9  # what rounding may take from a figure that lies on its budget


def decide(report: dict[str, Any]) -> Verdict:
    """Every budget of the report held against every file that ships.

    Accuracy, agreement, size, cold start and memory: the figure itself. A group's drop: with its interval. Latency:
    MLPerf's early-stopping rule with the budgets' confidence. Undecided is not passed. Raises InputError if the report
    is not one of schema 1.
    """
    if report.get("schema") != REPORT_SCHEMA:
        raise InputError(f"report: schema {report.get('schema')!r} is not known; this edgepress reads {REPORT_SCHEMA}")
    try:
        shipped = [file for file in report["files"] if file["shipped"]]
        checks = [check for file in shipped for check in _of_file(file, report)]
        checks += _sizes_not_validated(report)
        checks += _agreements(report, {file["name"]: file for file in shipped})
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"report: incomplete, can't be judged ({error!r}); make the bundle again") from None
    if not shipped:
        raise InputError("report: no file that ships, so nothing to judge; make the bundle again")
    return Verdict(tuple(checks))


def check_bundle(folder: Path, baseline: dict[str, Any] | None = None) -> Verdict:
    """The verdict on a bundle whose files are proven to be those that were written; with the report of a `baseline`,
    its regressions too. Raises InputError that names the file which is changed, missing or not the bundle's."""
    verify_bundle(folder)
    report = read_json(folder / REPORT)
    verdict = decide(report)
    if baseline is None:
        return verdict
    try:
        return Verdict((*verdict.checks, *compare_with_baseline(report, baseline)))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"baseline: no whole report, nothing to compare with ({error!r}); give another") from None


def _of_file(file: dict[str, Any], report: dict[str, Any]) -> list[Check]:
    budgets, measured = report["budgets"], file["measured"]
    elsewhere = bool(measured) and measured["source"] == "host" and report["target"]["id"] != "host"
    beside = _float32_beside(file, report)
    beside_measured = beside["measured"] if beside else None
    if not _at_one_place(measured, beside_measured):
        beside_measured = None
    figure: dict[str, Any] | None
    checks = [*_accuracy(file, report), *group_drop(file, report), *operator_checks(file, beside)]
    if budgets["size_mb"] is not None:
        size, other = file["size"]["value"] / 1e6, beside["size"]["value"] / 1e6 if beside else None
        figure = {"value": size, "unit": "MB", "source": file["size"]["source"]}
        checks.append(_cost("size_mb", "size", file["name"], figure, budgets["size_mb"], other, False))
    for share, limit in budgets["latency_ms"].items():
        if limit is None:
            continue
        if measured is None:
            check = _missing(f"latency_ms.{share}", "latency", file["name"], limit, report)
            guess = file.get("predicted")
            if guess and guess["latency"] and not report["provenance"]["profile"]["measure"].get("allow_prediction"):
                guess = None  # shown in the report, no ground for a verdict
            checks.append(check if guess is None else held_against(check, guess, budgets["confidence"]))
        else:
            checks.append(_latency(share, file["name"], measured, limit, budgets, beside_measured, elsewhere))
    for name, key, words in (
        ("cold_start_ms", "cold_start", "cold start"),
        ("peak_mem_mb", "peak_memory", "peak memory"),
    ):
        if budgets[name] is not None:
            figure = measured[key] if measured else None
            other = beside_measured[key]["value"] if beside_measured and beside_measured[key] else None
            if figure is None:
                checks.append(_missing(name, words, file["name"], budgets[name], report))
            else:
                checks.append(_cost(name, words, file["name"], figure, budgets[name], other, elsewhere))
    return [*checks, *emulated_checks(file, budgets.get("instructions_m"))]


def _sizes_not_validated(report: dict[str, Any]) -> list[Check]:
    """Of files that nothing here can run the size alone can be judged; reports of before have none."""
    limit, checks = report["budgets"]["size_mb"], []
    for file in report.get("not_validated", ()) if limit is not None else ():
        figure = {"value": file["size"]["value"] / 1e6, "unit": "MB", "source": file["size"]["source"]}
        checks.append(_cost("size_mb", "size", file["name"], figure, limit, None, False))
    return checks


def _at_one_place(measured: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Whether two files were measured on the same machine, so that their figures can be held against each other."""
    if measured is None or other is None:
        return False
    return all(measured[key] == other[key] for key in ("source", "machine"))


def _float32_beside(file: dict[str, Any], report: dict[str, Any]) -> dict[str, Any] | None:
    if file["scheme"] == "float32":
        return None
    made_of = MADE_OF.get(file["format"], file["format"])
    same = (f for f in report["files"] if f["format"] == made_of and f["scheme"] == "float32")
    return next(same, None)


def _accuracy(file: dict[str, Any], report: dict[str, Any]) -> list[Check]:
    budget, name, found = report["budgets"]["accuracy"], file["name"], file["accuracy"]
    value = found["value"]
    interval = f"95% interval {found['low']:.2%} to {found['high']:.2%}"
    checks = []
    if budget["min"] is not None:
        limit, under = budget["min"], 100 * (budget["min"] - value)
        passed = under <= 100 * SURE
        teacher = report["networks"]["teacher"]["accuracy"]["value"]
        stage, lost = _largest_loss(file)
        if teacher < limit:
            stage, lost = "teacher", f"the teacher itself reaches {teacher:.2%}"
        missed = f"accuracy {value:.2%} ({interval}) is {under:.2f} points under the floor of {limit:.2%}; {lost}"
        text = f"accuracy {value:.2%} ({interval}), floor {limit:.2%}" if passed else missed
        checks.append(_check("accuracy.min", name, value, ">=", limit, "share", "host", passed, stage, text))
    if budget["max_drop"] is not None:
        limit, drop = budget["max_drop"], file["attribution"]["total"]["points_lost"]
        passed = drop <= limit + SURE
        stage, lost = _largest_loss(file)
        against = f"accuracy {abs(drop):.2f} points {'below' if drop >= 0 else 'above'} the teacher"
        missed = f"{against}, {drop - limit:.2f} more than the {limit:g} allowed; {lost}"
        text = (f"{against}, {limit:g} allowed" if drop > 0 else against) if passed else missed
        checks.append(_check("accuracy.max_drop", name, drop, "<=", limit, "points", "host", passed, stage, text))
    return checks


def _largest_loss(file: dict[str, Any]) -> tuple[str, str]:
    """The stage that lost most on the way from the teacher, and how much in words."""
    step = max(file["attribution"]["steps"], key=lambda step: step["samples_lost"])
    return step["stage"], f"most was lost in {step['stage']}: {step['points_lost']:.2f} points"


def _agreements(report: dict[str, Any], shipped: dict[str, dict[str, Any]]) -> list[Check]:
    limit = report["budgets"]["accuracy"]["min_agreement"]
    if limit is None:
        return []
    checks = []
    for pair in report["agreements"]:
        value, name = pair["value"], " and ".join(pair["files"])
        passed = value >= limit - SURE
        worse = min((shipped[file] for file in pair["files"]), key=lambda file: file["agreement_with_student"]["value"])
        own, beside = worse["agreement_with_student"]["value"], _float32_beside(worse, report)
        before = beside["agreement_with_student"]["value"] if beside else own
        stage = "quantize" if before - own > 1 - before else "export"
        text = f"same label on {value:.2%} of {pair['samples']} test samples, at least {limit:.2%} wanted"
        if not passed:
            text += f": {100 * (limit - value):.2f} points short; {worse['name']} departs most, in {stage}"
        checks.append(
            _check("accuracy.min_agreement", name, value, ">=", limit, "share", pair["source"], passed, stage, text)
        )
    return checks


def _cost(
    name: str, words: str, file: str, found: dict[str, Any], limit: float, float32: float | None, elsewhere: bool
) -> Check:
    """A figure that must not be over its limit; `float32` is the same figure of the file before quantizing."""
    value, unit = found["value"], found["unit"]
    passed = value <= limit + SURE
    stage, why = _dear_stage(value, float32)
    text = f"{words} {short(value)} {unit}, budget {limit:g} {unit}"
    if not passed:
        text = (
            f"{words} {short(value)} {unit} is {short(value - limit)} {unit} over the budget of {limit:g} {unit}; {why}"
        )
    text += f"; {ELSEWHERE}" if elsewhere else ""
    return _check(name, file, value, "<=", limit, unit, found["source"], passed, stage, text)


def _latency(
    share: str,
    file: str,
    measured: dict[str, Any],
    limit: float,
    budgets: dict[str, Any],
    float32: dict[str, Any] | None,
    elsewhere: bool,
) -> Check:
    name = f"latency_ms.{share}"
    found, confidence = measured["latency"][share], budgets["confidence"]
    samples = np.array(measured["samples"]["values"])
    rule = early_stopping(samples, limit, PERCENTILES[share], confidence, measured["looks"])
    value, counted = found["value"], f"{rule.over} of {rule.runs} runs were over"
    if rule.left_out:
        counted += f" (the {rule.left_out} before, while the latency rose, left out)"
    if rule.independent < rule.runs:
        counted += f", so alike that they count as {rule.independent}"
    stage, why = _dear_stage(value, float32["latency"][share]["value"] if float32 else None)
    told, sure = f"latency {share} {short(value)} ms", f"{100 * confidence:g}% sure"
    if rule.outcome == "pass":
        text = f"{told}, budget {limit:g} ms: {counted}, {sure}"
    elif rule.outcome == "fail":
        text = (
            f"{share} {short(value)} ms is {short(value - limit)} ms over the budget of {limit:g} ms: {counted}; {why}"
        )
    else:
        text = (
            f"{told}, budget {limit:g} ms: {counted}, too few runs to be {sure}; "
            f"{rule.needed} more with none over would pass: raise measure.max_runs in the profile"
        )
    text += f"; {ELSEWHERE}" if elsewhere else ""
    passed = None if rule.outcome == "undecided" else rule.outcome == "pass"
    return _check(name, file, value, "<=", limit, "ms", found["source"], passed, stage, text)


def _dear_stage(value: float, float32: float | None) -> tuple[str, str]:
    """The stage that a cost too high is laid to: quantize if it saved nothing, else the student as distilled."""
    if float32 is not None and value >= float32:
        return "quantize", f"quantize saved nothing: float32 has {short(float32)}"
    return "distill", "the student is too large for it: a smaller one, or prune.macs"


def _missing(name: str, words: str, file: str, limit: float, report: dict[str, Any]) -> Check:
    where = report["provenance"]["profile"]["measure"]["where"]
    to_do = NOT_MEASURED.get(where, "run without --no-latency")
    unit = "MB" if name.endswith("mb") else "ms"
    text = f"{words} was not measured, budget {limit:g} {unit}: {to_do}"
    return _check(name, file, None, "<=", limit, unit, "none", None, None, text)


def _check(
    name: str, file: str, value: float | None, op: Any, limit: float, unit: str, source: str, passed: bool | None,
    stage: str | None, text: str,
) -> Check:  # fmt: skip
    return Check(name, file, value, op, limit, unit, source, passed, stage if passed is False else None, text)
