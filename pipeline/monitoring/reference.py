"""What a bundle's files said of the test set: the reference that answers from the field are held against."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.integrity import read_json

REFERENCE = "reference.json"
SCHEMA = 1
STEPS = 100  # of the confidence: hundredths, finer than which no device computes like another


def make_reference(files: dict[str, np.ndarray], labels: tuple[str, ...], truth: np.ndarray) -> dict[str, Any]:
    """The content of `reference.json`, of each shipped file's scores float32 [T, classes] on the T test samples, whose
    classes are `truth` int64 [T]. `docs/field.md` describes it."""
    return {
        "schema": SCHEMA,
        "labels": list(labels),
        "samples": len(truth),
        "true": np.bincount(truth, minlength=len(labels)).tolist(),
        "files": {
            name: {
                "predicted": np.bincount(scores.argmax(1), minlength=len(labels)).tolist(),
                "confidence": confidence_counts(scores.max(1)).tolist(),
            }
            for name, scores in files.items()
        },
    }


def confidence_counts(confidences: np.ndarray) -> np.ndarray:
    """int64 [STEPS + 1]: how many round to each hundredth, from 0.00 to 1.00."""
    steps = np.rint(np.clip(confidences.astype(np.float64), 0, 1) * STEPS).astype(np.int64)
    return np.bincount(steps, minlength=STEPS + 1)


def read_reference(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """int64 [classes], how often the file `name` of the bundle in `folder` gave each label, and `confidence_counts`.

    Raises InputError for a bundle without a reference, or one that is damaged.
    """
    file = folder / REFERENCE
    if not file.exists():
        raise InputError(
            f"{file}: not there, as in bundles of an earlier edgepress; make the bundle again, or give an earlier log "
            "from the field with --reference"
        )
    content = read_json(file)
    try:
        if content["schema"] != SCHEMA:
            raise InputError(f"{file}: schema {content['schema']!r} is not known, expected {SCHEMA}")
        found = content["files"][name]
        predicted, confidence = (np.array(found[key], dtype=np.int64) for key in ("predicted", "confidence"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: incomplete ({error!r}); make the bundle again") from None
    if len(predicted) != len(content["labels"]) or len(confidence) != STEPS + 1 or min(predicted.sum(), 1) < 1:
        raise InputError(f"{file}: incomplete; make the bundle again")
    return predicted, confidence
