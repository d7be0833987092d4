"""Statistics of predictions."""

import numpy as np

from pipeline.results import Accuracy


def accuracy(scores: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Top-1 of `scores` [N, classes] against `labels` [N], with the 95% Wilson score interval (Wilson 1927)."""
    return accuracy_of_counts(int((scores.argmax(1) == labels).sum()), len(labels))


def accuracy_of_counts(correct: int, total: int) -> Accuracy:
    from scipy.stats import binomtest  # seconds, of every process that starts

    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return Accuracy(correct, total, correct / total, float(interval.low), float(interval.high))


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Share of samples on which both score arrays [N, classes] have the same top-1 label."""
    return float((a.argmax(1) == b.argmax(1)).mean())
