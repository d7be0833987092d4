"""Ranges of an ONNX model's activations over calibration samples, in memory that does not grow with their number.

onnxruntime's MinMaxCalibrater does the min-max. Its histogram calibrators do not serve here: the histogram's bins
follow from the first samples and multiply without bound when later ones are larger, and its entropy search, with the
128 bins that quantize_static gives it, has a single candidate, the full range. So percentile and entropy take a
second pass of their own: histograms of fixed bins over the ranges that min-max found.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import CalibrationError
from calibration.stream import OnnxReader, SampleStream

Ranges = dict[str, tuple[float, float]]

BINS = 2048
PERCENTILE = 99.999  # the share of a tensor's values that stays inside, in percent
CLIPPED = 0.001  # the largest share of values that the entropy search may clip
LEVELS = 128  # quantization levels of one sign, in the entropy search
EPSILON = 1e-9  # probability of an empty bin, so that the divergence stays finite
STRIDE = 8  # bins between two candidates of the entropy search

DESCRIPTIONS = {
    "minmax": "minimum and maximum of each activation",
    "percentile": f"the middle {PERCENTILE}% of each activation's values",
    "entropy": f"least Kullback-Leibler divergence (Migacz 2017), clipping at most {CLIPPED:.1%} of each activation",
}


def activation_ranges(
    model: Path,
    operators: Sequence[str],
    stream: SampleStream,
    method: str,
    folder: Path,
    advance: Callable[[int], None] = lambda samples: None,
) -> Ranges:
    """Lowest and highest value, by tensor name, of the float activations at `operators` of the ONNX file `model`.

    `method` is a key of `DESCRIPTIONS`. Scratch files go to `folder`. `advance(n)` is called after every n samples;
    each sample counts as often as it is run (`passes`). Raises CalibrationError for an empty stream and for
    activations that are not finite.
    """
    if not len(stream):
        raise CalibrationError("no sample to calibrate with")
    ranges = _min_max(model, operators, stream, folder, advance)
    if method == "minmax":
        return ranges
    narrow = {"percentile": percentile_range, "entropy": entropy_range}[method]
    histograms = _histograms(model, ranges, stream, advance)
    return {name: narrow(histogram, *ranges[name]) for name, histogram in histograms.items()}


def passes(method: str) -> int:
    """How often `activation_ranges` runs through the samples."""
    return 1 if method == "minmax" else 2


def _min_max(
    model: Path, operators: Sequence[str], stream: SampleStream, folder: Path, advance: Callable[[int], None]
) -> Ranges:
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    calibrator = create_calibrator(
        model, list(operators), str(folder / "augmented.onnx"), calibrate_method=CalibrationMethod.MinMax
    )
    for chunk in stream.chunks():
        calibrator.collect_data(OnnxReader(chunk))
        advance(len(chunk))
    found = calibrator.compute_data().items()
    ranges = {name: tuple(float(np.ravel(end)[0]) for end in data.range_value) for name, data in sorted(found)}
    wrong = [name for name, ends in ranges.items() if not np.isfinite(ends).all()]
    if wrong:
        raise CalibrationError(
            f"activation '{wrong[0]}' (and {len(wrong) - 1} more) is not finite on the calibration samples, so it "
            "can't be quantized; check the training: the network's weights or inputs overflow"
        )
    return ranges  # type: ignore[return-value]


def _histograms(
    model: Path, ranges: Mapping[str, tuple[float, float]], stream: SampleStream, advance: Callable[[int], None]
) -> dict[str, np.ndarray]:
    """int64 [BINS] counts of each tensor's values over its range."""
    session, given = _session_with_outputs(model, ranges)
    made = [name for name in ranges if name not in given]
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in ranges}
    for sample in stream:
        values_of = {**sample, **dict(zip(made, session.run(made, dict(sample)), strict=True))}
        for name, (low, high) in ranges.items():
            values = values_of[name]
            counts[name] += histogram_of(values, low, high)
        advance(1)
    return counts


def histogram_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """int64 [BINS]: how many of `values` (any shape, float32) fall into each of the even parts of [low, high]; what
    lies outside counts with the nearest. Several times faster than numpy.histogram."""
    scale = BINS / (high - low) if high - low > 1e-30 else 0.0  # else the scale would overflow
    bins = ((values.ravel() - np.float32(low)) * np.float32(scale)).astype(np.int32)
    return np.bincount(np.clip(bins, 0, BINS - 1, out=bins), minlength=BINS)


def _session_with_outputs(model: Path, tensors: Iterable[str]) -> tuple[Any, set[str]]:
    """An onnxruntime session of `model` that gives all of `tensors`, and the names of the model's own inputs."""
    import onnx
    import onnxruntime

    loaded = onnx.load(str(model))
    given = {value.name for value in loaded.graph.input}
    there = {value.name for value in loaded.graph.output}
    loaded.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in tensors
        if name not in there | given
    )
    return onnxruntime.InferenceSession(loaded.SerializeToString(), providers=["CPUExecutionProvider"]), given


def percentile_range(histogram: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The part of [low, high] that holds the middle `PERCENTILE` percent of `histogram`, int64 [bins], whose bins
    divide [low, high] evenly: whole bins, so never less than that share."""
    edges = np.linspace(low, high, len(histogram) + 1)
    outside = histogram.sum() * (100 - PERCENTILE) / 200
    first = int(np.searchsorted(np.cumsum(histogram), outside, side="right"))
    last = int(np.searchsorted(np.cumsum(histogram[::-1]), outside, side="right"))
    return float(edges[first]), float(edges[len(histogram) - last])


def entropy_range(histogram: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """[low, high] cut to [-T, T], T chosen so that the values' distribution loses least by clipping to it and
    rounding to `LEVELS` levels: least Kullback-Leibler divergence (S. Migacz, 8-bit Inference with TensorRT, GTC
    2017). `histogram` is int64 [bins] over [low, high]; magnitudes are what is searched.

    At most `CLIPPED` of the values lie beyond T. The paper has no such bound; without it an activation that is
    almost always one value (an image's plain background) is cut to a tenth, and a MobileNet guesses.
    """
    edges = np.linspace(low, high, len(histogram) + 1)
    largest = max(abs(low), abs(high))
    if largest == 0:
        return low, high
    centres = np.abs(edges[:-1] + edges[1:]) / 2
    magnitudes = np.histogram(centres, bins=BINS, range=(0, largest), weights=histogram)[0]
    inside = np.cumsum(magnitudes) / magnitudes.sum()
    magnitudes[0] = magnitudes[1]  # zeros are stored exactly whatever the range, so they must not sway it
    candidates = np.arange(LEVELS, BINS + 1, STRIDE)
    candidates = candidates[inside[candidates - 1] >= 1 - CLIPPED]
    losses = [_divergence(magnitudes, int(bins)) for bins in candidates]
    threshold = largest * float(candidates[int(np.argmin(losses))]) / BINS
    return max(low, -threshold), min(high, threshold)


def _divergence(histogram: np.ndarray, bins: int) -> float:
    """KL(P || Q): P is `histogram` clipped into its first `bins` bins, Q the same bins in `LEVELS` levels, each
    level's count spread over those of its bins that are not empty."""
    inside = histogram[:bins].astype(np.float64)
    clipped = inside.copy()
    clipped[-1] += histogram[bins:].sum()
    starts = np.arange(LEVELS) * bins // LEVELS
    filled = np.add.reduceat(inside > 0, starts)
    means = np.add.reduceat(inside, starts) / np.maximum(filled, 1)
    levels = np.repeat(means, np.diff(np.append(starts, bins))) * (inside > 0)
    if not levels.any():
        return np.inf
    p = clipped / clipped.sum() + EPSILON
    q = levels / levels.sum() + EPSILON
    return float(np.sum(p * np.log(p / q)))
