"""Runs an exported file over the whole test split in the runtime that will run it, with the options that ship."""

from pathlib import Path

import numpy as np

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.feeds import feeds
from pipeline.metrics import accuracy, agreement
from pipeline.progress import Meter
from pipeline.results import ExportedFile, FileAccuracy, NetworkResult, PreparedData
from targets.machine import describe_machine
from targets.runtimes.base import RuntimeOptions, open_model, runtime_version


def validate(
    file: ExportedFile, data: PreparedData, student: NetworkResult, options: RuntimeOptions, context: RunContext
) -> FileAccuracy:
    """Accuracy of `file` on every test sample, one at a time, and its agreement with `student` in PyTorch.

    Scores are dequantized, so they are what an app sees. A stored result serves this processor only: 8-bit kernels may
    compute otherwise on another instruction set (onnxruntime without VNNI saturates).
    Raises InputError if the file's scores are not one finite number a class.
    """
    rows = data.rows("test")
    machine = describe_machine()
    inputs = {
        "file": file.fingerprint,
        "data": data.fingerprint,
        "student": student.fingerprint,
        "options": options,
        "processor": [machine.cpu, machine.isa],
    }

    def make(folder: Path, key: str, meter: Meter) -> FileAccuracy:
        scores = score_file(file, data, rows, options, meter)
        judged = accuracy(scores, data.targets[rows])
        agreed = agreement(scores, student.test_logits)
        scores_file = folder / "scores.npy"
        np.save(scores_file, scores)
        meter.text = f"{judged.value:.2%}"
        return FileAccuracy(key, judged, agreed, scores_file, options.runtime, runtime_version(options.runtime))

    title = f"validate {file.label}.{file.format}"
    return context.stage("validate", inputs, FileAccuracy, make, total=len(rows), unit="samples", title=title)


def score_file(
    file: ExportedFile, data: PreparedData, rows: np.ndarray, options: RuntimeOptions, meter: Meter
) -> np.ndarray:
    """float32 [len(rows), classes], dequantized, in the order of `rows`, one sample at a time."""
    model = open_model(file.file, options)
    output = model.outputs[0]
    scores = np.empty((len(rows), len(data.labels)), np.float32)
    for position, row in enumerate(rows):
        found = output.dequantize(model.run(feeds(model.inputs, data, int(row)))[0]).reshape(-1)
        if found.shape != scores[position].shape:
            raise InputError(
                f"{file.file.name}: output '{output.name}' holds {found.size} scores, expected {len(data.labels)}: "
                "one for each label; check that the file was made for this data"
            )
        if not np.isfinite(found).all():
            raise InputError(
                f"{file.file.name}: output '{output.name}' is not finite on sample {row}; the network or its "
                "quantization overflows: try another scheme in the target's profile"
            )
        scores[position] = found
        meter.advance()
    return scores
