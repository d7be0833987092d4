"""What counts as the same: outputs of an emulated core held against the host's."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.emulated.results import EmulatedResult
from pipeline.golden import SCORE_TOLERANCES
from targets.profile import Scheme

FLOAT_TOLERANCE = 1e-5  # relative: kernels of two instruction sets add up in another order
SCORE_STEP = 1 / 256  # of a score in 8 bits
SMALLEST = float(np.finfo(np.float32).tiny)  # what a float score is held against at the least

Outputs = Sequence[Sequence[np.ndarray]]


def compare(name: str, core: str, scheme: Scheme, found: Outputs, expected: Outputs) -> EmulatedResult:
    """Holds the outputs of a core against the host's, sample by sample.

    Static INT8 has to come out the same: scores of a softmax in float within `FLOAT_TOLERANCE` of themselves, since one
    step of a logit would move them by far more; scores in 8 bits within one step, since a softmax in 8 bits takes its
    exponentials in float and rounds what comes out. float32: within `FLOAT_TOLERANCE` of the sample's largest score.
    Other schemes quantize what float arithmetic gave as they run: as far as golden outputs may lie.
    """
    pairs = [list(zip(mine, theirs, strict=True)) for mine, theirs in zip(found, expected, strict=True)]
    stored = all(np.issubdtype(theirs.dtype, np.integer) for sample in pairs for _, theirs in sample)
    unit, tolerance = ("step", 1.0) if stored else ("score", SCORE_TOLERANCES[scheme])
    if scheme == "int8-static" and not stored:
        stepped = all(
            np.array_equal(theirs, np.round(theirs / SCORE_STEP) * SCORE_STEP) for s in pairs for _, theirs in s
        )
        unit, tolerance = ("score", SCORE_STEP) if stepped else ("of itself", FLOAT_TOLERANCE)
    elif scheme == "float32" and not stored:
        unit, tolerance = "of the largest", FLOAT_TOLERANCE
    differences = [_difference(sample, unit) for sample in pairs]
    over = sum(not far <= tolerance for far in differences)  # NaN too
    largest = float(np.max(differences))  # keeps a NaN
    told = largest if math.isfinite(largest) else None
    identical = all(np.array_equal(*pair) for sample in pairs for pair in sample)
    text = f"bit-identical to the host on {len(pairs)} samples"
    if not identical:
        far = "no number, or of another shape" if told is None else f"{told:.2g} {unit}"
        text = f"largest difference from the host {far} on {len(pairs)} samples, {tolerance:g} allowed"
    if over:
        text += f": {over} samples are over it; on a {core} the runtime computes otherwise, don't ship it there"
    return EmulatedResult(name, core, len(pairs), identical, told, tolerance, unit, not over, text)


def _difference(sample: Sequence[tuple[np.ndarray, np.ndarray]], unit: str) -> float:
    """The largest of a sample's outputs (found, expected), in `unit`."""
    largest = 0.0
    for mine, theirs in sample:
        if mine.shape != theirs.shape:
            return float("inf")
        found, expected = mine.astype(np.float64), theirs.astype(np.float64)
        distance = np.abs(found - expected)
        if unit == "of itself":
            distance = distance / np.maximum(np.abs(expected), SMALLEST)
        elif unit == "of the largest":
            distance = distance / max(float(np.abs(expected).max(initial=0.0)), SMALLEST)
        largest = float(np.maximum(largest, distance.max(initial=0.0)))  # keeps a NaN
    return largest
