"""Figures as a report holds them: a value, its unit, and where it was measured."""

from typing import Any

import numpy as np

from pipeline.metrics import accuracy_of_counts
from pipeline.results import Accuracy, Role

# Of a report's networks, in the order in which they are told.
ROLES: tuple[Role, ...] = ("teacher", "naive", "student", "pruned", "trimmed", "int8")
STUDENTS: tuple[Role, ...] = ("student", "pruned", "trimmed")  # each made of the one before
COUNTED = "counted"  # the source of what is exact on any machine: bytes, parameters, samples


def figure(value: float | int, unit: str, source: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "source": source}


def told_once(notes: dict[str, list[str]]) -> list[str]:
    """Notes by file as lines: what holds for every file stands once and without a name."""
    lines = dict.fromkeys(note for of_file in notes.values() for note in of_file)
    holders = {line: [name for name, of_file in notes.items() if line in of_file] for line in lines}
    return [line if len(names) == len(notes) else f"{', '.join(names)}: {line}" for line, names in holders.items()]


def accuracy_figure(judged: Accuracy) -> dict[str, Any]:
    return {
        **figure(judged.value, "share", "host"),
        "low": judged.low,
        "high": judged.high,
        "correct": judged.correct,
        "total": judged.total,
    }


def per_class(scores: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Accuracy on the samples [T] of each class that has any, from scores [T, classes]."""
    right = scores.argmax(1) == labels
    totals, hits = np.bincount(labels, minlength=len(names)), np.bincount(labels[right], minlength=len(names))
    return [
        {"label": name, **accuracy_figure(accuracy_of_counts(hit, total))}
        for name, hit, total in zip(names, hits.tolist(), totals.tolist(), strict=True)
        if total
    ]


def confusion(scores: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """What was taken for what, the most frequent first; never longer than the test set has mistakes."""
    found = scores.argmax(1)
    wrong = found != labels
    pairs, counts = np.unique(np.stack([labels[wrong], found[wrong]]), axis=1, return_counts=True)
    rows = sorted(zip((-counts).tolist(), *pairs.tolist(), strict=True))
    return [{"label": names[true], "predicted": names[taken], "samples": -n} for n, true, taken in rows]


def last_student(networks: dict[str, Any]) -> str:
    """The role of the student that was exported, of a report's `networks`."""
    return next(role for role in reversed(STUDENTS) if networks[role])


def short_name(name: str) -> str:
    """A file's name without what all files have."""
    return name.removeprefix("model.")
