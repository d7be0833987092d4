"""Predictions for a target: its own core, a borrowed one, other threads, and what is refused."""

import math
from typing import Any

import pytest

from targets.errors import TargetError
from targets.prediction.coefficients import Coefficients
from targets.prediction.predict import Prediction, basis_for, predict
from targets.profile import Profile, load_profile
from tests.targets.prediction.made_up import coefficients, costs, work


def target(**changed: Any) -> Profile:
    """A Raspberry Pi 4 that runs as many threads as were measured."""
    content = load_profile("rpi4").model_dump(mode="json", by_alias=True)
    content["runtimes"] = [{"name": "litert", "delegate": "xnnpack", "threads": 4}]
    return Profile.model_validate(content | changed)


def cores(uarch: str, ghz: float | None) -> list[dict[str, Any]]:
    return [{"uarch": uarch, "count": 4, "ghz": ghz}]


def predicted(profile: Profile, millions: float = 100, known: Coefficients | None = None, **done: Any) -> Prediction:
    basis = basis_for(profile, profile.runtimes[0], known or coefficients())
    return predict(basis, work(millions, 10, **{"core": basis.emulated.name} | done))


def test_on_a_core_that_was_measured_costs_and_interval_are_its_own() -> None:
    """100 million instructions and 10 MB of weights; six errors of about 0.1: t(95%) is 1.943."""
    found = predicted(target())
    assert found.ms == pytest.approx(70)
    assert found.parts == pytest.approx({"instructions": 50, "weight_bytes": 20})
    assert found.high == pytest.approx(70 * math.exp(0.1943), rel=1e-4)
    assert found.low == pytest.approx(70 / math.exp(0.1943), rel=1e-4)
    assert (found.core, found.threads, found.fitted_on, found.sources) == ("Cortex-A72", 4, "board", ("a table",))
    assert (found.borrowed, found.extrapolated, found.notes) == (False, False, ())
    assert predicted(target(), dtype="int8").ms == pytest.approx(45)


def test_a_core_without_data_borrows_and_says_so() -> None:
    """Twice the clock and 4/3 of the width: 50 ms of instructions become 18.75, memory stays. Two cores: t is 2.92."""
    found = predicted(target(cores=cores("Cortex-A76", 3.0)))
    assert found.ms == pytest.approx(18.75 + 20)
    assert found.high == pytest.approx(found.ms * math.exp(2.92 * 0.3), rel=1e-3)
    assert found.borrowed
    (note,) = found.notes
    assert "no latency on a Cortex-A76 at 3 GHz was measured" in note
    assert "the cortex-a72 of board at 1.5 GHz, by clock and decode width" in note


def test_another_clock_of_the_same_core_is_a_loan_too() -> None:
    own, other = predicted(target()), predicted(target(cores=cores("Cortex-A72", 1.8)))
    assert other.ms == pytest.approx(50 / 1.2 + 20)
    assert other.high / other.ms > own.high / own.ms
    assert "by clock, with the wider interval" in other.notes[0]


def test_the_wider_of_both_intervals_holds_for_a_loan() -> None:
    known = coefficients(costs(deviation=0.5), deviation=0.1)
    found = predicted(target(cores=cores("Cortex-A76", 3.0)), known=known)
    assert found.high == pytest.approx(found.ms * math.exp(2.92 * 0.5), rel=1e-3)


def test_other_threads_than_were_measured_widen_the_interval_to_no_and_full_gain() -> None:
    four = predicted(target())
    two = predicted(target(runtimes=[{"name": "litert", "delegate": "xnnpack", "threads": 2}]))
    assert two.low == pytest.approx(four.low)
    assert two.high == pytest.approx(2 * four.high)
    assert two.ms == pytest.approx(math.sqrt(2) * four.ms)
    assert sum(two.parts.values()) == pytest.approx(two.ms)
    assert (two.threads, two.fitted_threads) == (2, 4)
    assert "measured with 4 threads, the target runs 2" in two.notes[0]
    eight = predicted(target(runtimes=[{"name": "litert", "delegate": "xnnpack", "threads": 8}]))
    assert (eight.low, eight.high) == pytest.approx((four.low / 2, four.high))


def test_sizes_far_from_those_that_were_measured_are_told() -> None:
    found = predicted(target(), millions=5)
    assert found.extrapolated
    assert found.notes == (
        "5 million instructions are far from what was measured, 28 to 210 million: the interval does not cover that",
    )


def test_of_several_kinds_of_cores_the_big_one_counts() -> None:
    both = [*cores("Cortex-A53", 2.0), {"uarch": "Cortex-A72", "count": 2, "ghz": 1.5, "big": True}]
    assert predicted(target(cores=both)).core == "Cortex-A72"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"cores": []}, "names no cores, so there is nothing to predict"),
        ({"cores": cores("Cortex-A72", None)}, "its Cortex-A72 has no ghz, which a prediction needs"),
        ({"cores": cores("Cortex-X3", 2.9)}, "core Cortex-X3 can't be emulated: expected one of"),
        ({"runtimes": [{"name": "litert", "delegate": "edgetpu"}]}, "runs litert files by edgetpu, predictions are"),
        ({"runtimes": [{"name": "onnxruntime", "delegate": "cpu"}]}, "no latency of onnxruntime .* litert"),
    ],
)  # fmt: skip
def test_what_there_is_nothing_to_predict_from_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(TargetError, match=told):
        predicted(target(**changed))


def test_a_loan_whose_error_is_not_known_is_refused() -> None:
    alone = coefficients(deviation=None)
    assert predicted(target(), known=alone).ms == pytest.approx(70)
    with pytest.raises(TargetError, match=r"how far a sibling's costs err is not known"):
        predicted(target(cores=cores("Cortex-A76", 3.0)), known=alone)


def test_counts_of_another_core_are_refused() -> None:
    with pytest.raises(TargetError, match="counted on a cortex-a53, the target's core is a cortex-a72"):
        predicted(target(), core="cortex-a53")


@pytest.mark.parametrize("name", ["rpi3", "rpi4", "rpi5", "wear_w5"])
def test_ready_targets_of_arm_boards_and_watches_have_something_to_predict_from(name: str) -> None:
    profile = load_profile(name)
    runtime = next(one for one in profile.runtimes if one.name == "litert")
    basis = basis_for(profile, runtime)
    found = predict(basis, work(100, 10, core=basis.emulated.name))
    assert 0 < found.low < found.ms < found.high
    assert found.borrowed == (name not in ("rpi3", "rpi4"))
