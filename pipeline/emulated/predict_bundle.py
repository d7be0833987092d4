"""Puts predicted latencies into the report of a bundle, beside what was measured."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.bundle import rewrite_report
from pipeline.emulated.prediction import PredictedFile, predict_file
from pipeline.emulated.results import PredictedLatency
from pipeline.errors import InputError
from pipeline.gate import decide
from pipeline.integrity import REPORT, bundle_profile, read_json, verify_bundle
from pipeline.progress import SILENT, Reporter
from pipeline.report.emulated import predicted
from targets.errors import TargetError


@dataclass(frozen=True)
class Predictions:
    """What was predicted by file, and why the other files that ship were not."""

    found: dict[str, PredictedFile]
    refused: dict[str, str]


def predict_bundle(folder: Path, reporter: Reporter = SILENT) -> Predictions:
    """Predicts the latency of every file of the bundle in `folder` that ships, on its target's core, and writes what it
    found into the report: `files[].predicted`. What was measured, and the verdict, stay.

    Raises InputError for a bundle that is changed or incomplete, and where none of its files can be predicted; the
    bundle is then as it was.
    """
    verify_bundle(folder)
    report, profile = read_json(folder / REPORT), bundle_profile(folder)
    verdict = decide(report)
    found, refused = dict[str, PredictedFile](), dict[str, str]()
    for file in report["files"]:
        if not file["shipped"]:
            continue
        try:
            found[file["name"]] = predict_file(folder / file["name"], profile, reporter)
            file["predicted"] = predicted(PredictedLatency(found[file["name"]].prediction))
        except (InputError, TargetError) as error:
            refused[file["name"]] = str(error)
    if not found:
        raise InputError("; ".join(dict.fromkeys(refused.values())))
    rewrite_report(folder, report, verdict)
    return Predictions(found, refused)
