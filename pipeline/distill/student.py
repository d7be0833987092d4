"""Students trained: distilled from the teacher, and naive beside it (same start, same training, labels
only)."""

from pathlib import Path
from typing import Literal

from pipeline.context import RunContext
from pipeline.distill.losses import guided_loss, label_loss, student_schedule, teacher_logits
from pipeline.distill.start import start_student
from pipeline.progress import Meter
from pipeline.recipe import DistillSettings, StudentSettings
from pipeline.results import CacheResult, NetworkResult, PreparedData
from pipeline.student import student_architecture, student_name
from pipeline.training import Loss, fit, network_result, prepare_torch, samples_of
from pipeline.weights import weights_identity

OF_SOFT_TARGETS = {"mode", "temperature", "alpha"}  # settings that a naive student does not know


def distill(
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult | None,
    student: StudentSettings,
    settings: DistillSettings,
    context: RunContext,
) -> NetworkResult:
    """The student trained on labels and the teacher's soft targets; `cache` may be None in mode `online`."""
    return _train("student", data, teacher, cache, student, settings, context)


def train_naive(
    data: PreparedData,
    teacher: NetworkResult,
    student: StudentSettings,
    settings: DistillSettings,
    context: RunContext,
) -> NetworkResult:
    """The same student from the same start, trained in the same way on labels alone."""
    return _train("naive", data, teacher, None, student, settings, context)


def _train(
    role: Literal["student", "naive"],
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult | None,
    student: StudentSettings,
    settings: DistillSettings,
    context: RunContext,
) -> NetworkResult:
    architecture = student_architecture(student, data, teacher)

    def make(folder: Path, key: str, meter: Meter) -> NetworkResult:
        device = prepare_torch(context)
        network = start_student(architecture, student, teacher, context.seed).to(device)
        loss: Loss = label_loss
        if role == "student":
            loss = guided_loss(teacher_logits(data, teacher, cache, settings, device), settings)
        outcome = fit(network, data, loss, student_schedule(data, settings, context.seed), meter, folder)
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
        "settings": settings.model_dump(exclude={"compare_naive", *(OF_SOFT_TARGETS if naive else ())}),
    }
    total = samples_of(data, settings.epochs)
    title = "naive student" if naive else "distil"
    return context.stage(role, inputs, NetworkResult, make, total=total, unit="samples", title=title)


def _notes(student: StudentSettings) -> tuple[str, ...]:
    if student.start == "random":
        return ()
    taken = "embeddings" if student.start == "embeddings" else "embeddings and evenly spread layers"
    return (f"starts from its teacher's {taken}; the word embeddings stay as they are",)
