"""Where accuracy went: teacher -> student -> pruned -> trimmed -> float32 file -> shipped file, sample by sample
counted."""

from itertools import pairwise
from typing import Any

from pipeline.results import Accuracy, Role, RunResult, TargetFile

STAGES: dict[Role, str] = {"student": "distill", "pruned": "prune", "trimmed": "trim"}  # that made these students


def attribute(file: TargetFile, float32: TargetFile | None, run: RunResult) -> dict[str, Any]:
    """The path of `file`, which was quantized from `float32` (None: it is the export itself, or none is known).

    Each step's `samples_lost` is the difference of correct test samples; as whole numbers they add up to the
    total exactly. `points_lost` is the same in percent of the test set; negative where a stage gained.
    Raises ValueError if the accuracies are not of one test set.
    """
    path: list[tuple[str, str, Accuracy]] = [("teacher", "teacher", run.teacher.accuracy)]
    for network in run.students:
        path.append((STAGES[network.role], network.role, network.accuracy))
    if float32 is not None:
        path.append(("export", f"float32 {float32.export.format}", float32.accuracy.accuracy))
        last = "quantize"
    else:
        last = "export" if file.export.scheme == "float32" else "export and quantize"
    path.append((last, f"{file.export.label} {file.export.format}", file.accuracy.accuracy))
    totals = {accuracy.total for _, _, accuracy in path}
    if len(totals) != 1:
        raise ValueError(f"accuracies of different test sets: {sorted(totals)} samples")
    (total,) = totals
    steps = [
        {"stage": stage, "from": start, "to": end, **_lost(before, after, total)}
        for (_, start, before), (stage, end, after) in pairwise(path)
    ]
    return {"total": _lost(path[0][2], path[-1][2], total), "steps": steps}


def _lost(before: Accuracy, after: Accuracy, total: int) -> dict[str, Any]:
    samples = before.correct - after.correct
    return {"samples_lost": samples, "points_lost": 100 * samples / total, "unit": "points", "source": "host"}
