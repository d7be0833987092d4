"""Why teacher and student decide so, as the report holds it: agreement beside chance, and the worst disagreements."""

from typing import Any

import numpy as np

from pipeline.audit import paired_drop
from pipeline.data.spans import read_texts
from pipeline.report.figures import COUNTED, figure
from pipeline.report.pictures import png
from pipeline.results import AgreementFigures, ExplainResult, PreparedData, RunResult
from targets.profile import Budgets

SHOWN = 6  # disagreements
EXACT = 0.05  # by which integrated gradients may miss their sum: Sundararajan et al. 2017, section 5


def explanation(run: RunResult) -> dict[str, Any] | None:
    """The section of report.json; None where nobody asked why."""
    found = run.explanation
    if found is None:
        return None
    with np.load(found.samples_file) as stored:
        arrays = dict(stored)
    return {
        "method": found.method,
        "samples": figure(found.samples, "samples", COUNTED),
        "same_class": figure(found.same_class, "share", "host"),
        "top": found.top,
        "grid": found.grid,
        "rank_correlation": _agreement(found.correlation, "rank correlation", arrays["correlation"]),
        "top_overlap": _agreement(found.overlap, "share", arrays["overlap"]),
        "missed": {name: figure(found.missed[name], "share", "host") for name in found.missed} or None,
        "worst": _worst(found, run.data, arrays),
    }


def explanation_notes(run: RunResult, budgets: Budgets) -> list[str]:
    """What a reader must know: an agreement that chance explains, and gradients that were added up too coarsely."""
    found = run.explanation
    if found is None:
        return []
    notes = []
    correlation = found.correlation
    if correlation and correlation.above_chance <= 0.5 and (told := _as_accurate(run, budgets)):
        notes.append(
            f"{told}, but not for the same reasons: only on {correlation.above_chance:.0%} of {found.samples} samples "
            f"do the attributions of student and teacher agree better (rank correlation, median "
            f"{correlation.median:.2f}) than 95% of those of two different samples ({correlation.chance_high:.2f}). "
            "Look at the worst disagreements: the student may rely on something that only this data set has."
        )
    coarse = [f"{name} {share:.0%}" for name, share in found.missed.items() if share > EXACT]
    if coarse:
        notes.append(
            f"Integrated gradients miss the sum that they should have by more than {EXACT:.0%} ({', '.join(coarse)} in "
            "the median): raise explain.steps, or use explain.method: occlusion."
        )
    return notes


def _as_accurate(run: RunResult, budgets: Budgets) -> str | None:
    """In words that the student is as accurate as its teacher: within the drop that its budget allows, or where there
    is none, not below it by more than chance (the paired drop's 95% interval). None where it is not."""
    labels = run.data.targets[run.data.rows("test")]
    right = [network.test_logits.argmax(1) == labels for network in (run.teacher, run.students[-1])]
    drop, allowed = paired_drop(right[0], right[1]), budgets.accuracy.max_drop
    if allowed is not None:
        return f"The student is within {allowed:g} points of its teacher" if drop.points <= allowed else None
    return "The student is as accurate as its teacher" if drop.low <= 0 else None


def _agreement(found: AgreementFigures | None, unit: str, values: np.ndarray) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "mean": figure(found.mean, unit, "host"),
        "median": figure(found.median, unit, "host"),
        "chance_mean": figure(found.chance_mean, unit, "host"),
        "chance_high": figure(found.chance_high, unit, "host"),
        "above_chance": figure(found.above_chance, "share", "host"),
        "undefined": figure(found.undefined, "samples", COUNTED),
        "values": [None if np.isnan(value) else round(float(value), 4) for value in values],
    }


def _worst(found: ExplainResult, data: PreparedData, arrays: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The samples with the lowest rank correlation, those without any left out."""
    correlation = arrays["correlation"]
    order = np.argsort(correlation, kind="stable")  # NaN comes last
    places = [int(place) for place in order[:SHOWN] if not np.isnan(correlation[place])]
    rows = arrays["rows"][places]
    is_text = data.task == "text-classification"
    texts = read_texts(data, rows) if is_text else [None] * len(rows)
    shown = []
    for place, row, text in zip(places, rows.tolist(), texts, strict=True):
        shown.append(
            {
                "row": row,
                "label": data.labels[int(data.targets[row])],
                "explained": data.labels[int(arrays["explained"][place])],
                "teacher_class": data.labels[int(arrays["teacher_class"][place])],
                "rank_correlation": float(correlation[place]),
                "top_overlap": float(arrays["overlap"][place]),
                "png": None if is_text else png(data.inputs[row]),
                "parts": _parts(place, arrays, text),
            }
        )
    return shown


def _parts(place: int, arrays: dict[str, np.ndarray], text: str | None) -> list[dict[str, Any]]:
    """Each part's share of the network's largest value, and of a text what stands there. Of an image all cells."""
    count = int(arrays["used"][place].sum()) if text is not None else arrays["used"].shape[1]
    sides = {name: _shares(arrays[name][place, :count]) for name in ("teacher", "student")}
    parts, before = [], 0
    for index in range(count):
        part: dict[str, Any] = {name: side[index] for name, side in sides.items()}
        if text is not None:
            start, end = arrays["spans"][place, index].tolist()
            part |= {"text": text[start:end], "space": text[before:start].isspace()}
            before = end
        parts.append(part)
    return parts


def _shares(values: np.ndarray) -> list[float]:
    largest = float(np.abs(values).max(initial=0))
    return [round(float(value) / largest, 4) if largest else 0.0 for value in values]
