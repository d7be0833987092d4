"""Structured pruning: whole channels of convolutions, whole heads and feed-forward units of a BERT, then a short
recovery with the student's own loss."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches
from pipeline.distill.losses import guided_loss, student_schedule, teacher_logits
from pipeline.errors import InputError
from pipeline.networks import (
    ImageNetwork,
    TextNetwork,
    body_shapes,
    build_network,
    count_macs,
    example_inputs,
    load_network,
)
from pipeline.progress import Meter
from pipeline.recipe import DistillSettings, PruneSettings
from pipeline.results import CacheResult, NetworkResult, PreparedData
from pipeline.training import (
    Loss,
    deterministic,
    fit,
    network_result,
    prepare_torch,
    samples_of,
    to_device,
)

STEPS = 50  # into which the thinning of channels is cut: how near the result comes to the share asked for
DEEPEST = 0.9  # of a layer's channels that may go
JUDGES = 512  # training samples that judge heads and feed-forward units


def prune(
    data: PreparedData,
    student: NetworkResult,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: PruneSettings,
    distilling: DistillSettings,
    context: RunContext,
) -> NetworkResult:
    """Thins `student` to `settings.macs` of its multiply-accumulates and trains it again for the recovery epochs
    with soft targets and labels, as it was distilled. A share of 1 gives the student back.

    The notes give parameters, MACs and accuracy before and after. Raises InputError where the share can't be
    reached with channels in multiples of `round_to`.
    """
    if settings.macs == 1.0:
        return student
    tuned = distilling.model_copy(
        update={"epochs": settings.recovery_epochs, "learning_rate": settings.learning_rate}
    )

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        loss = guided_loss(teacher_logits(data, teacher, cache, distilling, device), distilling)
        network = load_network(student).to(device)
        if isinstance(network, ImageNetwork):
            architecture = _thin_channels(network, data, student, settings)
        else:
            architecture = _thin_bert(network, data, student, settings, loss, device)
        # Built anew from its description, so that what is trained is what will be loaded.
        thin = build_network(architecture)
        thin.load_state_dict(network.state_dict())
        schedule = student_schedule(data, tuned, context.seed)
        outcome = fit(thin.to(device), data, loss, schedule, meter, folder)
        result = network_result(
            thin, data, outcome, folder=folder, key=key, role="pruned",
            name=f"{student.name} pruned to {100 * settings.macs:g}%", architecture=architecture, meter=meter,
        )  # fmt: skip
        return _with_notes(result, student)

    inputs = {
        "data": data.fingerprint,
        "student": student.fingerprint,
        "teacher": teacher.fingerprint,
        "settings": settings,
        "distilling": tuned.model_dump(exclude={"compare_naive"}),
    }
    total = samples_of(data, settings.recovery_epochs)
    return context.stage("prune", inputs, NetworkResult, make, total=total, unit="samples")
