"""Latency budgets held against predictions, where the profile allows it and no device was measured."""

import dataclasses
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.integrity import MANIFEST, REPORT, read_json
from pipeline.prediction import PredictedFile, predict_file
from pipeline.progress import SILENT, Reporter
from pipeline.results import Check, Verdict
from pipeline.words import short
from targets.errors import TargetError
from targets.profile import Profile
from targets.strict import parse

LATENCY = "latency_ms."
ON_THE_DEVICE = "device"  # a source that no prediction replaces


def with_predictions(verdict: Verdict, folder: Path, reporter: Reporter = SILENT) -> Verdict:
    """`verdict` on the bundle in `folder`, whose files are proven, with every latency budget that no device was
    measured for held against the upper end of a prediction: its one-sided bound with the budgets' confidence.

    A prediction is of a typical run; the profile's `measure.allow_prediction` says that it may stand for the budget's
    percentile. Undecided where no network of about that size was measured. A file that can't be predicted keeps its
    check, which then says why. Raises InputError if the profile does not allow it, or the bundle is incomplete.
    """
    profile = _profile(folder)
    if not profile.measure.allow_prediction:
        raise InputError(
            f"{folder}: its target {profile.id} lets no verdict rest on a prediction; set measure.allow_prediction: "
            "true in the profile and run the recipe again, or measure on the device"
        )
    confidence = _confidence(folder)
    found: dict[str, PredictedFile | str] = {}
    checks = []
    for check in verdict.checks:
        if not check.name.startswith(LATENCY) or check.source == ON_THE_DEVICE:
            checks.append(check)
            continue
        if check.file not in found:
            found[check.file] = _predicted(folder / check.file, profile, confidence, reporter)
        checks.append(held_against(check, found[check.file], confidence))
    return Verdict(tuple(checks))


def held_against(check: Check, found: PredictedFile | str, confidence: float) -> Check:
    """The check of the same budget by a prediction, or the check itself with the reason why there is none."""
    if isinstance(found, str):
        return dataclasses.replace(check, explanation=f"{check.explanation}; not predicted: {found}")
    prediction = found.prediction
    share, high = check.name.removeprefix(LATENCY), prediction.high
    told = f"predicted {short(prediction.ms)} ms, {100 * confidence:g}% sure of at most {short(high)} ms"
    text = f"{told}, budget {check.limit:g} ms; a typical run's latency stands for {share}, as the profile allows"
    passed: bool | None = high <= check.limit
    if not passed:
        text = f"{told}, {short(high - check.limit)} ms over the budget of {check.limit:g} ms for {share}"
    if prediction.extrapolated:
        passed = None
    text = "; ".join([text, *prediction.notes])
    return Check(check.name, check.file, high, "<=", check.limit, "ms", "predicted", passed, None, text)


def _predicted(file: Path, profile: Profile, confidence: float, reporter: Reporter) -> PredictedFile | str:
    """The prediction whose upper end holds with `confidence`, or why there is none."""
    try:
        return predict_file(file, profile, reporter, confidence=2 * confidence - 1)
    except (InputError, TargetError) as error:
        return str(error)


def _profile(folder: Path) -> Profile:
    content: Any = read_json(folder / MANIFEST).get("profile")
    if not isinstance(content, dict):
        raise InputError(f"{folder / MANIFEST}: holds no profile; make the bundle again")
    return parse(Profile, content, f"{folder / MANIFEST}: profile")


def _confidence(folder: Path) -> float:
    try:
        return float(read_json(folder / REPORT)["budgets"]["confidence"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / REPORT}: incomplete ({error!r}); make the bundle again") from None
