"""Students trained: distilled from the teacher, and naive beside it (same start, same training, labels
only)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from pipeline.context import RunContext
from pipeline.distill.answers import LearnAnswers, student_schedule, teacher_answers
from pipeline.distill.cache_results import CacheResult, HiddenResult
from pipeline.distill.features import feature_guides
from pipeline.distill.hidden import RememberedTeacher, cache_hidden
from pipeline.distill.inside import FrozenTeacher, Guide, Guided, frozen_teacher
from pipeline.distill.layers import layer_guide
from pipeline.distill.start import start_student
from pipeline.networks import example_inputs, load_network
from pipeline.progress import Meter
from pipeline.results import EpochRecord, NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import StudentSettings
from pipeline.student import embedding_width, student_architecture, student_name
from pipeline.students.adapt import forms_of
from pipeline.training.checkpoint import changing
from pipeline.training.fit import Fit, fit, network_result, prepare_torch, samples_of
from pipeline.training.labels import learn_labels
from pipeline.training.schedule import Objective, Schedule
from pipeline.weights import weights_identity

# Settings that a naive student does not know.
OF_THE_TEACHER = frozenset(
    {"mode", "refresh", "cache", "ahead", "loss", "temperature", "alpha", "features", "layers", "transfer_per_epoch"}
)
# Settings that are no part of a student's fingerprint: others' results, and what the data's fingerprint tells.
TOLD_ELSEWHERE = frozenset({"compare_naive", "assistants", "transfer"})

Phase = tuple[Objective, Schedule]


def distill(
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult | None,
    student: StudentSettings,
    settings: DistillSettings,
    context: RunContext,
    role: Literal["student", "assistant"] = "student",
    start: NetworkResult | None = None,
) -> NetworkResult:
    """The student trained on labels and what the teacher knows, of `data`'s transfer set on the latter alone; `cache`
    may be None in mode `online`. An assistant is a student that will teach the next one. `start`: the network to begin
    with, where it is not the one that `student` describes, but a thinner one."""

    hidden = None
    if settings.cache.hidden:
        architecture = start.architecture if start else student_architecture(student, data, teacher)
        hidden = cache_hidden(data, teacher, architecture, settings, context)

    def phases(network: nn.Module, device: torch.device) -> list[Phase]:
        inside = frozen_teacher(teacher, device) if settings.features or settings.layers is not None else None
        loaded = None if inside is None else inside.network
        answers = teacher_answers(data, teacher, cache, settings, device, context.seed, loaded)
        learn = LearnAnswers(settings, answers)
        first, objective = _look_inside(learn, network, data, inside, hidden, settings, context.seed, device)
        return first + _phases(objective, student_schedule(data, settings, context.seed, answers), settings)

    return _train(role, data, teacher, student, settings, phases, context, start)


def train_naive(
    data: PreparedData,
    teacher: NetworkResult,
    student: StudentSettings,
    settings: DistillSettings,
    context: RunContext,
    start: NetworkResult | None = None,
) -> NetworkResult:
    """The same student from the same start, trained in the same way on labels alone; `data` has no transfer set."""

    def phases(network: nn.Module, device: torch.device) -> list[Phase]:
        learn = learn_labels(settings.regularization, settings.label_smoothing)
        return _phases(learn, student_schedule(data, settings, context.seed), settings)

    return _train("naive", data, teacher, student, settings, phases, context, start)


def _look_inside(
    answers: Objective,
    network: nn.Module,
    data: PreparedData,
    teacher: FrozenTeacher | None,
    hidden: HiddenResult | None,
    settings: DistillSettings,
    seed: int,
    device: torch.device,
) -> tuple[list[Phase], Objective]:
    """The phase that learns from layers alone (Jiao et al. 2020, section 4.1) where there is one, and the answers'
    objective with the losses of features and layers that join it. Both phases go on with the same projections. With
    `hidden` the teacher is looked at once, to see that its modules and the student's go together, and not in training.
    """
    layers = settings.layers
    if teacher is None:
        return [], answers
    example = tuple(tensor.to(device) for tensor in example_inputs(data))
    looked_at = teacher if hidden is None else RememberedTeacher(hidden, data)
    guides: list[tuple[float, Guide]] = [*feature_guides(settings.features, network, teacher, example)]
    first: list[Phase] = []
    if layers is not None:
        guide = layer_guide(layers, network, teacher)
        if layers.weight:
            guides.append((layers.weight, guide))
        if layers.epochs:
            schedule = student_schedule(data, settings, seed)
            alone = replace(
                schedule,
                epochs=layers.epochs,
                learning_rate=layers.learning_rate or schedule.learning_rate,
                seed=seed + 2,
                regularization=settings.regularization.model_copy(update={"patience": None}),  # no answers to judge yet
                keep="last",
                phase="layers",
            )
            first.append((Guided(None, [(1.0, guide)], looked_at), alone))
    return first, Guided(answers, guides, looked_at) if guides else answers


def total_epochs(settings: DistillSettings, naive: bool) -> int:
    """Epochs of all phases of a student's training."""
    first = settings.layers.epochs if settings.layers is not None and not naive else 0
    return first + settings.epochs + settings.hard_label_epochs


def _phases(answers: Objective, schedule: Schedule, settings: DistillSettings) -> list[Phase]:
    """Learning from the answers, then from hard labels alone where the settings ask for it."""
    phases = [(answers, schedule)]
    if settings.hard_label_epochs:
        tail = replace(
            schedule,
            epochs=settings.hard_label_epochs,
            phase="hard labels",
            seed=schedule.seed + 1,
            choose_views=None,
            transfer=0,
        )
        phases.append((learn_labels(settings.regularization, settings.label_smoothing), tail))
    return phases


def _train(
    role: Literal["student", "assistant", "naive"],
    data: PreparedData,
    teacher: NetworkResult,
    student: StudentSettings,
    settings: DistillSettings,
    phases: Callable[[nn.Module, torch.device], list[Phase]],
    context: RunContext,
    start: NetworkResult | None,
) -> NetworkResult:
    architecture = start.architecture if start else student_architecture(student, data, teacher)
    name = start.name if start else student_name(student, architecture)
    notes = (*_notes(student, architecture, teacher, role), *_transfer_notes(data, settings))
    if start:
        notes = (*start.notes, *notes)

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        begun = load_network(start) if start else start_student(architecture, student, teacher, context.seed, data)
        network = begun.to(device)
        told = [(learn, replace(plan, compute=context.compute)) for learn, plan in phases(network, device)]
        outcome = _fit_phases(network, data, told, meter, folder)
        return network_result(
            network, data, outcome, folder=folder, key=key, role=role, name=name, architecture=architecture,
            meter=meter, notes=notes,
        )  # fmt: skip

    naive, schedule = role == "naive", student_schedule(data, settings, context.seed)
    inputs = {
        "data": data.fingerprint,
        "teacher": None if naive and student.start == "random" else teacher.fingerprint,
        "architecture": architecture,
        "student": student,
        "weights": weights_identity(student),
        "views": schedule.views,
        "start": start.fingerprint if start else None,
        "compute": context.compute,
        "settings": settings.model_dump(exclude={*TOLD_ELSEWHERE, *(OF_THE_TEACHER if naive else ())}),
    }
    epochs = total_epochs(settings, naive)
    total = samples_of(data, epochs) + schedule.transfer * (epochs - settings.hard_label_epochs)
    titles = {"naive": "naive student", "assistant": f"assistant {student_name(student, architecture)}"}
    title = titles.get(role, "distil")
    return context.stage(role, inputs, NetworkResult, make, total=total, unit="samples", title=title, together=True)


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


def _notes(
    student: StudentSettings, architecture: dict[str, Any], teacher: NetworkResult, role: str
) -> tuple[str, ...]:
    notes = []
    if "config" not in architecture and student.start != "random":
        notes.append(f"starts as its teacher, {100 * teacher.accuracy.value:.2f}% on the test split")
    elif student.start != "random":
        taken = _taken(student, architecture, teacher)
        notes.append(f"starts from its teacher's {taken}; the word embeddings stay as they are")
    for operator, form in forms_of(student.adapt).items():
        notes.append(f"{operator} became {form} before the training")
    if role != "naive" and teacher.role == "assistant":
        notes.append(f"learned from assistant {teacher.name}, {100 * teacher.accuracy.value:.2f}% on the test split")
    return tuple(notes)


def _transfer_notes(data: PreparedData, settings: DistillSettings) -> tuple[str, ...]:
    count = len(data.rows("transfer"))
    if not count:
        return ()
    some = f", {settings.transfer_per_epoch:,} an epoch" if (settings.transfer_per_epoch or count) < count else ""
    return (f"learned its teacher's answers to {count:,} samples without labels, too{some}",)


def _taken(student: StudentSettings, architecture: dict[str, Any], teacher: NetworkResult) -> str:
    taken = "embeddings"
    if student.start == "layers" and student.from_layers is None:
        taken += " and evenly spread layers"
    elif student.start == "layers":
        taken += f" and layers {', '.join(map(str, student.from_layers or ()))}"
    before, after = (embedding_width(cast(Any, part["config"])) for part in (teacher.architecture, architecture))
    return taken if before == after else f"{taken}, narrowed from {before} to {after}"
