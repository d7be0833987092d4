import resource
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper

from calibration.errors import CalibrationError
from calibration.ranges import (
    BINS,
    DESCRIPTIONS,
    PERCENTILE,
    activation_ranges,
    entropy_range,
    histogram_of,
    mse_range,
    percentile_range,
)
from calibration.stream import CHUNK, SampleStream


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """x float32 [1, n] -> Add -> "doubled" -> Relu -> "positive"."""
    nodes = [helper.make_node("Add", ["x", "x"], ["doubled"]), helper.make_node("Relu", ["doubled"], ["positive"])]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None]) for name in ("x", "positive")]
    graph = helper.make_graph(nodes, "doubling", tensors[:1], tensors[1:])
    file = tmp_path / "doubling.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), str(file))
    return file


def stream_of(samples: np.ndarray) -> SampleStream:
    """float32 [samples, n], a sample a row."""
    return SampleStream(tuple(range(len(samples))), lambda row: {"x": samples[row : row + 1].astype(np.float32)})


def ranges_of(model: Path, samples: np.ndarray, method: str = "minmax") -> dict[str, tuple[float, float]]:
    return activation_ranges(model, stream_of(samples), method, model.parent).ranges


def test_minmax_is_the_least_and_greatest_value_over_all_samples(doubling: Path) -> None:
    samples = np.random.default_rng(0).normal(size=(40, 25))  # more than a chunk, and no multiple of one
    ranges = ranges_of(doubling, samples)
    assert ranges["x"] == pytest.approx((samples.min(), samples.max()), rel=1e-6)
    assert ranges["doubled"] == pytest.approx((2 * samples.min(), 2 * samples.max()), rel=1e-6)
    assert ranges["positive"] == pytest.approx((0, 2 * samples.max()), rel=1e-6)


@pytest.mark.parametrize("method", [method for method in DESCRIPTIONS if method != "moving_average"])
def test_the_order_of_the_samples_does_not_matter(doubling: Path, method: str) -> None:
    samples = np.random.default_rng(0).normal(size=(20, 50)) * np.logspace(-3, 1, 20)[:, None]
    assert ranges_of(doubling, samples, method) == ranges_of(doubling, samples[::-1], method)


def test_the_moving_average_is_the_mean_of_the_chunks_extremes(doubling: Path) -> None:
    samples = np.random.default_rng(0).normal(size=(2 * CHUNK + 4, 5))
    chunks = [samples[:CHUNK], samples[CHUNK : 2 * CHUNK], samples[2 * CHUNK :]]
    expected = np.mean([chunk.min() for chunk in chunks]), np.mean([chunk.max() for chunk in chunks])
    assert ranges_of(doubling, samples, "moving_average")["x"] == pytest.approx(expected, rel=1e-5)


def test_no_more_samples_are_run_than_the_ranges_need_to_settle(doubling: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, size=(40 * CHUNK, 300))
    found = activation_ranges(doubling, stream_of(samples), "minmax", doubling.parent, settle=0.01)
    assert found.settled
    assert found.samples < len(samples) / 2
    assert found.samples % CHUNK == 0
    growing = samples * np.linspace(1, 10, len(samples))[:, None]
    found = activation_ranges(doubling, stream_of(growing), "minmax", doubling.parent, settle=1e-4)
    assert (found.samples, found.settled) == (len(samples), False)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_a_lone_outlier_is_cut_off_and_the_rest_kept(doubling: Path, method: str) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, size=(20, 20_000))
    samples[3, 5] = 40
    low, high = ranges_of(doubling, samples, method)["doubled"]
    assert -2.1 < low < -1.8
    assert 1.8 < high < 20


@pytest.mark.parametrize("method", DESCRIPTIONS)
def test_constant_activations_have_a_range_of_one_point(doubling: Path, method: str) -> None:
    assert ranges_of(doubling, np.zeros((3, 4)), method)["doubled"] == (0, 0)
    assert ranges_of(doubling, np.ones((3, 4)), method)["doubled"] == (2, 2)


def test_activations_that_are_not_finite_are_refused(doubling: Path) -> None:
    with pytest.raises(CalibrationError, match="not finite"):
        ranges_of(doubling, np.array([[1.0, np.inf]]))


def test_no_sample_is_refused(doubling: Path) -> None:
    with pytest.raises(CalibrationError, match="no sample"):
        ranges_of(doubling, np.zeros((0, 4)))


@pytest.mark.parametrize("method", DESCRIPTIONS)
def test_memory_does_not_grow_with_the_samples(doubling: Path, method: str) -> None:
    values = np.random.default_rng(0).normal(size=(1, 100_000)).astype(np.float32)

    def peak_after(samples: int) -> float:
        stream = SampleStream(tuple(range(samples)), lambda row: {"x": values + row})
        activation_ranges(doubling, stream, method, doubling.parent)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    few = peak_after(16)
    assert peak_after(80) - few < 24  # MB; 64 samples more are 77 MB of activations


floats = arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-100, 100, width=32))


@given(floats)
def test_the_histogram_counts_every_value_near_its_bin(values: np.ndarray) -> None:
    low, high = float(values.min()), float(values.max())
    counts = histogram_of(values, low, high)
    assert counts.sum() == values.size
    if high - low > 1e-3:
        exact = np.histogram(values, bins=BINS, range=(low, high))[0]
        # Rounding in float32 may move a value that lies on an edge to the next bin.
        assert np.abs(np.cumsum(counts) - np.cumsum(exact)).max() <= max(2, values.size // 20)


@given(floats)
def test_values_outside_the_range_count_with_the_nearest(values: np.ndarray) -> None:
    counts = histogram_of(values, -1, 1)
    assert counts.sum() == values.size
    assert counts[0] >= (values < -1).sum()
    assert counts[-1] >= (values > 1).sum()


histograms = arrays.arrays(np.int64, 64, elements=st.integers(0, 10_000)).filter(lambda h: h.sum() > 0)


@given(histograms)
def test_a_percentile_range_leaves_no_more_outside_than_it_says(histogram: np.ndarray) -> None:
    low, high = percentile_range(histogram, -1, 3)
    edges = np.linspace(-1, 3, 65)
    inside = histogram[(edges[:-1] >= low - 1e-9) & (edges[1:] <= high + 1e-9)].sum()
    assert inside >= histogram.sum() * PERCENTILE / 100
    assert -1 <= low < high <= 3


@settings(max_examples=15)
@given(histograms, st.floats(-5, 0), st.floats(0.1, 5))
def test_an_entropy_range_lies_within_the_range_and_keeps_zero(histogram: np.ndarray, low: float, high: float) -> None:
    cut_low, cut_high = entropy_range(histogram, low, high)
    assert low <= cut_low <= 0
    assert 0 < cut_high <= high


@settings(max_examples=15)
@given(histograms, st.floats(-5, 0), st.floats(0.1, 5))
def test_an_mse_range_loses_no_more_than_the_whole_range(histogram: np.ndarray, low: float, high: float) -> None:
    cut_low, cut_high = mse_range(histogram, low, high)
    assert low <= cut_low <= 0 < cut_high <= high  # cut at both ends alike
    edges = np.linspace(low, high, 65)
    centres = (edges[:-1] + edges[1:]) / 2

    def lost(least: float, most: float) -> float:
        step = (most - least) / 255
        return float(histogram @ (np.clip(np.round((centres - least) / step), 0, 255) * step + least - centres) ** 2)

    assert lost(cut_low, cut_high) <= lost(low, high) * (1 + 1e-9)


def test_entropy_does_not_cut_what_is_rare_beside_a_plain_background() -> None:
    histogram = np.zeros(BINS, dtype=np.int64)
    histogram[200] = 1_000_000  # the background
    histogram[210:1900:7] = 40  # everything else: 1% of the values
    histogram[-1] = 1  # and one outlier
    assert 5.2 < entropy_range(histogram, 0, 6)[1] <= 6


def test_entropy_keeps_all_of_an_even_distribution() -> None:
    assert entropy_range(np.full(BINS, 1000), 0, 6) == (0, 6)
