"""Carries a plan out: one stage after the other, work shared between targets done once, one bundle a target."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline import scale
from pipeline.aware.repair import repair
from pipeline.aware.train import train_aware
from pipeline.bundle import write_bundle
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.data.texts import same_pieces
from pipeline.data.transfer import add_transfer
from pipeline.distill.cache import cache_teacher
from pipeline.distill.chain import guide_of
from pipeline.distill.exported import export_cache, refuse_unexportable
from pipeline.distill.stored import stored_teacher
from pipeline.distill.student import distill, train_naive
from pipeline.errors import InputError
from pipeline.explanation.explain import explain
from pipeline.export.metadata import add_metadata
from pipeline.export.onnx import export_onnx
from pipeline.export.tflite import export_tflite
from pipeline.gate import Verdict, decide
from pipeline.latency import measure_latency
from pipeline.plan import FilePlan, Plan, TargetPlan
from pipeline.progress import Reporter
from pipeline.prune import prune
from pipeline.quantize.calibrate import calibrate
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.tflite import quantize_tflite
from pipeline.recipe import Recipe
from pipeline.report.record import make_report
from pipeline.results import ExplainResult, ExportedFile, NetworkResult, PreparedData, RunResult, TargetFile
from pipeline.settings.teacher import TeacherSettings
from pipeline.store import Store
from pipeline.teacher import teach, teacher_tokenizer
from pipeline.teachers.ensemble import combine_teachers
from pipeline.teachers.inference import for_inference
from pipeline.training.compute import refuse_unfit
from pipeline.training.tracking import track
from pipeline.validate import validate
from pipeline.vocabulary import trim_vocabulary
from targets.machine import describe_machine
from targets.profile import ExportSettings
from targets.runtimes.base import operators


@dataclass(frozen=True)
class Release:
    """What one target got."""

    target: str
    bundle: Path
    report: dict
    verdict: Verdict


@dataclass(frozen=True)
class Networks:
    """What all targets share. `data` is as the student reads it that is exported, `teacher_data` as every other network
    reads it; they are two where the vocabulary was trimmed."""

    data: PreparedData
    teacher_data: PreparedData
    teacher: NetworkResult
    teacher_onnx_bytes: int
    naive: NetworkResult | None
    students: tuple[NetworkResult, ...]  # as distilled, then as pruned, then with fewer word pieces
    int8: NetworkResult | None = None  # what static INT8 files are made of, where it is not the student
    explanation: ExplainResult | None = None

    @property
    def student(self) -> NetworkResult:
        return self.students[-1]


def run(plan: Plan, out: Path, reporter: Reporter, *, latency: bool = True) -> list[Release]:
    """Runs `plan` and writes `out/<recipe>/<target>/` for each target. Results that `out/.store` has are reused.

    `latency=False` leaves the clock out: every byte of the bundles then follows from recipe, seed and machine.
    Of several processes all train, and process 0 makes the releases; the others return none. `out` must be a folder
    that all of them see. Raises InputError and TargetError for what is wrong with the input; nothing made before is
    lost.
    """
    recipe = plan.recipe
    with _only_run_in(out):
        refuse_unfit(recipe.compute)
        curves = track(recipe.tracking, recipe.name, out, reporter) if scale.first() else None
        context = RunContext(
            Store(out / ".store"), reporter, recipe.seed, recipe.threads, curves=curves, compute=recipe.compute
        )
        networks = train(recipe, context, plan.targets)
        releases = []
        if scale.first():
            with scale.apart():
                releases = [release(recipe, target, networks, out, context, latency) for target in plan.targets]
        scale.from_first(None)  # the others wait until all is made
        return releases


def train(recipe: Recipe, context: RunContext, targets: Sequence[TargetPlan] = ()) -> Networks:
    """Data, teacher, student: what the targets share. A student of its own for 8 bits is for static INT8 alone."""
    data, members, teacher = teach_all(recipe, context)
    teacher_bytes = _float_bytes(recipe, data, members, context)
    shown = add_transfer(data, recipe.distill.transfer, context)
    guide, cache = guide_of(shown, teacher, recipe.distill, context)
    student = distill(shown, guide, cache, recipe.student, recipe.distill, context)
    naive = train_naive(data, guide, recipe.student, recipe.distill, context) if recipe.distill.compare_naive else None
    students: tuple[NetworkResult, ...] = (student,)
    if recipe.prune.macs < 1:
        students += (prune(shown, student, guide, cache, recipe.prune, recipe.distill, context),)
    read = data
    if recipe.text.vocabulary == "task":
        read, trimmed = trim_vocabulary(data, students[-1], recipe.text, context)
        students += (trimmed,)
    int8 = None
    if any(target.quantization.static for target in targets):
        if recipe.quantize.aware is not None:
            int8 = train_aware(shown, students[-1], guide, cache, recipe.quantize.aware, recipe.distill, context)
        elif recipe.quantize.correct_biases:
            int8 = repair(data, students[-1], context)
    why = explain(data, read, teacher, students[-1], recipe.explain, context) if recipe.explain else None
    return Networks(read, data, teacher, teacher_bytes, naive, students, int8, why)


def export_answers(recipe: Recipe, folder: Path, out: Path, reporter: Reporter) -> Path:
    """Writes the teacher's cached answers into `folder`, for students that are distilled elsewhere. Results that
    `out/.store` has are reused. Raises InputError for what is wrong with the input, and for recipes whose teacher is
    asked while the student learns."""
    refuse_unexportable(recipe)
    with _only_run_in(out):
        context = RunContext(Store(out / ".store"), reporter, recipe.seed, recipe.threads)
        data, members, teacher = teach_all(recipe, context)
        cache = cache_teacher(data, teacher, recipe.distill, context)
        return export_cache(data, teacher, cache, _float_bytes(recipe, data, members, context), recipe, context, folder)


def teach_all(recipe: Recipe, context: RunContext) -> tuple[PreparedData, list[NetworkResult], NetworkResult]:
    """The data, its teachers, and the one network that they are together."""
    tokenizer = _shared_tokenizer(recipe) if recipe.task == "text-classification" else None
    data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, tokenizer, context)
    if recipe.teacher.stored:
        teacher = stored_teacher(data, recipe.teacher)
        return data, [teacher], teacher
    members = [
        teach(data, settings, context, _own_data(settings, data, recipe, tokenizer, context))
        for settings in recipe.teachers.values()
    ]
    if recipe.ensemble:
        return data, members, for_inference(data, combine_teachers(data, members, recipe, context), context)
    teacher = for_inference(data, members[0], context)
    return data, [teacher], teacher


def _own_data(
    settings: TeacherSettings, data: PreparedData, recipe: Recipe, tokenizer: Path | str | None, context: RunContext
) -> PreparedData | None:
    """What a teacher of another domain learns from; None for one that learns from `data`."""
    if settings.data is None:
        return None
    return prepare(settings.data, recipe.task, recipe.image, recipe.text, tokenizer, context, beside=data)


def _float_bytes(recipe: Recipe, data: PreparedData, teachers: Sequence[NetworkResult], context: RunContext) -> int:
    """Size of the teachers' float32 ONNX files, or of the files that they are or were elsewhere."""
    length = recipe.text.sequence_length if recipe.task == "text-classification" else None
    total = 0
    for teacher in teachers:
        if "bytes" in teacher.architecture:
            total += int(str(teacher.architecture["bytes"]))
        elif teacher.inference_file is not None:
            total += teacher.inference_file.stat().st_size
        else:
            total += export_onnx(data, teacher, ExportSettings().opset, length, context).bytes
    return total


def _shared_tokenizer(recipe: Recipe) -> Path | str:
    """The one tokenizer of all teachers. Raises InputError if they have different ones."""
    first = teacher_tokenizer(recipe.teacher)
    for name, settings in recipe.teachers.items():
        other = teacher_tokenizer(settings)
        if other != first and not same_pieces(first, other):
            raise InputError(
                f"{name}: {settings.model} reads other word pieces than {recipe.teacher.model}; teachers of one "
                "ensemble must share a tokenizer"
            )
    return first


def release(
    recipe: Recipe, target: TargetPlan, networks: Networks, out: Path, context: RunContext, latency: bool
) -> Release:
    """Export, quantize, validate, measure, gate and bundle for one target."""
    context.reporter.say(f"[bold]{target.profile.id}[/bold]")
    files = [file for plan in target.files for file in press(recipe, target, plan, networks, context, latency)]
    result = RunResult(
        target.profile.id, networks.data, networks.teacher, networks.teacher_onnx_bytes, networks.naive,
        networks.students, tuple(files), explanation=networks.explanation,
        int8=networks.int8 if target.quantization.static else None,
    )  # fmt: skip
    report = make_report(result, recipe, target.profile, target.budgets)
    verdict = decide(report)
    folder = out / recipe.name / target.profile.id
    bundle = write_bundle(result, recipe, target.profile, report, verdict, folder)
    return Release(target.profile.id, bundle, report, verdict)


def press(
    recipe: Recipe, target: TargetPlan, plan: FilePlan, networks: Networks, context: RunContext, latency: bool
) -> list[TargetFile]:
    """The float32 file and the file that ships, each validated and timed by the runtime that will run it."""
    *_, shipped = files = make_files(recipe, target, plan, networks, context)
    judged = []
    for file in files:
        accuracy = validate(file, networks.data, networks.student, plan.options, context)
        timed = (
            measure_latency(file, networks.data, plan.options, target.profile.measure, target.budgets, context)
            if latency
            else None
        )
        judged.append(TargetFile(file, accuracy, timed, shipped=file is shipped))
    return judged


def make_files(
    recipe: Recipe, target: TargetPlan, plan: FilePlan, networks: Networks, context: RunContext
) -> list[ExportedFile]:
    """The student's float32 file, and last the one that ships where that is another, with their metadata."""
    exported = _export(target, plan, networks.student, networks.data, context)
    quantized = _quantize(recipe, target, plan, networks, context)
    description = recipe.description or f"{recipe.name}: {recipe.task}"
    files = dict.fromkeys((exported, quantized))
    named = [add_metadata(file, networks.data, recipe.name, description, context) for file in files]
    for file in named:
        _refuse_banned(file, target, plan)
    return named


def _export(
    target: TargetPlan, plan: FilePlan, student: NetworkResult, data: PreparedData, context: RunContext
) -> ExportedFile:
    if plan.format == "onnx":
        return export_onnx(data, student, target.profile.export.opset, target.sequence_length, context)
    return export_tflite(data, student, target.sequence_length, context)


def _quantize(
    recipe: Recipe, target: TargetPlan, plan: FilePlan, networks: Networks, context: RunContext
) -> ExportedFile:
    scheme, data, student, calibration = target.quantization, networks.data, networks.student, None
    if scheme.static:
        student = networks.int8 or student
        onnx = export_onnx(data, student, target.profile.export.opset, target.sequence_length, context)
        calibration = calibrate(
            onnx, data, student, networks.teacher, networks.teacher_data, recipe.calibration, context
        )
    exported = _export(target, plan, student, data, context)
    if plan.format == "onnx":
        isa = target.profile.isa or describe_machine().isa  # a profile of any host names none
        return quantize_onnx(exported, data, scheme, calibration, isa, context)
    return quantize_tflite(exported, data, scheme, calibration, context)


def _refuse_banned(file: ExportedFile, target: TargetPlan, plan: FilePlan) -> None:
    """What the exporter made of the network may hold an operator that the student's family does not name."""
    found = operators(file.file, plan.runtime.name)
    banned = sorted(set(found) & set(target.profile.export.banned_ops))
    if banned:
        counted = ", ".join(f"{found[name]} {name}" for name in banned)
        reason = target.profile.export.banned_reason or "its profile bans them"
        raise InputError(
            f"{plan.name} holds {counted}, which target {target.profile.id} must not see ({reason}): "
            "choose another student.family"
        )


@contextmanager
def _only_run_in(out: Path) -> Iterator[None]:
    """One run at a time in a folder. Raises InputError if another holds it or it can't be written, or if it is not the
    same folder for all processes of the run."""
    if not scale.first():
        scale.check_shared(out)
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{out}: another run writes here; wait for it or give --out another folder") from None
    except OSError as error:
        raise InputError(f"{out}: can't be written: {error.strerror or error}; give --out another folder") from None
    try:
        scale.check_shared(out)
        yield
    finally:
        lock.release()
