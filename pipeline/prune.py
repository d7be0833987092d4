"""Structured pruning as a stage: the student thinned to its goal and trained again with its own loss, or its start
thinned before it is distilled. `pipeline.pruning` knows what goes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.context import RunContext
from pipeline.distill.answers import student_schedule
from pipeline.distill.cache_results import CacheResult
from pipeline.distill.start import start_student
from pipeline.networks import ImageNetwork, build_network, device_of, load_network
from pipeline.progress import Meter
from pipeline.pruning.descent import Learning, descend, judging, recovery
from pipeline.pruning.importance import gather_gradients
from pipeline.pruning.ladder import Rung, thin_to
from pipeline.pruning.schedule import cutting_points, epochs_between
from pipeline.pruning.zeros import train_sparse
from pipeline.results import NetworkResult, PreparedData, PruningChoice
from pipeline.settings.distill import DistillSettings
from pipeline.settings.prune import RECOVERING, PruneSettings
from pipeline.settings.student import StudentSettings
from pipeline.student import student_architecture, student_name
from pipeline.training.fit import Fit, fit, network_result, prepare_torch, samples_of
from pipeline.weights import weights_identity

Cut = tuple[nn.Module, dict[str, Any], Fit]  # a network, its architecture and how its training went


def prune(
    data: PreparedData,
    student: NetworkResult,
    teacher: NetworkResult,
    cache: CacheResult | None,
    settings: PruneSettings,
    distilling: DistillSettings,
    context: RunContext,
    choice: PruningChoice | None = None,
) -> NetworkResult:
    """Thins `student` to the goal of `settings`, or sets weights to zero for its `sparsity`, and trains it again for
    the recovery epochs with soft targets and labels, as it was distilled, transfer set and all; gradually, it is
    trained after each of several cuts. Where nothing is asked for the student comes back. What a measured goal asks for
    is `choice`, made by `pipeline.prune_goal`.

    A start (`start_of`) is thinned by the gradients of labels and not trained. The notes give parameters, MACs and
    accuracy before and after. Raises InputError where the goal can't be reached with channels in multiples of
    `round_to`.
    """
    if not settings.prunes:
        return student
    before, tuned = settings.when == "before", recovery(distilling, settings)

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        learning = judging(data, teacher, cache, settings, distilling, context, device)
        if settings.sparsity is not None:
            network, architecture = load_network(student).to(device), dict(student.architecture)
            assert isinstance(network, ImageNetwork), "the recipe's"
            outcome = train_sparse(network, data, learning, settings, meter, folder)
        else:
            network, rungs = descend(data, student, learning, settings, context, device, choice)
            cut = _cut_gradually if settings.schedule == "gradual" else _cut_once
            network, architecture, outcome = cut(network, data, student, rungs, learning, settings, meter, folder)
        result = network_result(
            network, data, outcome, folder=folder, key=key, role="pruned", name=_name(student, settings),
            architecture=architecture, meter=meter,
        )  # fmt: skip
        return replace(result, notes=(*student.notes, _note(student, result, settings)))

    inputs = {
        "data": data.fingerprint,
        "student": student.fingerprint,
        "teacher": None if before else teacher.fingerprint,
        "settings": settings.model_dump(exclude=set(RECOVERING) if before else set()),
        "choice": None if choice is None else choice.fingerprint,
        "distilling": tuned.model_dump(exclude={"compare_naive", "transfer"}),
        "compute": context.compute,
    }
    recovering = student_schedule(data, tuned, context.seed)
    total = samples_of(data, tuned.epochs) + recovering.transfer * tuned.epochs
    return context.stage("prune", inputs, NetworkResult, make, total=total, unit="samples", together=True)


def start_of(
    data: PreparedData, teacher: NetworkResult, student: StudentSettings, context: RunContext
) -> NetworkResult:
    """What `student` starts from, untrained, to be thinned before it is distilled."""
    architecture = student_architecture(student, data, teacher)

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        network = start_student(architecture, student, teacher, context.seed, data).to(device)
        return network_result(
            network, data, Fit((), None, 0.0), folder=folder, key=key, role="student",
            name=student_name(student, architecture), architecture=architecture, meter=meter,
        )  # fmt: skip

    inputs = {
        "data": data.fingerprint,
        "teacher": None if student.start == "random" else teacher.fingerprint,
        "architecture": architecture,
        "student": student,
        "weights": weights_identity(student),
    }
    total = len(data.rows("test"))
    return context.stage("start", inputs, NetworkResult, make, total=total, unit="samples", title="student's start")


def _cut_once(
    network: nn.Module, data: PreparedData, student: NetworkResult, rungs: list[Rung], learning: Learning,
    settings: PruneSettings, meter: Meter, folder: Path,
) -> Cut:  # fmt: skip
    """`network`, which was taken down to the last of `rungs`, trained again."""
    architecture, device = rungs[-1].architecture, device_of(network)
    network = _rebuilt(network, architecture).to(device)
    return network, architecture, fit(network, data, *learning, meter, folder)


def _cut_gradually(
    network: nn.Module, data: PreparedData, student: NetworkResult, rungs: list[Rung], learning: Learning,
    settings: PruneSettings, meter: Meter, folder: Path,
) -> Cut:  # fmt: skip
    """`student` anew, several cuts down to the last of `rungs`, each of what matters least then, with training between
    them. A training that was killed is found by its cut's number; the cuts themselves are made again, from the same
    weights."""
    (objective, schedule), device = learning, device_of(network)
    network, architecture = load_network(student), dict(student.architecture)
    outcome = Fit((), None, student.validation_accuracy)
    trained = epochs_between(settings.steps, settings.recovery_epochs)
    for number, rung in enumerate(cutting_points(rungs, settings.steps)):
        gather_gradients(network.to(device), data, objective, schedule, settings.importance, device)
        architecture = thin_to(network, data, architecture, rung.architecture, settings, schedule.seed)
        network = _rebuilt(network, architecture).to(device)
        phase = replace(schedule, epochs=trained[number], phase=f"cut {number + 1}", begin=len(outcome.curve))
        outcome = outcome.then(fit(network, data, objective, phase, meter, folder))
    return network, architecture, outcome


def _rebuilt(network: nn.Module, architecture: dict[str, Any]) -> nn.Module:
    """Anew from its description, so that what is trained is what will be loaded."""
    thin = build_network(architecture)
    thin.load_state_dict(network.state_dict())
    return thin


def _name(student: NetworkResult, settings: PruneSettings) -> str:
    if settings.sparsity is not None:
        return f"{student.name} with {settings.sparsity:.0%} zeros"
    if settings.goal is None:
        return f"{student.name} pruned to {settings.layers} layer{'s' if settings.layers != 1 else ''}"
    goal, asked = settings.goal
    if goal == "macs":
        return f"{student.name} pruned to {100 * asked:g}%"
    return (
        f"{student.name} pruned to "
        + {
            "params": f"{100 * asked:g}% of its parameters",
            "latency": f"{100 * asked:g}% of its latency",
            "size_mb": f"{asked:g} MB",
        }[goal]
    )


def _note(before: NetworkResult, after: NetworkResult, settings: PruneSettings) -> str:
    macs = f"{before.macs:,} -> {after.macs:,}" if before.macs and after.macs else "unknown"
    done = f"parameters {before.parameters:,} -> {after.parameters:,}, multiply-accumulates {macs}"
    if settings.sparsity is not None:
        done = f"{settings.sparsity:.0%} of the weights of its 1x1 convolutions are zero"
    if settings.when == "before":
        return f"{done}, pruned before it was distilled"
    return f"{done}, accuracy {100 * before.accuracy.value:.2f}% -> {100 * after.accuracy.value:.2f}%"
