"""How much each layer costs in 8 bits, by itself: the order in which layers are kept in float."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calibration.select import random_draw
from pipeline.context import RunContext
from pipeline.feeds import feeds
from pipeline.progress import Meter
from pipeline.quantize.failures import quantizing
from pipeline.quantize.graph import read_graph
from pipeline.quantize.layers import layers_of
from pipeline.quantize.mixed_results import LayerSensitivity, SensitivityResult
from pipeline.quantize.onnx import static_onnx
from pipeline.results import Calibration, PreparedData
from pipeline.settings.release import SensitivitySettings
from targets.machine import describe_machine
from targets.profile import Quantization
from targets.runtimes.base import RuntimeOptions, open_model

QUIETEST = 120.0  # decibels that are told at most: float32 has no more
ONE_THREAD = RuntimeOptions("onnxruntime")
LEAST = 1e-30  # of a score, so that its logarithm stays finite


def measure_sensitivity(
    data: PreparedData,
    calibration: Calibration,
    quantization: Quantization,
    settings: SensitivitySettings,
    context: RunContext,
) -> SensitivityResult:
    """What the calibrated student's answers to samples of the validation split lose when one of its layers alone
    computes in 8 bits as `quantization` says, with what it takes and gives, and all others in float: the one-at-a-time
    analysis of Wu et al. 2020 (Integer Quantization for Deep Learning Inference), by the measure of Pandey
    et al. 2023 (A Practical Mixed Precision Algorithm for Post-Training Quantization): the ratio of signal to
    quantization noise in the logits, which a few samples tell. One measurement, in onnxruntime, serves both formats:
    their files share weights and ranges.

    Raises InputError if the file can't be quantized so.
    """
    layers = {layer.name: layer for layer in layers_of(read_graph(calibration.model_file, "onnx"))}
    rows = np.sort(random_draw(data.rows("validation"), settings.samples, context.seed))
    quantization = quantization.model_copy(update={"io_dtype": "float32"})  # it rounds the ends, whoever is in float
    machine = describe_machine()
    inputs: dict[str, object] = {
        "data": data.fingerprint,
        "calibration": calibration.fingerprint,
        "quantization": quantization,
        "settings": settings,
        "processor": [machine.cpu, machine.isa],
    }

    def make(folder: Path, key: str, meter: Meter) -> SensitivityResult:
        from onnx import save

        scratch = folder / "resume"
        scratch.mkdir(exist_ok=True)
        expected = score_rows(calibration.model_file, data, rows, ONE_THREAD)
        meter.advance()
        found = []
        for name, layer in layers.items():
            file = scratch / "alone.onnx"
            with quantizing("onnx", quantization.label):
                save(static_onnx(quantization, calibration, alone=name), str(file))
            scores = score_rows(file, data, rows, ONE_THREAD)
            found.append(
                LayerSensitivity(
                    layer=name,
                    operator=layer.operator,
                    weights=layer.size,
                    sqnr=signal_to_noise(expected, scores),
                    divergence=divergence(expected, scores),
                    agreement=float((scores.argmax(1) == expected.argmax(1)).mean()),
                    points_lost=points_lost(expected, scores, data.targets[rows]),
                )
            )
            meter.advance(note=f"{name} {found[-1].sqnr:.0f} dB")
        worst = min(found, key=lambda layer: layer.sqnr)
        meter.text = f"least: {worst.layer}, {worst.sqnr:.1f} dB"
        return SensitivityResult(key, len(rows), tuple(found))

    return context.stage(
        "sensitivity", inputs, SensitivityResult, make, total=len(layers) + 1, unit="layers",
        title="sensitivity of the layers",
    )  # fmt: skip


def score_rows(file: Path, data: PreparedData, rows: Sequence[int] | np.ndarray, options: RuntimeOptions) -> np.ndarray:
    """float32 [len(rows), classes]: the scores of `file`, dequantized, one sample at a time."""
    model = open_model(file, options)
    output = model.outputs[0]
    return np.stack([output.dequantize(model.run(feeds(model.inputs, data, int(row)))[0]).ravel() for row in rows])


def signal_to_noise(expected: np.ndarray, scores: np.ndarray) -> float:
    """Decibels: the power of the logits behind softmax scores [N, classes] to that of what `scores` changed in them.
    Logits are taken with mean 0, as softmax leaves them undetermined."""
    signal, other = _logits(expected), _logits(scores)
    noise = float(np.square(other - signal).sum())
    power = max(float(np.square(signal).sum()), LEAST)
    return QUIETEST if noise * 10 ** (QUIETEST / 10) <= power else float(10 * np.log10(power / noise))


def _logits(scores: np.ndarray) -> np.ndarray:
    logits = np.log(np.maximum(scores.astype(np.float64), LEAST))
    return logits - logits.mean(axis=1, keepdims=True)


def divergence(expected: np.ndarray, scores: np.ndarray) -> float:
    """Mean over samples of the Kullback-Leibler divergence, in nats, of `scores` from `expected`, [N, classes]."""
    p, q = (np.maximum(values.astype(np.float64), LEAST) for values in (expected, scores))
    return max(float((p * np.log(p / q)).sum(axis=1).mean()), 0.0)


def points_lost(expected: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> float:
    """By how many points (percent) `scores` are less accurate than `expected`, both [N, classes]."""
    lost = int((expected.argmax(1) == labels).sum()) - int((scores.argmax(1) == labels).sum())
    return 100 * lost / len(labels)
