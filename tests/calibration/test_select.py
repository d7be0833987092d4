from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import CalibrationError
from calibration.select import covering, random_draw, stratified, uncertain


@st.composite
def split(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a data set and rows of a training split that has every class."""
    classes = draw(st.integers(1, 6))
    extra = draw(st.lists(st.integers(0, classes - 1), max_size=60))
    labels = np.array([*range(classes), *extra, *range(classes)])
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels))
    labels = labels[order]
    first_of_each = np.array([np.flatnonzero(labels == label)[0] for label in range(classes)])
    others = np.setdiff1d(np.arange(len(labels)), first_of_each)
    return labels, np.sort(np.concatenate([first_of_each, others[: draw(st.integers(0, len(others)))]]))


@given(split(), st.integers(1, 80), st.integers(0, 5))
def test_draws_the_number_asked_from_training_rows_only_and_none_twice(
    given_split: tuple[np.ndarray, np.ndarray], samples: int, seed: int
) -> None:
    labels, rows = given_split
    picked = stratified(labels, rows, samples, seed)
    assert len(picked) == min(samples, len(rows))
    assert len(np.unique(picked)) == len(picked)
    assert np.isin(picked, rows).all()


@given(split(), st.integers(1, 80), st.integers(0, 5))
def test_classes_keep_their_shares(given_split: tuple[np.ndarray, np.ndarray], samples: int, seed: int) -> None:
    labels, rows = given_split
    counts = np.bincount(labels[rows])
    got = np.bincount(labels[stratified(labels, rows, samples, seed)], minlength=len(counts))
    asked = min(samples, len(rows))
    if asked >= len(counts):
        assert got.min() >= 1
    if asked >= counts.sum() / counts.min():  # every share is at least one whole sample
        assert np.abs(got - asked * counts / counts.sum()).max() < 1


@given(split(), st.integers(1, 80), st.integers(0, 5))
def test_the_same_seed_draws_the_same_samples_in_whatever_order_the_rows_come(
    given_split: tuple[np.ndarray, np.ndarray], samples: int, seed: int
) -> None:
    labels, rows = given_split
    assert np.array_equal(stratified(labels, rows, samples, seed), stratified(labels, rows[::-1], samples, seed))


def test_another_seed_draws_other_samples() -> None:
    labels, rows = np.arange(1000) % 4, np.arange(1000)
    assert set(stratified(labels, rows, 20, 0)) != set(stratified(labels, rows, 20, 1))


def test_classes_are_mixed_over_the_order() -> None:
    labels, rows = np.sort(np.arange(400) % 4), np.arange(400)
    assert set(labels[stratified(labels, rows, 200, 0)[:40]]) == {0, 1, 2, 3}


def test_a_class_without_training_samples_is_named() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    with pytest.raises(CalibrationError, match=r"1 of the 3 classes \(class 2\)"):
        stratified(labels, np.array([0, 1, 2, 3]), 4, 0)


def test_rows_outside_the_data_are_an_error() -> None:
    with pytest.raises(CalibrationError, match="outside"):
        stratified(np.zeros(5, dtype=int), np.array([4, 5]), 2, 0)


def test_no_training_rows_are_an_error() -> None:
    with pytest.raises(CalibrationError, match="0 training samples"):
        stratified(np.array([0, 1]), np.array([], dtype=int), 2, 0)


def test_less_than_one_sample_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="at least 1"):
        stratified(np.array([0]), np.array([0]), 0, 0)


def test_a_random_draw_has_no_sample_twice_and_stops_at_all() -> None:
    rows = np.array([9, 4, 7, 1])
    assert sorted(random_draw(rows, 10, 0)) == [1, 4, 7, 9]
    assert len(set(random_draw(np.arange(100), 30, 0))) == 30
    assert not np.array_equal(random_draw(np.arange(100), 30, 0), random_draw(np.arange(100), 30, 1))


def test_covering_takes_one_of_each_cluster_before_a_second_of_any() -> None:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(6, 4)) * 20
    clusters = np.repeat(np.arange(6), 25)
    picked = covering(centres[clusters] + generator.normal(size=(150, 4)) * 0.1, 6)
    assert sorted(clusters[picked]) == list(range(6))


@given(st.integers(1, 30), st.integers(1, 40))
def test_covering_takes_as_many_as_asked_even_of_samples_that_are_alike(count: int, samples: int) -> None:
    picked = covering(np.zeros((count, 3)), samples)
    assert len(set(picked.tolist())) == len(picked) == min(count, samples)


def test_covering_leaves_no_sample_farther_than_twice_the_least_possible() -> None:
    points = np.random.default_rng(1).normal(size=(9, 2))
    scaled = (points - points.mean(axis=0)) / points.std(axis=0)
    apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
    best = min(apart[list(chosen)].min(axis=0).max() for chosen in combinations(range(9), 3))
    assert apart[covering(points, 3)].min(axis=0).max() <= 2 * best


def test_uncertain_takes_the_flattest_answers_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0], [0.6, 0.4]])
    assert uncertain(probabilities, 3).tolist() == [1, 3, 0]
