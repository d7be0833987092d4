"""A student made ready for 8 bits without training and without labels."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.aware.adaround import LearnedLayer, learn_rounding
from pipeline.aware.biases import correct_biases
from pipeline.aware.equalize import equalizable_pairs, equalize
from pipeline.aware.rounding import Granularity
from pipeline.aware.start import folded, rounded_network
from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.networks import example_inputs
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.release import QuantizeSettings
from pipeline.training.fit import Fit, deterministic, network_result, prepare_torch, samples_of, to_device

SAMPLES = 128  # training samples whose means are kept, in memory together
EQUALIZED = 512  # training samples by which channels are equalized
LEARNED = 1024  # training samples on which rounding is learned
COMPARED = 512  # validation samples on which what equalization changed is told
BATCH = 32


def repair(
    data: PreparedData,
    student: NetworkResult,
    settings: QuantizeSettings,
    context: RunContext,
    granularity: Granularity = "per-channel",
) -> NetworkResult:
    """`student` without batch normalisation and, as `settings` say and in this order: its channels equalized
    (`pipeline.aware.equalize`), its weights on the levels that files have for them, with scales of `granularity`
    (`pipeline.aware.adaround`), its biases corrected (`pipeline.aware.biases`). All this over training samples.
    Raises InputError for texts."""
    if data.task != "image-classification":
        named = ", ".join(settings.repairs)
        raise InputError(f"quantize.{named}: this is for convolutional networks; remove it from this text recipe")

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        network, architecture = folded(student, data)
        network = network.to(device).eval()
        done, notes = [], []
        with deterministic():
            if settings.equalize:
                notes.append(_equalize(network, data, granularity, context.seed))
                done.append("equalized")
            rounded = rounded_network(network, data, device, context.seed, granularity).to(device)
            reference = deepcopy(network)
            if settings.round == "adaround":
                samples = min(LEARNED, len(data.rows("train")))
                places = sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in network.modules())
                meter.total += places * samples
                learned = learn_rounding(
                    rounded,
                    reference,
                    lambda: _batches(data, samples, device, context.seed),
                    samples,
                    context.seed,
                    meter.advance,
                )
                notes.append(_told(learned, samples))
                done.append("rounded by AdaRound")
            if settings.correct_biases:
                rows = np.sort(np.random.default_rng(context.seed).permutation(data.rows("train"))[:SAMPLES])
                (batch,) = evaluation_batches(data, rows, SAMPLES, context.seed, None, 0)
                shift = correct_biases(rounded, to_device(batch, device).inputs, reference)
                notes.append(
                    f"biases corrected for 8 bits over {len(rows)} training samples, by {shift:.3g} in the mean"
                )
                done.append("biases corrected")
        outcome = Fit((), None, student.validation_accuracy)
        result = network_result(
            network, data, outcome, folder=folder, key=key, role="int8", name=", ".join((student.name, *done)),
            architecture=architecture, meter=meter,
        )  # fmt: skip
        return replace(result, notes=(*student.notes, *notes))

    inputs: dict[str, object] = {
        "data": data.fingerprint,
        "student": student.fingerprint,
        "settings": settings.model_dump(exclude={"aware"}),
        "granularity": granularity,
    }
    return context.stage("repair", inputs, NetworkResult, make, total=samples_of(data, 0), unit="samples")


def _equalize(network: nn.Module, data: PreparedData, granularity: Granularity, seed: int) -> str:
    """What was done, and by how much it changed what the network says in float."""
    device = next(network.parameters()).device
    pairs = equalizable_pairs(network, tuple(tensor.to(device) for tensor in example_inputs(data)))
    if not pairs:
        return "no two convolutions follow each other with nothing or a ReLU between them: none equalized"
    compared = data.rows("validation")[:COMPARED]
    before = predict(network, data, compared)
    equalize(network, pairs, _batches(data, EQUALIZED, device, seed), granularity)
    moved = np.abs(predict(network, data, compared) - before).mean() / before.std()
    return (
        f"{len(pairs)} pairs of convolutions equalized; in float the logits of {len(compared)} validation samples move "
        f"by {moved:.1e} of their spread"
    )


def _batches(data: PreparedData, samples: int, device: torch.device, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Training samples drawn at random, in random order."""
    rows = np.random.default_rng(seed).permutation(data.rows("train"))[:samples]
    for batch in evaluation_batches(data, rows, BATCH, seed, None, 0):
        yield to_device(batch, device).inputs


def _told(learned: list[LearnedLayer], samples: int) -> str:
    kept = sum(layer.kept for layer in learned)
    fall = float(np.mean([layer.fall for layer in learned]))
    return (
        f"rounding of {kept} of {len(learned)} layers learned over {samples} training samples (AdaRound), the others' "
        f"to the nearest; the error of a layer's output fell by {fall:.0%} in the mean, on samples held back"
    )
