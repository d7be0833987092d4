"""Where accuracy went: teacher -> student -> pruned -> trimmed -> float32 file -> shipped file, sample by sample
counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.audit import paired_drop
from pipeline.results import NetworkResult, Role, RunResult, TargetFile

STAGES: dict[Role, str] = {"student": "distill", "pruned": "prune", "trimmed": "trim"}  # that made these students


@dataclass(frozen=True)
class Stop:
    """A model on the way, the `stage` that made it, and bool [T]: which test samples it has right."""

    stage: str
    model: str
    right: np.ndarray


def attribute(file: TargetFile, float32: TargetFile | None, run: RunResult) -> dict[str, Any]:
    """The path of `file`, which was quantized from `float32` (None: it is the export itself, or none is known). Raises
    ValueError if the models were judged on test sets of different sizes."""
    labels = run.data.targets[run.data.rows("test")]

    def network(stage: str, found: NetworkResult) -> Stop:
        return Stop(stage, found.role, _right(found.test_logits, labels))

    path = [network("teacher", run.teacher), *(network(STAGES[found.role], found) for found in run.students)]
    if float32 is not None:
        path.append(Stop("export", f"float32 {float32.export.format}", _right(float32.accuracy.scores, labels)))
        last = "quantize"
    else:
        last = "export" if file.export.scheme == "float32" else "export and quantize"
    path.append(Stop(last, f"{file.export.label} {file.export.format}", _right(file.accuracy.scores, labels)))
    return losses(path)


def losses(path: Sequence[Stop]) -> dict[str, Any]:
    """What each step of `path` lost.

    A step's `samples_lost` is the difference of correct test samples; as whole numbers they add up to the total
    exactly. `points_lost` is the same in percent of the test set, negative where a stage gained; `low` to `high` is the
    95% interval of the paired difference. Raises ValueError if the models were judged on test sets of different sizes.
    """
    totals = {len(stop.right) for stop in path}
    if len(totals) != 1:
        raise ValueError(f"accuracies of different test sets: {sorted(totals)} samples")
    steps = [
        {"stage": after.stage, "from": before.model, "to": after.model, **_lost(before.right, after.right)}
        for before, after in pairwise(path)
    ]
    return {"total": _lost(path[0].right, path[-1].right), "steps": steps}


def _right(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """bool [T], from scores [T, classes]."""
    if len(scores) != len(labels):
        raise ValueError(f"accuracies of different test sets: {sorted((len(scores), len(labels)))} samples")
    right: np.ndarray = scores.argmax(1) == labels
    return right


def _lost(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    drop = paired_drop(before, after)
    return {
        "samples_lost": drop.lost - drop.gained,
        "points_lost": drop.points,
        "low": drop.low,
        "high": drop.high,
        "unit": "points",
        "source": "host",
    }
