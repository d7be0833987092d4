"""Students trained: distilled from the teacher, and naive beside it (same start, same training, labels
only)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from pipeline.checkpoint import changing
from pipeline.context import RunContext
from pipeline.distill.answers import learn_answers, student_schedule, teacher_answers
from pipeline.distill.start import start_student
from pipeline.labels import learn_labels
from pipeline.progress import Meter
from pipeline.recipe import DistillSettings, StudentSettings
from pipeline.results import CacheResult, EpochRecord, NetworkResult, PreparedData
from pipeline.student import student_architecture, student_name
from pipeline.training import Fit, Objective, Schedule, fit, network_result, prepare_torch, samples_of
from pipeline.weights import weights_identity

# Settings that a naive student does not know.
OF_THE_TEACHER = frozenset({"mode", "loss", "temperature", "alpha", "features", "layers"})

Phase = tuple[Objective, Schedule]


def distill(
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult | None,
    student: StudentSettings,
    settings: DistillSettings,
    context: RunContext,
) -> NetworkResult:
    """The student trained on labels and what the teacher knows; `cache` may be None in mode `online`."""

    def phases(network: nn.Module, device: torch.device) -> list[Phase]:
        answers = learn_answers(settings, teacher_answers(data, teacher, cache, settings, device))
        return _phases(answers, data, settings, context.seed)

    return _train("student", data, teacher, student, settings, phases, context)


def train_naive(
    data: PreparedData,
    teacher: NetworkResult,
    student: StudentSettings,
    settings: DistillSettings,
    context: RunContext,
) -> NetworkResult:
    """The same student from the same start, trained in the same way on labels alone."""

    def phases(network: nn.Module, device: torch.device) -> list[Phase]:
        return _phases(learn_labels(settings.regularization, settings.label_smoothing), data, settings, context.seed)

    return _train("naive", data, teacher, student, settings, phases, context)


def total_epochs(settings: DistillSettings, naive: bool) -> int:
    """Epochs of all phases of a student's training."""
    first = settings.layers.epochs if settings.layers is not None and not naive else 0
    return first + settings.epochs + settings.hard_label_epochs


def _phases(answers: Objective, data: PreparedData, settings: DistillSettings, seed: int) -> list[Phase]:
    """Learning from the answers, then from hard labels alone where the settings ask for it."""
    schedule = student_schedule(data, settings, seed)
    phases = [(answers, schedule)]
    if settings.hard_label_epochs:
        tail = replace(schedule, epochs=settings.hard_label_epochs, phase="hard labels", seed=seed + 1)
        phases.append((learn_labels(settings.regularization, settings.label_smoothing), tail))
    return phases


def _train(
    role: Literal["student", "naive"],
    data: PreparedData,
    teacher: NetworkResult,
    student: StudentSettings,
    settings: DistillSettings,
    phases: Callable[[nn.Module, torch.device], list[Phase]],
    context: RunContext,
) -> NetworkResult:
    architecture = student_architecture(student, data, teacher)

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        network = start_student(architecture, student, teacher, context.seed).to(device)
        outcome = _fit_phases(network, data, phases(network, device), meter, folder)
        return network_result(
            network, data, outcome, folder=folder, key=key, role=role, name=student_name(student, architecture),
            architecture=architecture, meter=meter, notes=_notes(student),
        )  # fmt: skip

    naive = role == "naive"
    inputs = {
        "data": data.fingerprint,
        "teacher": None if naive and student.start == "random" else teacher.fingerprint,
        "architecture": architecture,
        "student": student,
        "weights": weights_identity(student),
        "settings": settings.model_dump(exclude={"compare_naive", *(OF_THE_TEACHER if naive else ())}),
    }
    total = samples_of(data, total_epochs(settings, naive))
    title = "naive student" if naive else "distil"
    return context.stage(role, inputs, NetworkResult, make, total=total, unit="samples", title=title)


def _fit_phases(network: nn.Module, data: PreparedData, phases: list[Phase], meter: Meter, folder: Path) -> Fit:
    """One phase after the other, each from the weights that the one before kept. A later phase that ends worse on
    the validation split than what it began with is undone."""
    curve: list[EpochRecord] = []
    kept: Fit | None = None
    for objective, schedule in phases:
        before = {name: tensor.clone() for name, tensor in changing(network).items()}
        found = fit(network, data, objective, schedule, meter, folder)
        done = len(curve)
        curve += [replace(record, epoch=record.epoch + done) for record in found.curve]
        if kept is not None and found.validation_accuracy < kept.validation_accuracy:
            network.load_state_dict(before, strict=False)
            continue
        best = None if found.best_epoch is None else found.best_epoch + done
        kept = Fit((), best, found.validation_accuracy) if schedule.keep == "best" else None
    assert kept is not None, "the last phase keeps its best epoch"
    return replace(kept, curve=tuple(curve))


def _notes(student: StudentSettings) -> tuple[str, ...]:
    if student.start == "random":
        return ()
    taken = "embeddings" if student.start == "embeddings" else "embeddings and evenly spread layers"
    return (f"starts from its teacher's {taken}; the word embeddings stay as they are",)
