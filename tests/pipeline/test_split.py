"""Which samples train, validate and test."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.data.split import split, stratified_sample
from pipeline.errors import InputError
from pipeline.settings.data import Split

shares = st.floats(0.05, 0.45)
class_sizes = st.lists(st.integers(3, 60), min_size=2, max_size=6)


def labels_of(sizes: list[int], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def names_of(sizes: list[int]) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(len(sizes)))


@given(class_sizes, shares, shares, st.integers(0, 2**31))
def test_every_row_is_in_exactly_one_split_and_each_class_in_all(
    sizes: list[int], test: float, validation: float, seed: int
) -> None:
    labels = labels_of(sizes)
    parts = split(labels, names_of(sizes), Split(test=test, validation=validation, seed=seed))
    together = np.concatenate([parts["train"], parts["validation"], parts["test"]])
    assert sorted(together.tolist()) == list(range(len(labels)))
    for rows in parts.values():
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
        assert set(labels[rows]) == set(range(len(sizes)))


@given(class_sizes, shares, shares, st.integers(0, 100))
def test_shares_hold_within_one_sample_of_each_class(
    sizes: list[int], test: float, validation: float, seed: int
) -> None:
    assume(min(sizes) * (1 - test - validation) >= 2)  # else a sample is left for each split before shares count
    labels = labels_of(sizes)
    parts = split(labels, names_of(sizes), Split(test=test, validation=validation, seed=seed))
    for index, size in enumerate(sizes):
        assert abs((labels[parts["test"]] == index).sum() - test * size) < 1
        assert abs((labels[parts["validation"]] == index).sum() - validation * size) < 1


@given(class_sizes, shares, shares, shares, st.integers(0, 100))
def test_the_test_set_does_not_depend_on_the_validation_share(
    sizes: list[int], test: float, one: float, other: float, seed: int
) -> None:
    labels, names = labels_of(sizes), names_of(sizes)
    first = split(labels, names, Split(test=test, validation=one, seed=seed))
    second = split(labels, names, Split(test=test, validation=other, seed=seed))
    np.testing.assert_array_equal(first["test"], second["test"])


def test_the_seed_decides_the_draw() -> None:
    labels, names = labels_of([50, 50]), names_of([50, 50])
    first, again = (split(labels, names, Split(seed=3)) for _ in range(2))
    other = split(labels, names, Split(seed=4))
    for part in first:
        np.testing.assert_array_equal(first[part], again[part])
        assert not np.array_equal(first[part], other[part])


def test_an_own_test_set_is_kept_and_only_validation_is_drawn() -> None:
    labels = np.tile([0, 1], 50)
    own = np.arange(80, 100)
    parts = split(labels, ("a", "b"), Split(test=0.5, validation=0.25), own)
    np.testing.assert_array_equal(parts["test"], own)
    assert len(parts["validation"]) == 20
    assert len(parts["train"]) == 60


def test_validation_is_a_share_of_all_samples_not_of_what_the_test_set_left() -> None:
    labels = np.tile([0, 1], 100)
    parts = split(labels, ("a", "b"), Split(test=0.5, validation=0.1))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 80, "validation": 20, "test": 100}


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match=r"all 30 samples have the label 'cat'.*two classes"):
        split(np.zeros(30, np.int64), ("cat",), Split())


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_class_too_small_for_three_splits_is_named(count: int) -> None:
    labels = np.array([0] * 30 + [1] * count)
    with pytest.raises(InputError, match=f"class 'dog' has {count} samples.*train, validation, test"):
        split(labels, ("cat", "dog"), Split())


@pytest.mark.parametrize(("test", "validation"), [(0.85, 0.05), (0.05, 0.85), (0.05, 0.05)])
def test_a_class_of_three_gets_one_sample_in_each_split_whatever_the_shares(test: float, validation: float) -> None:
    parts = split(np.array([0] * 30 + [1] * 3), ("cat", "dog"), Split(test=test, validation=validation))
    assert [int((rows >= 30).sum()) for rows in parts.values()] == [1, 1, 1]


def test_a_class_missing_from_the_own_test_set_is_named() -> None:
    with pytest.raises(InputError, match="class 'dog' has no samples in the test set"):
        split(np.array([0, 0, 0, 1, 1, 1, 0]), ("cat", "dog"), Split(), np.array([6]))


def test_a_class_too_small_beside_an_own_test_set_is_named() -> None:
    with pytest.raises(InputError, match=r"class 'dog' has 1 samples.*train, validation\."):
        split(np.array([0, 0, 0, 1, 0, 1]), ("cat", "dog"), Split(), np.array([4, 5]))


@given(st.lists(st.integers(1, 80), min_size=1, max_size=6), st.integers(1, 200), st.integers(0, 50))
def test_a_sample_has_the_asked_size_and_the_classes_shares(sizes: list[int], count: int, seed: int) -> None:
    labels = labels_of(sizes)
    rows = stratified_sample(labels, count, seed)
    assert len(rows) == len(set(rows.tolist())) == min(count, len(labels))
    np.testing.assert_array_equal(rows, stratified_sample(labels, count, seed))
    for index, size in enumerate(sizes):
        assert abs((labels[rows] == index).sum() - size * len(rows) / len(labels)) < 1
