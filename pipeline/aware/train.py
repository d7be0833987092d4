"""Quantization-aware training: a student goes on learning while it computes in 8 bits."""

import json
from dataclasses import replace
from pathlib import Path

from pipeline.aware.rounding import Granularity, RoundedNetwork
from pipeline.aware.start import folded, rounded_network
from pipeline.context import RunContext
from pipeline.distill.answers import LearnAnswers, student_schedule, teacher_answers
from pipeline.distill.cache_results import CacheResult
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.release import AwareSettings
from pipeline.training.fit import fit, network_result, prepare_torch, samples_of


def train_aware(
    data: PreparedData,
    student: NetworkResult,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: AwareSettings,
    distilling: DistillSettings,
    context: RunContext,
    granularity: Granularity = "per-channel",
) -> NetworkResult:
    """`student` without batch normalisation, trained on while weights and activations are rounded to 8 bits (Jacob et
    al. 2018, section 3; ranges are learned: Esser et al. 2020), with the soft targets and labels that it was distilled
    with, or those of the float student itself.

    The weights are as they are before rounding: every quantizer rounds them alike, with scales of `granularity`.
    `ranges_file` holds the learned ranges by place of the forward pass (`pipeline.aware.rounding`). Raises InputError
    for texts.
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
        network, architecture = folded(student, data)
        network = network.to(device)
        answers = teacher_answers(data, student if own else teacher, cache, tuned, device, context.seed)
        rounded = rounded_network(network, data, device, context.seed, granularity).to(device)
        schedule = replace(student_schedule(data, tuned, context.seed, answers), compute=context.compute)
        outcome = fit(rounded, data, LearnAnswers(tuned, answers), schedule, meter, folder)
        ranges = folder / "ranges.json"
        ranges.write_text(json.dumps(_ranges(rounded)) + "\n", encoding="utf-8")
        result = network_result(
            network, data, outcome, folder=folder, key=key, role="int8", name=f"{student.name}, aware of INT8",
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
        "granularity": granularity,
    }
    schedule = student_schedule(data, tuned, context.seed)
    total = samples_of(data, settings.epochs) + schedule.transfer * settings.epochs
    title = "quantization-aware training"
    return context.stage("aware", inputs, NetworkResult, make, total=total, unit="samples", title=title, together=True)


def _ranges(rounded: RoundedNetwork) -> dict[str, list[float]]:
    low, high = rounded.ranges
    return {str(place): [float(low[index]), float(high[index])] for place, index in rounded.where.items()}
