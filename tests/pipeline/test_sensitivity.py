"""Layer by layer, what 8 bits cost: the measures, held against figures worked out by hand."""

import numpy as np
import pytest

from pipeline.quantize.mixed_results import LayerSensitivity, SensitivityResult
from pipeline.quantize.sensitivity import divergence, points_lost, signal_to_noise
from pipeline.settings.release import QuantizeSettings, SensitivitySettings

FEW = SensitivitySettings(samples=16)


def softmax(*logits: list[float]) -> np.ndarray:
    odds = np.exp(np.array(logits))
    return odds / odds.sum(axis=1, keepdims=True)


def test_signal_to_noise_is_that_of_the_logits_whatever_constant_softmax_took_away() -> None:
    expected, found = softmax([3.0, -3.0], [1.0, -1.0]), softmax([3.1, -3.1], [0.8, -0.8])
    # signal 2 (9 + 1) = 20, noise 2 (0.01 + 0.04) = 0.1
    assert signal_to_noise(expected, found) == pytest.approx(10 * np.log10(20 / 0.1))
    assert signal_to_noise(expected, softmax([103.1, 97.0 - 0.1], [50.8, 49.2])) == pytest.approx(
        10 * np.log10(20 / 0.1)
    )


def test_equal_scores_have_no_noise_and_no_divergence() -> None:
    scores = softmax([3.0, -3.0, 0.0])
    assert signal_to_noise(scores, scores) == 120
    assert divergence(scores, scores) == 0
    assert np.isfinite(signal_to_noise(scores, np.array([[1.0, 0.0, 0.0]])))  # a score that came to nothing
    assert np.isfinite(signal_to_noise(np.full((1, 3), 1 / 3), scores))  # no signal


def test_divergence_is_kullback_leiblers() -> None:
    expected, found = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.25, 0.75], [0.5, 0.5]])
    first = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert divergence(expected, found) == pytest.approx((first + np.log(2)) / 2)


def test_points_are_lost_to_the_labels_not_to_float() -> None:
    expected, found = np.eye(4), np.eye(4)[[0, 1, 2, 0]]
    assert points_lost(expected, found, np.array([0, 1, 2, 3])) == 25
    assert points_lost(expected, found, np.array([0, 1, 2, 0])) == -25
    assert points_lost(expected, found, np.array([0, 1, 2, 2])) == 0


def test_the_noisiest_layer_comes_first() -> None:
    layers = tuple(LayerSensitivity(str(db), "conv", 1, db, 0.0, 1.0, 0.0) for db in (20.0, -3.0, 40.0))
    assert [layer.layer for layer in SensitivityResult("f", 1, layers).ranked] == ["-3.0", "20.0", "40.0"]


def test_max_drop_asks_for_the_sensitivity_that_it_needs() -> None:
    assert QuantizeSettings().measured is None
    assert QuantizeSettings(max_drop=0.5).measured == SensitivitySettings()
    assert QuantizeSettings(max_drop=0.5, sensitivity=FEW).measured == FEW
    assert QuantizeSettings(sensitivity=FEW).measured == FEW
