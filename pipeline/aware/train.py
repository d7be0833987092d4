"""Quantization-aware training: a student goes on learning while it computes in 8 bits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.aware.fold import fold, normalised_convolutions
from pipeline.aware.rounding import RoundedNetwork, rounding_places, watched
from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches
from pipeline.distill.answers import LearnAnswers, student_schedule, teacher_answers
from pipeline.errors import InputError
from pipeline.networks import ImageNetwork, build_network, example_inputs, load_network
from pipeline.progress import Meter
from pipeline.results import CacheResult, NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.release import AwareSettings
from pipeline.training.fit import fit, network_result, prepare_torch, samples_of, to_device

STARTING = 256  # training samples over which the first ranges are measured
BATCH = 32  # of them: extremes are averaged over batches, so that a lone value does not set a range


def train_aware(
    data: PreparedData,
    student: NetworkResult,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: AwareSettings,
    distilling: DistillSettings,
    context: RunContext,
) -> NetworkResult:
    """`student` without batch normalisation, trained on while weights and activations are rounded to 8 bits (Jacob et
    al. 2018, section 3; ranges are learned: Esser et al. 2020), with the soft targets and labels that it was distilled
    with, or those of the float student itself.

    The weights are as they are before rounding: every quantizer rounds them alike. `ranges_file` holds the learned
    ranges by place of the forward pass (`pipeline.aware.rounding`). Raises InputError for texts.
    """
    if data.task != "image-classification":
        raise InputError(
            "quantize.aware trains convolutional networks; texts ship with dynamic INT8, which has no ranges to learn: "
            "remove quantize.aware"
        )
    own = settings.teacher == "student"
    tuned = distilling.model_copy(
        update={
            "epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
            "hard_label_epochs": 0,
            **({"mode": "online", "ahead": 0} if own else {}),
        }
    )

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        network, architecture = _folded(student, data)
        network = network.to(device)
        answers = teacher_answers(data, student if own else teacher, cache, tuned, device, context.seed)
        rounded = _rounded(network, data, device, context.seed).to(device)
        schedule = replace(student_schedule(data, tuned, context.seed, answers), compute=context.compute)
        outcome = fit(rounded, data, LearnAnswers(tuned, answers), schedule, meter, folder)
        ranges = folder / "ranges.json"
        ranges.write_text(json.dumps(_ranges(rounded)) + "\n", encoding="utf-8")
        result = network_result(
            network, data, outcome, folder=folder, key=key, role="aware", name=f"{student.name}, aware of INT8",
            architecture=architecture, meter=meter,
        )  # fmt: skip
        note = f"trained on for {settings.epochs} epochs in 8 bits, by the answers of its {settings.teacher}"
        return replace(result, ranges_file=ranges, notes=(*student.notes, note))

    inputs = {
        "data": data.fingerprint,
        "student": student.fingerprint,
        "teacher": None if own else teacher.fingerprint,
        "settings": settings,
        "distilling": tuned.model_dump(exclude={"compare_naive", "transfer"}),
        "compute": context.compute,
    }
    schedule = student_schedule(data, tuned, context.seed)
    total = samples_of(data, settings.epochs) + schedule.transfer * settings.epochs
    title = "quantization-aware training"
    return context.stage("aware", inputs, NetworkResult, make, total=total, unit="samples", title=title, together=True)


def _folded(student: NetworkResult, data: PreparedData) -> tuple[nn.Module, dict[str, object]]:
    """The student without batch normalisation, and its architecture."""
    network = load_network(student)
    assert isinstance(network, ImageNetwork)
    pairs = normalised_convolutions(network, example_inputs(data))
    fold(network, pairs)
    architecture = {**student.architecture, "folded": pairs}
    plain = build_network(architecture)  # anew from its description, so that what is trained is what will be loaded
    plain.load_state_dict(network.state_dict())
    return plain, architecture


def _rounded(network: nn.Module, data: PreparedData, device: torch.device, seed: int) -> RoundedNetwork:
    """`network` with its first ranges: extremes over batches of training samples, averaged."""
    network.eval()
    places, _ = rounding_places(network, tuple(tensor.to(device) for tensor in example_inputs(data)))
    index = {place: number for number, place in enumerate(places)}
    rows = np.sort(np.random.default_rng(seed).permutation(data.rows("train"))[:STARTING])
    ends = torch.zeros(2, len(places))
    batches = 0

    def look(place: int, output: Tensor) -> None:
        if place in index:
            ends[0, index[place]] += output.min().cpu()
            ends[1, index[place]] += output.max().cpu()

    for batch in evaluation_batches(data, rows, BATCH, seed, None, 0):
        watched(network, to_device(batch, device).inputs, look)
        batches += 1
    return RoundedNetwork(network, places, ends[0] / batches, ends[1] / batches)


def _ranges(rounded: RoundedNetwork) -> dict[str, list[float]]:
    low, high = rounded.ranges
    return {str(place): [float(low[index]), float(high[index])] for place, index in rounded.where.items()}
