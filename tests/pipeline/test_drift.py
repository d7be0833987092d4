"""The tests behind `edgepress monitor`: their statistics by hand, and effects that must matter."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from scipy.stats import chi2

from pipeline.monitoring.drift import (
    DriftTest,
    budget_test,
    confidence_test,
    inferences_needed,
    judged,
    labels_test,
    latency_test,
)
from pipeline.monitoring.reference import confidence_counts


def counts(*confidences: float) -> np.ndarray:
    return confidence_counts(np.array(confidences))


def test_labels_by_the_chi_square_test_and_total_variation() -> None:
    found = labels_test(np.array([50, 50]), np.array([70, 30]))
    # sum((O - E)**2 / E) with E = 60, 40 in both rows; one degree of freedom
    statistic = 2 * 10**2 * (1 / 60 + 1 / 40)
    assert found.p == pytest.approx(chi2.sf(statistic, 1))
    assert found.effect == pytest.approx(0.2)


def test_labels_that_are_rare_count_as_one() -> None:
    whole = labels_test(np.array([90, 4, 3, 3]), np.array([60, 14, 13, 13]))
    together = labels_test(np.array([90, 10]), np.array([60, 40]))
    # 8.5 to 9 are expected of each: large enough to stand alone
    assert whole.p != pytest.approx(together.p)
    rare = labels_test(np.array([97, 1, 1, 1]), np.array([88, 4, 4, 4]))  # 2.5 of each
    assert rare.p == pytest.approx(labels_test(np.array([97, 3]), np.array([88, 12])).p)


def test_one_label_alone_is_not_tested() -> None:
    found = labels_test(np.array([50, 0]), np.array([200, 0]))
    assert (found.p, found.drifted, found.effect) == (None, False, 0.0)
    assert judged([found])[0].p is None


def test_a_label_that_only_the_field_gives_counts() -> None:
    (found,) = judged([labels_test(np.array([100, 100, 0]), np.array([100, 100, 100]))])
    assert found.drifted
    assert found.effect == pytest.approx(1 / 3)


def test_confidences_by_hundredths() -> None:
    assert counts(0.0, 0.004, 0.006, 1.0).nonzero()[0].tolist() == [0, 1, 100]
    assert counts(1.7)[100] == 1  # 8-bit scores may round above 1
    found = confidence_test(counts(0.9, 0.9, 0.8, 0.7), counts(0.9, 0.5, 0.5, 0.4))
    assert found.effect == pytest.approx(0.75)  # below 0.6: none against three of four
    assert "mean 0.825 in the reference, 0.575 in the field" in found.explanation


def test_what_two_devices_round_otherwise_is_no_drift() -> None:
    random = np.random.default_rng(0)
    confidences = random.beta(8, 1, 100_000)
    other = np.clip(confidences + random.normal(0, 1e-4, len(confidences)), 0, 1)
    (found,) = judged([confidence_test(confidence_counts(confidences), confidence_counts(other))])
    assert not found.drifted
    assert found.effect < 0.01


def test_latency_drifts_when_slower_and_not_when_faster() -> None:
    times = np.random.default_rng(0).lognormal(1, 0.2, 2000)
    slower, faster, hardly = (judged([latency_test(times, times * by)])[0] for by in (1.3, 0.7, 1.05))
    assert slower.drifted
    assert slower.effect == pytest.approx(1.3)
    assert not faster.drifted
    assert hardly.p is not None
    assert hardly.p < 0.01  # seen, but not worth an alarm
    assert not hardly.drifted


def test_a_latency_budget_is_missed_beyond_chance() -> None:
    over = np.r_[np.full(150, 20.0), np.full(850, 5.0)]
    (missed,) = judged([budget_test(0.9, 16.7, over)])
    assert missed.drifted
    assert missed.effect == pytest.approx(20 / 16.7)
    (chance,) = judged([budget_test(0.9, 16.7, np.r_[np.full(11, 20.0), np.full(89, 5.0)])])
    assert not chance.drifted  # 11 of 100 over, 10 allowed


def test_p_values_are_adjusted_for_all_tests_that_were_made() -> None:
    test = DriftTest("a", "", 1.0, "", 0.1, 0.004, False, "")
    adjusted = judged([test, replace(test, p=0.03), replace(test, p=None), replace(test, p=0.9)])
    # Benjamini and Hochberg: 0.004 * 3 / 1, 0.03 * 3 / 2, 0.9
    assert [found.p for found in adjusted] == pytest.approx([0.012, 0.045, None, 0.9])
    assert [found.drifted for found in adjusted] == [False] * 4
    assert judged([test])[0].drifted


def test_a_huge_log_does_not_alarm_about_nothing() -> None:
    (found,) = judged([labels_test(np.array([10_000, 10_000]), np.array([510_000, 490_000]))])
    assert found.p is not None
    assert found.p < 0.01
    assert not found.drifted


def test_how_many_inferences_show_a_tenth() -> None:
    # Kolmogorov's distribution has 1% above 1.628: n * m / (n + m) = (1.628 / 0.1)**2 = 265
    assert inferences_needed(10**9) == pytest.approx(265, abs=1)
    assert inferences_needed(530) == pytest.approx(530, abs=3)
    assert inferences_needed(200) == inf
