"""What is made of the figures of several tools' files, on figures made by hand."""

import pytest

from benchmarks.judging import Judged, against, bars, best_peer, better_in_both, rotated


def judged(accuracy: float, against_ours: float = 1.0, median_ms: float | None = None) -> Judged:
    return Judged(accuracy, 0.99, 1000, against_ours if median_ms is None else median_ms, against_ours)


def met(title: str, ours: Judged, peers: dict[str, Judged]) -> list[bool]:
    return [bar.met for bar in bars(title, ours, peers)]


def test_latencies_are_compared_within_each_round() -> None:
    # The machine slowed down by ten in the second round: what was twice as fast still is.
    found = {"ours": [2.0, 20.0, 2.0], "theirs": [1.0, 10.0, 1.0]}
    assert against(found, "ours") == {"ours": 1.0, "theirs": 0.5}


def test_the_median_of_the_rounds_counts() -> None:
    assert against({"ours": [1.0, 1.0, 1.0], "theirs": [1.1, 9.0, 1.2]}, "ours")["theirs"] == pytest.approx(1.2)


def test_rounds_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        against({"ours": [1.0, 1.0], "theirs": [1.0]}, "ours")


def test_every_file_runs_once_a_round_and_the_order_changes() -> None:
    names = ["a", "b", "c"]
    orders = [rotated(names, turn) for turn in range(6)]
    assert all(sorted(order) == names for order in orders)
    assert {order[0] for order in orders} == set(names)
    assert orders[0] == ["a", "b", "c"]
    assert orders[1] == ["a", "c", "b"]


def test_the_best_peer_is_the_most_accurate_and_then_the_fastest() -> None:
    peers = {"quick": judged(90.0, 0.5), "exact": judged(91.0, 1.2), "exact and quick": judged(91.0, 1.1)}
    assert best_peer(peers) == "exact and quick"


def test_a_peer_that_is_better_in_both_is_named_and_one_that_is_equal_in_one_is_not() -> None:
    peers = {
        "both": judged(91.1, 0.99),
        "as accurate": judged(91.0, 0.5),
        "as fast": judged(92.0, 1.0),
        "slower": judged(92.0, 1.5),
        "less accurate": judged(90.0, 0.5),
    }
    assert better_in_both(judged(91.0), peers) == ["both"]


def test_bars_are_met_by_a_file_as_good_as_the_best_peer_and_three_percent_slower() -> None:
    assert met("ONNX", judged(91.0), {"peer": judged(91.0, 1 / 1.03)}) == [True, True, True]


def test_bars_tell_how_much_is_lacking() -> None:
    accuracy, latency, both = bars("ONNX", judged(91.0), {"best": judged(91.5, 0.8), "other": judged(91.2, 0.5)})
    assert accuracy.value == pytest.approx(-0.5)
    assert latency.value == pytest.approx(1.25)
    assert both.value == 2
    assert [bar.met for bar in (accuracy, latency, both)] == [False, False, False]
    assert "best" in accuracy.name
    assert "best" in latency.name


def test_a_file_slower_than_a_less_accurate_peer_is_held_to_the_best_one_alone() -> None:
    assert met("ONNX", judged(91.0), {"quick": judged(80.0, 0.1), "best": judged(90.0, 1.0)}) == [True, True, True]


def test_without_peers_there_are_no_bars() -> None:
    assert bars("ONNX", judged(91.0), {}) == []
