"""Carries a plan out: one stage after the other, work shared between targets done once, one bundle a target."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline import scale
from pipeline.aware.repair import repair
from pipeline.aware.rounding import GRANULARITIES, Granularity
from pipeline.aware.train import train_aware
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.data.texts import same_pieces
from pipeline.data.transfer import add_transfer
from pipeline.distill.cache import cache_teacher
from pipeline.distill.chain import guide_of
from pipeline.distill.exported import export_cache, refuse_unexportable
from pipeline.distill.stored import stored_teacher
from pipeline.distill.student import distill, train_naive
from pipeline.emulated.emulate import refuse_unready
from pipeline.errors import InputError
from pipeline.explanation.explain import explain
from pipeline.export.onnx import export_onnx
from pipeline.files import Networks, plain_files
from pipeline.plan import Plan, TargetPlan
from pipeline.progress import Reporter
from pipeline.provenance.sbom import require_cyclonedx
from pipeline.prune import start_of
from pipeline.pruned import prune_for
from pipeline.recipe import Recipe
from pipeline.release import Release, release
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.teacher import TeacherSettings
from pipeline.store import Store
from pipeline.teacher import teach, teacher_tokenizer
from pipeline.teachers.ensemble import combine_teachers
from pipeline.teachers.inference import for_inference
from pipeline.training.compute import refuse_unfit
from pipeline.training.tracking import track
from pipeline.vocabulary import trim_vocabulary
from targets.profile import ExportSettings


def run(plan: Plan, out: Path, reporter: Reporter, *, latency: bool = True) -> list[Release]:
    """Runs `plan` and writes `out/<recipe>/<target>/` for each target. Results that `out/.store` has are reused.

    `latency=False` leaves the clock out: every byte of the bundles then follows from recipe, seed and machine.
    Of several processes all train, and process 0 makes the releases; the others return none. `out` must be a folder
    that all of them see. Raises InputError and TargetError for what is wrong with the input; nothing made before is
    lost.
    """
    recipe = plan.recipe
    if not latency and recipe.prune.latency < 1:
        raise InputError("prune.latency needs the clock: run without --no-latency, or prune by macs or params")
    if latency and any(target.emulated for target in plan.targets):
        refuse_unready()
    require_cyclonedx()
    with _only_run_in(out):
        refuse_unfit(recipe.compute)
        curves = track(recipe.tracking, recipe.name, out, reporter) if scale.first() else None
        context = RunContext(
            Store(out / ".store"), reporter, recipe.seed, recipe.threads, curves=curves, compute=recipe.compute
        )
        networks: dict[str, Networks] = {}
        for group in plan.sharing:
            trained = train(recipe, context, group)
            networks |= {target.profile.id: trained for target in group}
        releases = []
        if scale.first():
            with scale.apart():
                releases = [
                    release(recipe, target, networks[target.profile.id], out, context, latency)
                    for target in plan.targets
                ]
        scale.from_first(None)  # the others wait until all is made
        return releases


def train(recipe: Recipe, context: RunContext, targets: Sequence[TargetPlan] = ()) -> Networks:
    """Data, teacher, student: what the targets share. A student of its own for 8 bits is for static INT8 alone; where
    pruning has a goal that files tell, `targets` are some whose files tell the same."""
    data, members, teacher = teach_all(recipe, context)
    teacher_bytes = _float_bytes(recipe, data, members, context)
    shown = add_transfer(data, recipe.distill.transfer, context)
    guide, cache = guide_of(shown, teacher, recipe.distill, context)
    start = thin = choice = None
    files = partial(plain_files, recipe, targets, Networks(data, data, teacher, teacher_bytes, None, ()))
    if recipe.prune.prunes and recipe.prune.when == "before":
        start = start_of(data, guide, recipe.student, context)
        thin, choice = prune_for(recipe, targets, start, shown, guide, cache, files, context)
    student = distill(shown, guide, cache, recipe.student, recipe.distill, context, start=thin)
    naive = None
    if recipe.distill.compare_naive:
        naive = train_naive(data, guide, recipe.student, recipe.distill, context, thin)
    students: tuple[NetworkResult, ...] = (student,)
    if recipe.prune.prunes and recipe.prune.when == "after":
        pruned, choice = prune_for(recipe, targets, student, shown, guide, cache, files, context)
        students += (pruned,)
    read = data
    if recipe.text.vocabulary == "task":
        read, trimmed = trim_vocabulary(data, students[-1], recipe.text, context)
        students += (trimmed,)
    int8: dict[str, NetworkResult] = {}
    for weights in static_granularities(targets):
        if recipe.quantize.aware is not None:
            aware = recipe.quantize.aware
            int8[weights] = train_aware(shown, students[-1], guide, cache, aware, recipe.distill, context, weights)
        elif recipe.quantize.repairs:
            int8[weights] = repair(data, students[-1], recipe.quantize, context, weights)
    why = explain(data, read, teacher, students[-1], recipe.explain, context) if recipe.explain else None
    return Networks(read, data, teacher, teacher_bytes, naive, students, int8, why, start, choice)


def static_granularities(targets: Sequence[TargetPlan]) -> list[Granularity]:
    """Of the weight scales of static INT8 files. Weights that round by channel do not round so by tensor: what is made
    for 8 bits is made for each."""
    asked = {target.quantization.granularity for target in targets if target.quantization.static}
    return [granularity for granularity in GRANULARITIES if granularity in asked]


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
