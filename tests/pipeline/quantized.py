"""What the tests of quantized files share."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.feeds import feeds
from pipeline.results import ExportedFile, PreparedData
from pipeline.settings.release import CalibrationSettings
from targets.runtimes.base import Model, RuntimeOptions, open_model

FEW = CalibrationSettings(samples=32)


def opened(file: ExportedFile) -> Model:
    return open_model(file.file, RuntimeOptions("onnxruntime" if file.format == "onnx" else "litert"))


def scores_of(file: ExportedFile, data: PreparedData) -> np.ndarray:
    """float32 [T, classes] on the test split, dequantized."""
    model = opened(file)
    (output,) = model.outputs
    rows = (int(row) for row in data.rows("test"))
    return np.concatenate([output.dequantize(model.run(feeds(model.inputs, data, row))[0]) for row in rows])


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two arrays of scores."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def without_padding(reviews: PreparedData, folder: Path) -> PreparedData:
    """The reviews, all as long as the model takes: calibration never sees padding."""
    np.save(folder / "lengths.npy", np.full_like(reviews.lengths, reviews.inputs.shape[1]))
    return replace(reviews, fingerprint="without padding", lengths_file=folder / "lengths.npy")
