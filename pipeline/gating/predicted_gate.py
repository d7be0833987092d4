"""Latency budgets of a bundle held against predictions, where the profile allows it and no device was measured."""

from pathlib import Path
from typing import Any

from pipeline.emulated.prediction import predict_file
from pipeline.emulated.results import PredictedLatency
from pipeline.errors import InputError
from pipeline.gating.predicted_budget import LATENCY, held_against
from pipeline.gating.verdict import Verdict
from pipeline.integrity import REPORT, bundle_profile, read_json
from pipeline.progress import SILENT, Reporter
from pipeline.report.emulated import predicted
from targets.errors import TargetError
from targets.profile import Profile

FINAL = ("device", "predicted")  # sources that no prediction replaces


def with_predictions(verdict: Verdict, folder: Path, reporter: Reporter = SILENT) -> Verdict:
    """`verdict` on the bundle in `folder`, whose files are proven, with every latency budget that no device was
    measured for held against the upper end of a prediction: its one-sided bound with the budgets' confidence.

    The profile's `measure.allow_prediction` says that it may. A file that can't be predicted keeps its check, which
    then says why; one that its report holds a prediction of, or the reason for none, keeps that. Raises InputError if
    the profile does not allow it, or the bundle is incomplete.
    """
    profile = bundle_profile(folder)
    if not profile.measure.allow_prediction:
        raise InputError(
            f"{folder}: its target {profile.id} lets no verdict rest on a prediction; set measure.allow_prediction: "
            "true in the profile and run the recipe again, or measure on the device"
        )
    report = read_json(folder / REPORT)
    confidence = _confidence(report, folder)
    refused = {f["name"] for f in report.get("files", ()) if f.get("predicted") and not f["predicted"]["latency"]}
    found: dict[str, dict[str, Any]] = {}
    checks = []
    for check in verdict.checks:
        if check.name.startswith(LATENCY) and check.source not in FINAL and check.file not in refused:
            if check.file not in found:
                found[check.file] = _predicted(folder / check.file, profile, confidence, reporter)
            check = held_against(check, found[check.file], confidence)
        checks.append(check)
    return Verdict(tuple(checks))


def _predicted(file: Path, profile: Profile, confidence: float, reporter: Reporter) -> dict[str, Any]:
    """The prediction whose upper end holds with `confidence`, or why there is none, as a report tells it."""
    try:
        told = PredictedLatency(predict_file(file, profile, reporter, confidence=2 * confidence - 1).prediction)
    except (InputError, TargetError) as error:
        told = PredictedLatency(None, str(error))
    record = predicted(told)
    assert record is not None
    return record


def _confidence(report: dict[str, Any], folder: Path) -> float:
    try:
        return float(report["budgets"]["confidence"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / REPORT}: incomplete ({error!r}); make the bundle again") from None
