"""Which samples train, validate and test: stratified by class, seeded, the test set drawn first."""

import numpy as np

from pipeline.errors import InputError
from pipeline.results import SplitName
from pipeline.settings.data import Split

_TEST, _VALIDATION, _SAMPLE = range(3)  # streams of random numbers, so that no draw moves another


def split(
    labels: np.ndarray, names: tuple[str, ...], settings: Split, own_test: np.ndarray | None = None
) -> dict[SplitName, np.ndarray]:
    """Sorted row numbers (int64) under train, validation and test; every row of `labels` (int64 [N]) in one.

    Of each class, test and validation get their share, rounded, and each of the three at least one sample. The
    test rows depend on labels, test share and seed alone, or are `own_test` (row numbers); then only validation
    is drawn. Raises InputError for fewer than two classes and for a class with too few samples.
    """
    rows = np.arange(len(labels), dtype=np.int64)
    tested = rows[:0] if own_test is None else np.sort(own_test).astype(np.int64)
    _check(labels, names, tested, own_test is not None)
    if own_test is None:
        tested = _drawn(rows, labels, settings.test, [settings.seed, _TEST], leave=2)
    rest = np.setdiff1d(rows, tested, assume_unique=True)
    # The share is of all samples, so it is larger among those that are left.
    share = settings.validation if own_test is not None else settings.validation / (1 - settings.test)
    validation = _drawn(rest, labels[rest], share, [settings.seed, _VALIDATION], leave=1)
    return {
        "train": np.setdiff1d(rest, validation, assume_unique=True),
        "validation": validation,
        "test": tested,
    }


def stratified_sample(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted numbers (int64) of `count` samples, or all if there are no more; each class by its share."""
    if count >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * count / len(labels)
    quotas = np.floor(exact).astype(np.int64)
    most_left = np.argsort(quotas - exact, kind="stable")  # largest remainders first
    quotas[most_left[: count - int(quotas.sum())]] += 1
    random = np.random.default_rng([seed, _SAMPLE])
    picked = [random.permutation(np.flatnonzero(labels == c))[:quota] for c, quota in zip(classes, quotas, strict=True)]
    return np.sort(np.concatenate(picked))


def _drawn(rows: np.ndarray, labels: np.ndarray, share: float, seed: list[int], leave: int) -> np.ndarray:
    """Of each class `share` of the `rows`, at least one, and at least `leave` left; sorted."""
    random = np.random.default_rng(seed)
    picked = []
    for c in np.unique(labels):
        members = random.permutation(rows[labels == c])
        count = max(1, int(share * len(members) + 0.5))
        picked.append(members[: min(count, len(members) - leave)])
    return np.sort(np.concatenate(picked))


def _check(labels: np.ndarray, names: tuple[str, ...], tested: np.ndarray, own_test: bool) -> None:
    if len(labels) == 0:
        raise InputError("no samples are left to split")
    if len(names) < 2:
        raise InputError(
            f"all {len(labels)} samples have the label '{names[0]}'; a classifier needs two classes or more"
        )
    in_test = np.bincount(labels[tested], minlength=len(names))
    to_split = np.bincount(labels, minlength=len(names)) - in_test
    needed = ("train", "validation") if own_test else ("train", "validation", "test")
    for name, own, others in zip(names, in_test, to_split, strict=True):
        if own_test and own == 0:
            raise InputError(f"class '{name}' has no samples in the test set; add some, or remove the class")
        if others < len(needed):
            raise InputError(
                f"class '{name}' has {others} samples (duplicates left out); it needs at least one for each of "
                f"{', '.join(needed)}. Add samples, remove the class, or raise data.limit if it is set"
            )
