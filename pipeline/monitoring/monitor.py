"""What was seen in the field held against a bundle's own reference: what drifted, since when, and what to do."""

from collections import Counter
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.integrity import REPORT, read_json, verify_bundle
from pipeline.monitoring.drift import (
    MOVED,
    SIGNIFICANCE,
    DriftTest,
    budget_test,
    confidence_test,
    inferences_needed,
    judged,
    labels_test,
    latency_test,
)
from pipeline.monitoring.log import Observed, read_observed
from pipeline.monitoring.reference import confidence_counts, read_reference
from targets.latency import PERCENTILES

PARTS = 10  # of a log, over which its course is told
SHIFTS = 5  # labels, those that moved most


@dataclass(frozen=True)
class Shift:
    """A label's share of the answers, in the reference and in the field."""

    label: str
    reference: float
    observed: float


@dataclass(frozen=True)
class VersionFigures:
    """What one version of the app saw."""

    version: str
    inferences: int
    confidence: float
    p90_ms: float


@dataclass(frozen=True)
class Monitored:
    """`course`: mean confidence of each tenth of the log, in its order. `between`: first and last time, seconds since
    1970, where the log tells it."""

    bundle: str
    file: str
    reference: str
    inferences: int
    between: tuple[float, float] | None
    tests: tuple[DriftTest, ...]
    shifts: tuple[Shift, ...]
    course: tuple[float, ...]
    versions: tuple[VersionFigures, ...]
    advice: tuple[str, ...]

    @property
    def drifted(self) -> bool:
        return any(test.drifted for test in self.tests)

    @property
    def distil_again(self) -> bool:
        """Whether what drifted is something that distilling again mends."""
        return any(test.drifted for test in self.tests if test.name in ("labels", "confidence"))

    def as_json(self) -> dict[str, Any]:
        return {"drifted": self.drifted, "distil_again": self.distil_again, **asdict(self)}


def monitor(
    folder: Path,
    log: Path,
    name: str | None = None,
    reference: Path | None = None,
    last: int | None = None,
    significance: float = SIGNIFICANCE,
) -> Monitored:
    """The inferences in `log` of the file `name` of the bundle in `folder` (if it ships several, its .tflite unless
    named) against what that file said of the test set, or against an earlier log, `reference`. `last`: the newest
    inferences alone.

    Raises InputError for a bundle that is changed or holds no reference, and for a log that is wrong.
    """
    verify_bundle(folder)
    report = read_json(folder / REPORT)
    try:
        shipped = {file["name"]: file for file in report["files"] if file["shipped"]}
        labels = report["data"]["labels"]
        name = _chosen(shipped, name, folder)
        seen = read_observed(log, labels, tuple(shipped), name)
        seen = seen if last is None else seen.part(slice(-last, None))
        if reference is None:
            held = _from_bundle(folder, shipped[name], report["target"]["id"])
        else:
            held = _from_log(read_observed(reference, labels, tuple(shipped), name), reference, len(labels))
        budgets = {
            share: budget
            for key, share in PERCENTILES.items()
            if (budget := report["budgets"]["latency_ms"][key]) is not None
        }
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / REPORT}: incomplete ({error!r}); make the bundle again") from None
    now = np.bincount(seen.labels, minlength=len(labels))
    tests = [labels_test(held.labels, now), confidence_test(held.confidence, confidence_counts(seen.confidence))]
    if held.ms is not None:
        tests.append(latency_test(held.ms, seen.ms))
    tests += [budget_test(share, budget, seen.ms) for share, budget in budgets.items()]
    told = judged(tests, significance)
    return Monitored(
        bundle=folder.name,
        file=name,
        reference=f"{held.source}, {int(held.labels.sum()):,} inferences",
        inferences=len(seen),
        between=None if seen.times is None else (float(seen.times[0]), float(seen.times[-1])),
        tests=told,
        shifts=_shifts(labels, held.labels, now),
        course=tuple(float(part.mean()) for part in np.array_split(seen.confidence, PARTS)),
        versions=_by_version(seen),
        advice=(*advice(told, int(held.labels.sum()), len(seen), significance), *held.notes),
    )


@dataclass(frozen=True)
class _Reference:
    """`labels` int64 [classes] and `confidence` int64 [STEPS + 1], counted; `ms` float64, None where there are none to
    compare with, which `notes` say."""

    source: str
    labels: np.ndarray
    confidence: np.ndarray
    ms: np.ndarray | None
    notes: tuple[str, ...] = ()


def _from_bundle(folder: Path, file: dict[str, Any], target: str) -> _Reference:
    labels, confidence = read_reference(folder, file["name"])
    measured = file["measured"]
    if measured is None:
        note = "latency: the bundle has none to compare with (it was made with --no-latency)"
    elif measured["source"] == "device" or (measured["source"] == "host" and target == "host"):
        return _Reference("the test set", labels, confidence, np.array(measured["samples"]["values"]))
    else:
        note = (
            f"latency: the bundle's is of another machine ({measured['source']}), so that only its budgets are held "
            "against the field's; `edgepress import-log` puts the device's own into the bundle"
        )
    return _Reference("the test set", labels, confidence, None, (note,))


def _from_log(earlier: Observed, log: Path, classes: int) -> _Reference:
    labels, confidence = np.bincount(earlier.labels, minlength=classes), confidence_counts(earlier.confidence)
    return _Reference(log.name, labels, confidence, earlier.ms)


def _chosen(shipped: dict[str, Any], name: str | None, folder: Path) -> str:
    if name is None:
        return next((file for file in sorted(shipped) if file.endswith(".tflite")), sorted(shipped)[0])
    if name not in shipped:
        raise InputError(f"{folder}: ships no {name}, but {', '.join(sorted(shipped))}: name one of these with --file")
    return name


def advice(
    tests: tuple[DriftTest, ...], reference: int, inferences: int, significance: float = SIGNIFICANCE
) -> tuple[str, ...]:
    """What to do about what drifted, seen in so many `inferences` against so many of the `reference`."""
    drifted = {test.name for test in tests if test.drifted}
    said = []
    if {"labels", "confidence"} <= drifted:
        said.append(
            "Distil again: what the app sees is no longer what the student learnt from. Collect samples from the "
            "field, name them under distill.transfer (the teacher labels them), and label some hundred by hand for the "
            "test set"
        )
    elif "confidence" in drifted:
        said.append(
            "First make sure that the app feeds the model as before: `edgepress validate` on the device, then a golden "
            "input through the app's own preprocessing. If it does, inputs have changed: distil again with samples "
            "from the field under distill.transfer"
        )
    elif "labels" in drifted:
        said.append(
            "The mix of answers changed and the confidence did not: new users or a season, or the test set was never "
            "like the field. If the mix is here to stay, distil again with samples from the field; if the field was so "
            "from the start, hold new logs against an early one: --reference EARLY_LOG"
        )
    if any(name.startswith("latency") for name in drifted):
        said.append(
            "Latency is the app's or the device's: look at threads, delegate and heat (`edgepress bench --device`), "
            "and put the device's figures into the bundle (`edgepress import-log`) so that the gate sees them"
        )
    return tuple(said or [_nothing(reference, inferences, significance)])


def _nothing(reference: int, inferences: int, significance: float) -> str:
    needed = inferences_needed(reference, significance)
    if not isfinite(needed):
        return (
            f"No drift found, and {reference:,} test samples are too few to show that a tenth of the confidences "
            "moved: keep a longer log of a good week as --reference"
        )
    if inferences < needed:
        return f"No drift found; {needed:,.0f} inferences would show that {MOVED:.0%} of the confidences moved: go on"
    return "No drift: no need to distil again"


def _shifts(labels: list[str], reference: np.ndarray, observed: np.ndarray) -> tuple[Shift, ...]:
    before, now = reference / reference.sum(), observed / observed.sum()
    order = np.argsort(-np.abs(now - before), kind="stable")[:SHIFTS]
    return tuple(Shift(labels[place], float(before[place]), float(now[place])) for place in order)


def _by_version(seen: Observed) -> tuple[VersionFigures, ...]:
    if seen.versions is None:
        return ()
    versions = np.array(seen.versions, dtype=object)
    figures = []
    for version in Counter(seen.versions):
        rows = versions == version
        p90 = float(np.percentile(seen.ms[rows], 90, method="inverted_cdf"))
        figures.append(VersionFigures(version, int(rows.sum()), float(seen.confidence[rows].mean()), p90))
    return tuple(figures)
