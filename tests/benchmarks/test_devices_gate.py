"""The simulated devices are what the benchmark says they are: else its error rates would be of something else."""

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.devices_gate import DEVICES, HOT, agreement, simulate


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("over", [0.02, 0.10, 0.25])
def test_as_many_runs_are_over_the_budget_as_it_says(device: str, over: float) -> None:
    latency, series = DEVICES[device]
    numbers = np.random.default_rng(0).standard_normal(100_000)
    samples = latency(numbers if series is None else series(numbers))
    budget = latency(np.full(HOT + 1, norm.isf(over)))[-1]
    assert np.mean(samples[HOT:] > budget) == pytest.approx(over, rel=0.1)


def test_shares_of_verdicts_add_up_and_clear_cases_are_decided() -> None:
    found = simulate("lognormal", 4)
    for place in found.values():
        assert place["pass"] + place["fail"] + place["undecided"] == 1
        assert 100 <= place["mean_runs"] <= 2000
    assert found["within"]["pass"] == found["beyond"]["fail"] == 1


def test_agreement_is_the_share_of_the_most_frequent_verdicts() -> None:
    repeats = [{"verdicts": {"a p90": verdict}} for verdict in ("pass", "pass", "undecided", "pass")]
    assert agreement(repeats) == 0.75
