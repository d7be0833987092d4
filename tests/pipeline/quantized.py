"""What the tests of quantized files share."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter

from pipeline.context import RunContext
from pipeline.feeds import feeds
from pipeline.quantize.calibrate import calibrate
from pipeline.results import Calibration, ExportedFile, NetworkResult, PreparedData
from pipeline.settings.release import CalibrationSettings
from targets.runtimes.base import Model, RuntimeOptions, open_model

FEW = 32  # samples that calibrate


def opened(file: ExportedFile) -> Model:
    return open_model(file.file, RuntimeOptions("onnxruntime" if file.format == "onnx" else "litert"))


def scores_of(file: ExportedFile, data: PreparedData) -> np.ndarray:
    """float32 [T, classes] on the test split, dequantized."""
    model = opened(file)
    (output,) = model.outputs
    rows = (int(row) for row in data.rows("test"))
    return np.concatenate([output.dequantize(model.run(feeds(model.inputs, data, row))[0]) for row in rows])


def accuracy_of(file: ExportedFile, data: PreparedData) -> float:
    """Top-1 on the test split."""
    return float(np.mean(scores_of(file, data).argmax(axis=1) == data.targets[data.rows("test")]))


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two arrays of scores."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def calibrated(
    export: ExportedFile, data: PreparedData, student: NetworkResult, context: RunContext, **settings: Any
) -> Calibration:
    """Of the ONNX file `export`; the student stands for the teacher."""
    return calibrate(export, data, student, student, data, CalibrationSettings(**settings), context)


def without_padding(reviews: PreparedData, folder: Path) -> PreparedData:
    """The reviews, all as long as the model takes: calibration never sees padding."""
    np.save(folder / "lengths.npy", np.full_like(reviews.lengths, reviews.inputs.shape[1]))
    return replace(reviews, fingerprint="without padding", lengths_file=folder / "lengths.npy")


def activation_scales(file: ExportedFile) -> np.ndarray:
    """Scales of the 8-bit activations that have one scale each, in ascending order, each once."""
    if file.format == "onnx":
        model = onnx.load(str(file.file))
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        found = {float(constants[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear"}
    else:
        interpreter = Interpreter(str(file.file))
        made = {int(index) for operator in interpreter._get_ops_details() for index in operator["outputs"]}
        details = [detail for detail in interpreter.get_tensor_details() if detail["index"] in made]
        found = {detail["quantization"][0] for detail in details if detail["dtype"] == np.int8}
    return np.array(sorted(found))
