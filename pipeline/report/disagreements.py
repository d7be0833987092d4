"""Where the files that ship say something else than the teacher: how often, and the samples on which they are furthest
apart, as the report holds them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.audit import softmax
from pipeline.data.spans import read_texts
from pipeline.report.figures import COUNTED, figure
from pipeline.report.pictures import png
from pipeline.results import RunResult, TargetFile

SHOWN = 12  # samples
LETTERS = 400  # of a text; the rest is cut


def disagreements(run: RunResult, files: Mapping[str, TargetFile]) -> dict[str, Any]:
    """The section of report.json: test samples to which a file that ships (`files` by name) gives another label than
    the teacher. First come those of which the scores are furthest apart, by total variation: half the sum of absolute
    differences, 1 where the two are sure of different labels."""
    data = run.data
    rows = data.rows("test")
    student = run.students[-1]
    scores: dict[str, np.ndarray] = {
        "teacher": softmax(run.teacher.test_logits),
        student.role: softmax(student.test_logits),
    }
    shipped = {name: file.accuracy.scores.astype(np.float64) for name, file in files.items() if file.shipped}
    taught = scores["teacher"]
    differ = {name: found.argmax(1) != taught.argmax(1) for name, found in shipped.items()}
    apart = np.stack(
        [np.where(differ[name], np.abs(found - taught).sum(1) / 2, 0.0) for name, found in shipped.items()]
    )
    furthest = apart.max(0)
    places = [int(place) for place in np.argsort(-furthest, kind="stable")[:SHOWN] if furthest[place] > 0]
    shown = rows[places]
    is_text = data.task == "text-classification"
    texts = read_texts(data, shown) if is_text else [None] * len(places)
    return {
        "samples": figure(len(rows), "samples", COUNTED),
        "files": [{"name": name, **figure(int(found.sum()), "samples", "host")} for name, found in differ.items()],
        "worst": [
            {
                "row": int(row),
                "label": data.labels[int(data.targets[row])],
                "distance": float(furthest[place]),
                "said": [_said(name, found[place], data.labels) for name, found in {**scores, **shipped}.items()],
                "png": None if is_text else png(data.inputs[row]),
                "text": None if text is None else _cut(text),
            }
            for place, row, text in zip(places, shown.tolist(), texts, strict=True)
        ],
    }


def _said(model: str, scores: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    best = int(scores.argmax())
    return {"model": model, "label": labels[best], "confidence": float(scores[best])}


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"
