"""Fitting costs to latencies, leaving networks out, and intervals."""

import math

import pytest

from targets.errors import TargetError
from targets.prediction.model import INSTRUCTIONS, fit, interval, leave_one_network_out, milliseconds, spread
from tests.targets.prediction.made_up import measurement, work

EXACT = [  # 0.5 ms for a million float32 instructions, 0.25 for INT8 ones, 2 ms for a MB of weights
    measurement("a", 100 * 0.5 + 16 * 2, work(100, 16)),
    measurement("b", 60 * 0.5 + 14 * 2, work(60, 14)),
    measurement("c", 20 * 0.5 + 10 * 2, work(20, 10)),
    measurement("a", 80 * 0.25 + 4 * 2, work(80, 4, dtype="int8")),
    measurement("b", 50 * 0.25 + 3.5 * 2, work(50, 3.5, dtype="int8")),
]


def test_costs_that_explain_every_latency_are_found() -> None:
    found = fit(EXACT)
    assert found == pytest.approx(
        {("instructions", "float32"): 0.5, ("instructions", "int8"): 0.25, ("weight_bytes", ""): 2.0}
    )
    assert milliseconds(work(40, 12), found) == pytest.approx(44)


def test_errors_count_relative_to_the_latency() -> None:
    """Of ms = cost x amount, with amounts 1 and 10 and 2 and 10 ms: rows 1/2 and 1, so cost = 1.5 / 1.25."""
    measured = [measurement("a", 2, work(1)), measurement("b", 10, work(10))]
    assert fit(measured, (INSTRUCTIONS,)) == pytest.approx({("instructions", "float32"): 1.2})


def test_no_cost_is_negative() -> None:
    """Here more weights go with less time, which a straight line would take for a gain."""
    measured = [measurement("a", 10, work(10, 1)), measurement("b", 20, work(22, 30)), measurement("c", 30, work(30))]
    found = fit(measured)
    assert found["weight_bytes", ""] == 0
    assert found["instructions", "float32"] == pytest.approx(1, rel=0.1)


def test_a_network_is_left_out_in_all_its_dtypes() -> None:
    """Were the INT8 file of network a left in, its latency would tell what its float32 file takes."""
    changed = [one if one.network != "a" else measurement("a", 3 * one.ms, one.work) for one in EXACT]
    found = {(one.measured.network, one.measured.work.dtype): one for one in leave_one_network_out(changed)}
    assert found["a", "float32"].predicted == pytest.approx(82)
    assert found["a", "float32"].error == pytest.approx(1 / 3 - 1)
    assert found["a", "float32"].log_error == pytest.approx(math.log(3))
    assert found["a", "int8"].predicted == pytest.approx(28)


def test_a_dtype_without_latencies_is_told() -> None:
    with pytest.raises(TargetError, match=r"no latency of int16 was measured to predict from, there are: float32"):
        milliseconds(work(1, dtype="int16"), fit(EXACT))


def test_the_interval_is_students_on_a_log_scale() -> None:
    """Of six errors, t(95%) is 1.943."""
    low, high = interval(10, 0.1, 6, 0.9)
    assert high == pytest.approx(10 * math.exp(0.1943), rel=1e-4)
    assert low * high == pytest.approx(100)
    assert interval(10, 0.1, 2, 0.9)[1] > high


def test_the_spread_is_about_zero_not_about_the_mean() -> None:
    assert spread([0.1, 0.1, 0.1]) == pytest.approx(0.1)
    assert spread([0.3, -0.4]) == pytest.approx(math.sqrt(0.125))
