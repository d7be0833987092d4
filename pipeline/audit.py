"""How scores do beyond their accuracy: calibration, and by group accuracy, agreement and what was lost on the way from
the teacher. Plain functions on arrays of the test split."""

from dataclasses import dataclass

import numpy as np

from pipeline.metrics import accuracy, agreement
from pipeline.results import Accuracy

BINS = 15  # of confidence, as in Guo et al. 2017
Z95 = 1.959963984540054  # of a two-sided 95% interval


@dataclass(frozen=True)
class ReliabilityBin:
    """Samples whose confidence lies in one bin: its mean, the share that was right, and how many they are."""

    confidence: float
    accuracy: float
    samples: int


@dataclass(frozen=True)
class PairedDrop:
    """What became of the same samples from one model to another: `lost` were right and are wrong, `gained` the other
    way round. `points` of 100 lost (negative: gained), with the 95% interval."""

    lost: int
    gained: int
    points: float
    low: float
    high: float


@dataclass(frozen=True)
class Judged:
    """One model on one group of samples. `drop` is from the teacher; None for the teacher itself."""

    accuracy: Accuracy
    calibration_error: float
    agreement: float  # share of samples with the same label as the student
    drop: PairedDrop | None


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64 scores [N, classes] of `logits` [N, classes]."""
    logits = logits.astype(np.float64)
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    scores: np.ndarray = exponents / exponents.sum(1, keepdims=True)
    return scores


def reliability(scores: np.ndarray, labels: np.ndarray, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Samples in `bins` equally wide bins ((m - 1) / bins, m / bins] of their confidence, the highest score; bins
    without samples left out. `scores` [N, classes] are probabilities, `labels` int64 [N]."""
    confidence = scores.max(1).astype(np.float64)
    right = scores.argmax(1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    found = []
    for index in np.unique(place):
        inside = place == index
        found.append(ReliabilityBin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum())))
    return tuple(found)


def calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Expected calibration error in [0, 1] (ECE, Guo et al. 2017, "On Calibration of Modern Neural Networks"): how far
    confidence and accuracy of a bin lie apart, weighted by its samples. Few samples make it too large."""
    total = sum(found.samples for found in bins)
    return sum(found.samples * abs(found.accuracy - found.confidence) for found in bins) / total


def paired_drop(before: np.ndarray, after: np.ndarray) -> PairedDrop:
    """From the samples [N] that were right `before` to those that are right `after` (bool).

    Both models saw the same samples, so only those where they differ count, and the interval is much narrower than that
    of two accuracies apart: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched
    proportions" (Wald's with half a sample added to each of the four cells).
    """
    total = len(before)
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    b, c, n = lost + 0.5, gained + 0.5, total + 2
    middle = (b - c) / n
    width = Z95 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    low, high = (100 * float(np.clip(end, -1, 1)) for end in (middle - width, middle + width))
    return PairedDrop(lost, gained, 100 * (lost - gained) / total, low, high)


def judge(scores: np.ndarray, labels: np.ndarray, student: np.ndarray, teacher: np.ndarray | None) -> Judged:
    """The model that gave `scores` [N, classes] on samples of `labels` [N], beside the `student`'s and the `teacher`'s
    scores for the same; without a teacher there is no drop."""
    drop = None
    if teacher is not None:
        drop = paired_drop(teacher.argmax(1) == labels, scores.argmax(1) == labels)
    error = calibration_error(reliability(scores, labels))
    return Judged(accuracy(scores, labels), error, agreement(scores, student), drop)


def judge_groups(
    scores: np.ndarray,
    labels: np.ndarray,
    student: np.ndarray,
    teacher: np.ndarray | None,
    members: np.ndarray,
    groups: int,
) -> tuple[Judged, ...]:
    """`judge` for each of the `groups`, none empty; `members` int64 [N] says in which a sample is."""
    found = []
    for group in range(groups):
        rows = np.flatnonzero(members == group)
        found.append(judge(scores[rows], labels[rows], student[rows], None if teacher is None else teacher[rows]))
    return tuple(found)
