"""Structured pruning: whole channels of convolutions, whole heads and feed-forward units of a BERT, then a
short recovery with the student's own loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches
from pipeline.distill.answers import LearnAnswers, student_schedule, teacher_answers
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
from pipeline.results import CacheResult, NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import PruneSettings
from pipeline.training.fit import deterministic, fit, network_result, prepare_torch, samples_of, to_device
from pipeline.training.schedule import Moment, Objective, Schedule

STEPS = 40  # into which the thinning of channels is cut: how near the result comes to the share asked for
DEEPEST = 0.9  # of a layer's channels that may go
JUDGES = 512  # training samples that judge what may go


def prune(
    data: PreparedData,
    student: NetworkResult,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: PruneSettings,
    distilling: DistillSettings,
    context: RunContext,
) -> NetworkResult:
    """Thins `student` to `settings.macs` of its multiply-accumulates and trains it again for the recovery
    epochs with soft targets and labels, as it was distilled, transfer set and all. A share of 1 gives the student back.

    The notes give parameters, MACs and accuracy before and after. Raises InputError where the share can't be
    reached with channels in multiples of `round_to`.
    """
    if settings.macs == 1.0:
        return student
    tuned = distilling.model_copy(update={"epochs": settings.recovery_epochs, "learning_rate": settings.learning_rate})

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        answers = teacher_answers(data, teacher, cache, distilling, device, context.seed)
        objective = LearnAnswers(distilling, answers)
        network = load_network(student).to(device)
        schedule = replace(student_schedule(data, tuned, context.seed, answers), compute=context.compute)
        _gather_gradients(network, data, objective, schedule, device)
        if isinstance(network, ImageNetwork):
            architecture = _thin_channels(network, data, student, settings)
        else:
            architecture = _thin_bert(network, student, settings)
        # Built anew from its description, so that what is trained is what will be loaded.
        thin = build_network(architecture)
        thin.load_state_dict(network.state_dict())
        outcome = fit(thin.to(device), data, objective, schedule, meter, folder)
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
        "distilling": tuned.model_dump(exclude={"compare_naive", "transfer"}),
        "compute": context.compute,
    }
    recovering = student_schedule(data, tuned, context.seed)
    total = samples_of(data, settings.recovery_epochs) + recovering.transfer * settings.recovery_epochs
    return context.stage("prune", inputs, NetworkResult, make, total=total, unit="samples", together=True)


def _with_notes(result: NetworkResult, before: NetworkResult) -> NetworkResult:
    macs = f"{before.macs:,} -> {result.macs:,}" if before.macs and result.macs else "unknown"
    note = (
        f"parameters {before.parameters:,} -> {result.parameters:,}, multiply-accumulates {macs}, accuracy "
        f"{100 * before.accuracy.value:.2f}% -> {100 * result.accuracy.value:.2f}%"
    )
    return replace(result, notes=(*before.notes, note))


def _thin_channels(
    network: ImageNetwork, data: PreparedData, student: NetworkResult, settings: PruneSettings
) -> dict[str, object]:
    """Removes the channels whose weights are smallest over the whole network, dependent layers together
    (Fang et al. 2023, DepGraph), until the share is reached. Changes `network`; gives its new
    architecture."""
    import torch_pruning

    body: Any = network.body
    device = next(body.parameters()).device
    inputs = tuple(tensor.to(device) for tensor in example_inputs(data))
    before = count_macs(network, inputs)
    classifier = body.get_classifier()
    pruner = torch_pruning.pruner.BasePruner(
        body,
        inputs[0],
        # Not normalised by layer: a channel's part in the loss compares over the whole network.
        importance=torch_pruning.importance.GroupTaylorImportance(normalizer=None),
        global_pruning=True,
        pruning_ratio=DEEPEST,
        max_pruning_ratio=DEEPEST,
        iterative_steps=STEPS,
        ignored_layers=list(classifier) if isinstance(classifier, tuple) else [classifier],
        round_to=settings.round_to,
    )
    for _ in range(STEPS):
        pruner.step()
        left = count_macs(network, inputs)
        if left <= settings.macs * before:
            return {**student.architecture, "shapes": body_shapes(body)}
    raise InputError(
        f"prune.macs {settings.macs:g} can't be reached: with channels in multiples of {settings.round_to} at least "
        f"{left / before:.2f} is left; raise prune.macs or lower prune.round_to"
    )


def _thin_bert(network: nn.Module, student: NetworkResult, settings: PruneSettings) -> dict[str, object]:
    """Removes the same number of heads and of feed-forward units from each layer: those whose removal
    changes the loss least. Changes `network`; gives its new architecture."""
    assert isinstance(network, TextNetwork)
    transformer: Any = network.transformer
    config: dict[str, Any] = dict(student.architecture["config"])  # type: ignore[call-overload]
    heads = max(1, round(settings.macs * config["num_attention_heads"]))
    units = settings.round_to * max(1, round(settings.macs * config["intermediate_size"] / settings.round_to))
    gone: dict[str, list[int]] = {}
    for number, layer in enumerate(transformer.bert.encoder.layer):
        by_head = _importance(layer.attention.output.dense.weight).view(config["num_attention_heads"], -1).sum(1)
        gone[str(number)] = sorted(by_head.argsort(stable=True)[: len(by_head) - heads].tolist())
        by_unit = _importance(layer.output.dense.weight)
        kept = by_unit.argsort(stable=True, descending=True)[:units].sort().values
        _keep_units(layer, kept)
    network.zero_grad(set_to_none=True)
    transformer.prune_heads({int(number): list(removed) for number, removed in gone.items()})
    config["intermediate_size"] = min(units, config["intermediate_size"])
    if any(gone.values()):
        config["pruned_heads"] = gone
    return {**student.architecture, "config": config}


def _gather_gradients(
    network: nn.Module, data: PreparedData, objective: Objective, schedule: Schedule, device: torch.device
) -> None:
    """Leaves in the parameters the gradient of the loss over a sample of the train split, in evaluation mode."""
    network.zero_grad(set_to_none=True)
    random = np.random.default_rng(schedule.seed)
    rows = np.sort(random.permutation(data.rows("train"))[:JUDGES])
    with deterministic():
        for batch in evaluation_batches(data, rows, 32, schedule.seed, schedule.augmentation, view=0):
            batch = to_device(batch, device)
            (objective(network, batch, Moment(0, 0.0)) * len(batch.rows)).backward()


def _importance(weight: Tensor) -> Tensor:
    """Of each column: how much the loss changes, to first order, when the column goes (Molchanov et al.
    2019)."""
    assert weight.grad is not None
    return (weight * weight.grad).sum(0).abs().detach().cpu()


def _keep_units(layer: Any, kept: Tensor) -> None:
    """Leaves the feed-forward units `kept` in a BERT layer."""
    into, out = layer.intermediate.dense, layer.output.dense
    kept = kept.to(into.weight.device)
    into.weight, into.bias = nn.Parameter(into.weight[kept].detach()), nn.Parameter(into.bias[kept].detach())
    out.weight = nn.Parameter(out.weight[:, kept].detach())
    into.out_features = out.in_features = len(kept)
