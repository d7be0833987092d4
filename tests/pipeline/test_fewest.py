"""As few layers in float as it takes, and few trials to find them."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quantize.fewest import fewest

LAYERS = tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # 52, as a MobileNetV2 has


def losing(**points: float) -> Callable[[frozenset[str]], float]:
    """What is lost by layers in 8 bits: the sum over those that are not kept."""
    return lambda kept: sum(lost for layer, lost in points.items() if layer not in kept)


def test_nothing_is_kept_where_8_bits_are_good_enough() -> None:
    choice = fewest(LAYERS, losing(a=0.3), limit=0.5)
    assert choice.kept == ()
    assert list(choice.tried) == [frozenset()]


def test_one_bad_layer_costs_two_trials_and_one_to_be_sure() -> None:
    choice = fewest(LAYERS, losing(a=9.0), limit=0.5)
    assert choice.kept == ("a",)
    assert len(choice.tried) == 2


def test_as_many_of_the_first_are_kept_as_it_takes() -> None:
    first = LAYERS[:11]
    choice = fewest(LAYERS, losing(**dict.fromkeys(first, 1.0)), limit=0.0)
    assert choice.kept == first
    assert len(choice.tried) <= 5 + 3 + len(first)  # 0 1 2 4 8 16, halves, and each of them tried without


def test_a_layer_that_the_ranking_overrates_goes_back_to_8_bits() -> None:
    choice = fewest(LAYERS, losing(a=1.0, d=1.0), limit=0.5)
    assert choice.kept == ("a", "d")


def test_where_nothing_holds_the_limit_the_best_that_was_reached_is_kept_with_fewest_layers() -> None:
    choice = fewest("abcd", lambda kept: 3.0 - ("a" in kept), limit=0.5)
    assert choice.kept == ("a",)
    assert min(choice.tried.values()) == 2.0
    assert frozenset("abcd") in choice.tried  # it was tried before giving up


def test_where_float_gains_nothing_no_layer_is_kept() -> None:
    assert fewest("abcd", lambda kept: 3.0, limit=0.5).kept == ()


@given(st.lists(st.floats(0, 4), min_size=1, max_size=12), st.floats(0, 10), st.integers(0, 5))
def test_no_kept_layer_can_be_spared(points: list[float], limit: float, seed: int) -> None:
    """Whatever the ranking: the limit holds, as all layers together hold it, and without any one it does not."""
    names = LAYERS[: len(points)]
    loss = losing(**dict(zip(names, points, strict=True)))
    ranked = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    kept = frozenset(fewest(ranked, loss, limit).kept)
    assert loss(kept) <= limit
    assert all(loss(kept - {layer}) > limit for layer in kept)


@pytest.mark.parametrize("ranked", [(), ("a",)])
def test_short_rankings_end_too(ranked: tuple[str, ...]) -> None:
    assert set(fewest(ranked, losing(a=1.0), limit=0.5).kept) == set(ranked)
