"""A student made ready for 8 bits without training."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.aware.biases import correct_biases
from pipeline.aware.start import folded, rounded_network
from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData
from pipeline.training.fit import Fit, deterministic, network_result, prepare_torch, samples_of, to_device

SAMPLES = 128  # training samples whose means are kept, in memory together


def repair(data: PreparedData, student: NetworkResult, context: RunContext) -> NetworkResult:
    """`student` without batch normalisation, its biases corrected for rounding (`pipeline.aware.biases`) over training
    samples. Raises InputError for texts."""
    if data.task != "image-classification":
        raise InputError("quantize.correct_biases is for convolutional networks: remove it from this text recipe")

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        network, architecture = folded(student, data)
        with deterministic():
            rounded = rounded_network(network.to(device), data, device, context.seed).to(device)
            rows = np.sort(np.random.default_rng(context.seed).permutation(data.rows("train"))[:SAMPLES])
            (batch,) = evaluation_batches(data, rows, SAMPLES, context.seed, None, 0)
            shift = correct_biases(rounded, to_device(batch, device).inputs)
        outcome = Fit((), None, student.validation_accuracy)
        result = network_result(
            network, data, outcome, folder=folder, key=key, role="int8", name=f"{student.name}, biases corrected",
            architecture=architecture, meter=meter,
        )  # fmt: skip
        note = f"biases corrected for 8 bits over {len(rows)} training samples, by {shift:.3g} in the mean"
        return replace(result, notes=(*student.notes, note))

    inputs: dict[str, object] = {"data": data.fingerprint, "student": student.fingerprint, "samples": SAMPLES}
    return context.stage("repair", inputs, NetworkResult, make, total=samples_of(data, 0), unit="samples")
