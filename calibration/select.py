"""Which samples calibrate: rows of the training split, the same for the same seed."""

import numpy as np

from calibration.errors import CalibrationError


def random_draw(rows: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """`samples` of `rows`, int64, in random order; all of them if there are no more."""
    return np.random.default_rng(seed).permutation(np.unique(rows).astype(np.int64))[:samples]


def stratified(labels: np.ndarray, rows: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """`samples` of the training `rows`, int64, in random order, each class by its share among them.

    `labels` is int64 [N], the class of every row of the data set; `rows` holds row numbers of the training split
    alone. Every class gets at least one sample if there are as many samples as classes; what is left after whole
    shares goes to the largest remainders. All rows are taken if `samples` is not fewer than there are. The order is
    shuffled over the classes, because quantizers that average over time weigh the last samples most.

    Raises CalibrationError for samples < 1, rows outside the data, and a class that has no training row.
    """
    if samples < 1:
        raise CalibrationError(f"calibration.samples is {samples}, expected at least 1")
    rows = np.unique(np.asarray(rows, dtype=np.int64))
    if len(rows) and not (rows[0] >= 0 and rows[-1] < len(labels)):
        raise CalibrationError(f"training rows {rows[0]}..{rows[-1]} lie outside the data's {len(labels)} samples")
    classes = np.unique(labels)
    here, counts = np.unique(labels[rows], return_counts=True)
    if len(here) < len(classes):
        missing = ", ".join(str(label) for label in np.setdiff1d(classes, here)[:10])
        raise CalibrationError(
            f"{len(rows)} training samples have none of {len(classes) - len(here)} of the {len(classes)} classes "
            f"(class {missing}); calibration needs training samples of every class: give the training split more"
        )
    generator = np.random.default_rng(seed)
    if samples >= len(rows):
        return generator.permutation(rows)
    picked = [
        generator.choice(rows[labels[rows] == label], size, replace=False)
        for label, size in zip(here, _shares(counts, samples), strict=True)
    ]
    return generator.permutation(np.concatenate(picked))


def _shares(counts: np.ndarray, samples: int) -> np.ndarray:
    """Whole numbers that add up to `samples` < sum(counts), proportional to `counts` (largest remainders), none
    above its count, and none zero where `samples` allows it."""
    least = int(samples >= len(counts))
    exact = samples * counts / counts.sum()
    shares = np.maximum(np.floor(exact).astype(np.int64), least)
    while shares.sum() != samples:
        step = 1 if shares.sum() < samples else -1
        open_to_change = shares < counts if step > 0 else shares > least
        index = int(np.argmax(np.where(open_to_change, step * (exact - shares), -np.inf)))
        shares[index] += step
    return shares


def covering(features: np.ndarray, samples: int) -> np.ndarray:
    """Indexes, int64, of the `samples` rows of `features`, float [N, D], that leave none of the others far away.

    Each next one is the farthest from those before it, the first the nearest to the mean (Gonzalez 1985, who shows
    that the largest distance left is at most twice the least possible; as a choice of samples: Sener and Savarese
    2018). Features are scaled to unit variance first. All rows if there are no more than `samples`.
    """
    scaled = np.asarray(features, dtype=np.float64)
    scaled = (scaled - scaled.mean(axis=0)) / np.maximum(scaled.std(axis=0), 1e-12)
    picked = [int(np.argmin(np.einsum("nd,nd->n", scaled, scaled)))]
    away = np.full(len(scaled), np.inf)
    while len(picked) < min(samples, len(scaled)):
        away = np.minimum(away, _squared_distances(scaled, picked[-1]))
        away[picked[-1]] = -1.0  # no sample twice, its like is another
        picked.append(int(np.argmax(away)))
    return np.array(picked, dtype=np.int64)


def uncertain(probabilities: np.ndarray, samples: int) -> np.ndarray:
    """Indexes, int64, of the `samples` rows of `probabilities`, float [N, classes], of the highest entropy (Shannon
    1948), highest first; the earlier of equals. All rows if there are no more than `samples`."""
    entropy = -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-30)), axis=1)
    return np.argsort(-entropy, kind="stable")[:samples].astype(np.int64)


def _squared_distances(points: np.ndarray, index: int) -> np.ndarray:
    apart = points - points[index]
    return np.einsum("nd,nd->n", apart, apart)
