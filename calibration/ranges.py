"""Ranges of an ONNX model's activations over calibration samples, in memory that does not grow with their number.

One pass finds each activation's extremes, sample by sample. Percentile, entropy and MSE take a second one:
histograms of fixed bins between the extremes. (onnxruntime's histogram calibrators do not serve here: their bins
follow from the first samples and multiply without bound when later ones are larger, and its entropy search, with the
128 bins that quantize_static gives it, has a single candidate, the full range.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import CalibrationError
from calibration.observe import OnnxTensors
from calibration.stream import CHUNK, SampleStream

Ranges = dict[str, tuple[float, float]]

BINS = 2048
PERCENTILE = 99.999  # the share of a tensor's values that stays inside, in percent
CLIPPED = 0.001  # the largest share of values that the entropy search may clip
LEVELS = 128  # quantization levels of one sign, in the entropy search
EPSILON = 1e-9  # probability of an empty bin, so that the divergence stays finite
STRIDE = 8  # bins between two candidates of the entropy search

STEPS = 100  # thresholds of the MSE search
REST = 2  # chunks in a row that must leave the ranges where they are
FIRST = 4  # chunks before that is looked at

DESCRIPTIONS = {
    "minmax": "minimum and maximum of each activation",
    "moving_average": f"each activation's minimum and maximum over {CHUNK} samples, averaged (Krishnamoorthi 2018)",
    "percentile": f"the middle {PERCENTILE}% of each activation's values",
    "entropy": f"least Kullback-Leibler divergence (Migacz 2017), clipping at most {CLIPPED:.1%} of each activation",
    "mse": "least mean squared error of each activation's values, rounded to 8 bits and clipped",
}
HISTOGRAMS = ("percentile", "entropy", "mse")


@dataclass(frozen=True)
class Calibrated:
    """Ranges by tensor name and the number of samples of the stream, from its first, that they rest on; `settled` if
    more would hardly have changed them."""

    ranges: Ranges
    samples: int
    settled: bool


def activation_ranges(
    model: Path,
    stream: SampleStream,
    method: str,
    folder: Path,
    settle: float | None = None,
    advance: Callable[[int], None] = lambda samples: None,
) -> Calibrated:
    """Lowest and highest value, by tensor name, of every float activation of the ONNX file `model`.

    `method` is a key of `DESCRIPTIONS`. With `settle` the stream is left as soon as `REST` chunks of `CHUNK` samples in
    a row moved the extremes by less than that share of their distance, in the mean over the activations. Scratch files
    go to `folder`. `advance(n)` is called after every n samples; each sample counts as often as it is run (`passes`).
    Raises CalibrationError for an empty stream and for activations that are not finite.
    """
    if not len(stream):
        raise CalibrationError("no sample to calibrate with")
    found = _extremes(model, stream, method == "moving_average", settle, folder, advance)
    if method not in HISTOGRAMS:
        return found
    narrow = {"percentile": percentile_range, "entropy": entropy_range, "mse": mse_range}[method]
    seen = SampleStream(stream.rows[: found.samples], stream.make)
    histograms = _histograms(model, found.ranges, seen, advance)
    ranges = {name: narrow(histogram, *found.ranges[name]) for name, histogram in histograms.items()}
    return Calibrated(ranges, found.samples, found.settled)


def passes(method: str) -> int:
    """How often `activation_ranges` runs through the samples."""
    return 2 if method in HISTOGRAMS else 1


def _extremes(
    model: Path,
    stream: SampleStream,
    average: bool,
    settle: float | None,
    folder: Path,
    advance: Callable[[int], None],
) -> Calibrated:
    """Over all samples, or the `average` over chunks."""
    names, session = _reduced(model, folder)
    outputs = [f"{name}_Reduce{end}" for name in names for end in ("Min", "Max")]
    ends: np.ndarray | None = None
    seen, resting = 0, 0
    for number, chunk in enumerate(stream.chunks(), start=1):
        found = np.array([np.ravel(session.run(outputs, dict(sample))).reshape(-1, 2) for sample in chunk])
        these = np.stack([found[:, :, 0].min(axis=0), found[:, :, 1].max(axis=0)], axis=1)  # [activations, 2]
        _refuse_infinite(names, these)
        before = these if ends is None else ends
        if average:
            ends = before + (these - before) / number
        else:
            ends = np.stack([np.minimum(before, these)[:, 0], np.maximum(before, these)[:, 1]], axis=1)
        seen += len(chunk)
        advance(len(chunk))
        widths = np.maximum(ends[:, 1] - ends[:, 0], 1e-30)
        moved = float(np.mean(np.abs(ends - before).sum(axis=1) / widths))
        resting = resting + 1 if settle is not None and number > 1 and moved < settle else 0
        if resting >= REST and number >= FIRST and seen < len(stream):
            break
    assert ends is not None, "the stream is not empty"
    ranges = {name: (float(low), float(high)) for name, (low, high) in zip(names, ends, strict=True)}
    return Calibrated(ranges, seen, settled=seen < len(stream))


def _reduced(model: Path, folder: Path) -> tuple[list[str], Any]:
    """The float activations' names, sorted, and a session of `model` that gives the least and the greatest value of
    each, as onnxruntime's own calibrator asks for them."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    file = folder / "augmented.onnx"
    create_calibrator(model, None, str(file), calibrate_method=CalibrationMethod.MinMax)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    ending = "_ReduceMin"
    return sorted(o.name.removesuffix(ending) for o in session.get_outputs() if o.name.endswith(ending)), session


def _refuse_infinite(names: list[str], ends: np.ndarray) -> None:
    wrong = [name for name, finite in zip(names, np.isfinite(ends).all(axis=1), strict=True) if not finite]
    if wrong:
        raise CalibrationError(
            f"activation '{wrong[0]}' (and {len(wrong) - 1} more) is not finite on the calibration samples, so it "
            "can't be quantized; check the training: the network's weights or inputs overflow"
        )


def _histograms(
    model: Path, ranges: Mapping[str, tuple[float, float]], stream: SampleStream, advance: Callable[[int], None]
) -> dict[str, np.ndarray]:
    """int64 [BINS] counts of each tensor's values over its range."""
    tensors = OnnxTensors(model, ranges)
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in ranges}
    for sample in stream:
        for name, values in tensors(sample).items():
            counts[name] += histogram_of(values, *ranges[name])
        advance(1)
    return counts


def histogram_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """int64 [BINS]: how many of `values` (any shape, float32) fall into each of the even parts of [low, high]; what
    lies outside counts with the nearest. Several times faster than numpy.histogram."""
    scale = BINS / (high - low) if high - low > 1e-30 else 0.0  # else the scale would overflow
    bins = ((values.ravel() - np.float32(low)) * np.float32(scale)).astype(np.int32)
    return np.bincount(np.clip(bins, 0, BINS - 1, out=bins), minlength=BINS)


def percentile_range(histogram: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The part of [low, high] that holds the middle `PERCENTILE` percent of `histogram`, int64 [bins], whose bins
    divide [low, high] evenly: whole bins, so never less than that share."""
    edges = np.linspace(low, high, len(histogram) + 1)
    outside = histogram.sum() * (100 - PERCENTILE) / 200
    first = int(np.searchsorted(np.cumsum(histogram), outside, side="right"))
    last = int(np.searchsorted(np.cumsum(histogram[::-1]), outside, side="right"))
    return float(edges[first]), float(edges[len(histogram) - last])


def mse_range(histogram: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """[low, high] cut to [-T, T], T chosen so that values lose least, in the mean square, by clipping and rounding to
    256 levels (Nagel et al. 2021, A White Paper on Neural Network Quantization, section 3.1). `histogram` is int64
    [bins] over [low, high]."""
    edges = np.linspace(low, high, len(histogram) + 1)
    centres, counts = (edges[:-1] + edges[1:]) / 2, histogram.astype(np.float64)
    best, ends = np.inf, (low, high)
    for threshold in np.linspace(1.0, 1 / STEPS, STEPS) * max(abs(low), abs(high)):
        least, most = max(low, -threshold), min(high, threshold)
        start = min(least, 0.0)  # zero is always a level
        step = max((max(most, 0.0) - start) / 255, 1e-30)
        loss = float(counts @ (np.clip(np.round((centres - start) / step), 0, 255) * step + start - centres) ** 2)
        if loss < best:
            best, ends = loss, (least, most)
    return ends


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
