"""Which training samples calibrate a student, and what is known of activations without any."""

from collections.abc import Sequence

import numpy as np

from calibration.observe import OnnxTensors
from calibration.select import covering, random_draw, stratified, uncertain
from calibration.stream import SampleStream
from pipeline.evaluate import predict
from pipeline.feeds import feeds
from pipeline.networks import load_network
from pipeline.quantize.graph import read_graph
from pipeline.quantize.inspect import LAYERS
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from pipeline.settings.release import CalibrationSettings
from targets.runtimes.base import RuntimeOptions, open_model

# An image input's range is known, not measured: scale 1, zero point 0 or -128. Apps that feed a uint8 input hand over
# its bytes as they are, whatever scale calibration would have found.
PIXELS = (0.0, 255.0)
POOL = 4096  # training samples among which coverage and uncertainty choose

SELECTIONS = {
    "stratified": "stratified by class",
    "random": "at random",
    "coverage": f"the farthest apart of {POOL:,} in the space of the student's last features (Gonzalez 1985)",
    "uncertainty": f"those of {POOL:,} of which the teacher is least certain",
}


def calibration_rows(
    export: ExportedFile,
    data: PreparedData,
    teacher: NetworkResult,
    teacher_data: PreparedData,
    settings: CalibrationSettings,
) -> tuple[int, ...]:
    """Rows of the training split, in the order in which they calibrate. `export` is the student's float32 ONNX file;
    `teacher_data` holds the same samples as `data`, in the teacher's word pieces.

    Raises CalibrationError if the training split can't give them.
    """
    train = data.rows("train")
    if settings.select == "stratified":
        chosen = stratified(data.targets, train, settings.samples, settings.seed)
    elif settings.select == "random":
        chosen = random_draw(train, settings.samples, settings.seed)
    else:
        pool = random_draw(train, POOL, settings.seed)
        if settings.select == "coverage":
            chosen = pool[covering(_last_features(export, data, pool), settings.samples)]
        else:
            logits = predict(load_network(teacher), teacher_data, pool).astype(np.float64)
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            chosen = pool[uncertain(odds / odds.sum(axis=1, keepdims=True), settings.samples)]
    return tuple(int(row) for row in chosen)


def _last_features(export: ExportedFile, data: PreparedData, rows: np.ndarray) -> np.ndarray:
    """float32 [len(rows), D]: what the last layer of the ONNX file takes."""
    graph = read_graph(export.file, "onnx")
    layer = [operator for operator in graph.operators if operator.kind in LAYERS][-1]
    (taken,) = (name for name in layer.inputs if name not in graph.fixed)
    tensors = OnnxTensors(export.file, [taken])
    return np.stack([tensors(sample)[taken].ravel() for sample in stream_of(export, data, rows)])


def stream_of(export: ExportedFile, data: PreparedData, rows: Sequence[int] | np.ndarray) -> SampleStream:
    """Samples of `rows` as the float file `export` takes them."""
    specs = open_model(export.file, RuntimeOptions("onnxruntime" if export.format == "onnx" else "litert")).inputs
    return SampleStream(tuple(int(row) for row in rows), lambda row: feeds(specs, data, row))
