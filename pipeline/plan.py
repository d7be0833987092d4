"""Recipe x targets, resolved before anything runs: what each target gets, what they share, what is refused."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.packages import require_extra
from pipeline.recipe import Recipe
from pipeline.results import Format
from pipeline.settings.data import DataSettings, TransferSettings
from pipeline.settings.distill import Ramp
from pipeline.student import StudentFamily, student_family
from pipeline.training.tracking import check_tracker
from targets.profile import Budgets, Profile, Quantization, Runtime, load_profile
from targets.runtimes.base import RuntimeOptions


@dataclass(frozen=True)
class FilePlan:
    """One file that ships: exported for `runtime`, quantized as the target wants."""

    runtime: Runtime
    label: str

    @property
    def format(self) -> Format:
        return self.runtime.format

    @property
    def name(self) -> str:
        return f"model.{self.label}.{self.format}"

    @property
    def options(self) -> RuntimeOptions:
        return RuntimeOptions(self.runtime.name, self.runtime.threads, self.runtime.delegate)


@dataclass(frozen=True)
class TargetPlan:
    profile: Profile
    quantization: Quantization
    budgets: Budgets  # the target's, tightened by the recipe
    sequence_length: int | None  # of the exported texts; None for images
    files: tuple[FilePlan, ...]


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    family: StudentFamily
    targets: tuple[TargetPlan, ...]


def make_plan(recipe: Recipe, names: Sequence[str]) -> Plan:
    """The plan for the targets `names` (ids or paths of profiles), or the recipe's own if none are named.

    Raises InputError or TargetError for no or unknown targets, a task or student that a target can't take.
    """
    names = tuple(names) or recipe.targets
    if not names:
        raise InputError("no target: name one with --target, or list some under 'targets' in the recipe")
    profiles = [load_profile(name) for name in dict.fromkeys(names)]
    ids = [profile.id for profile in profiles]
    if len(set(ids)) != len(ids):
        raise InputError(f"two profiles have the same id: {', '.join(ids)}; a bundle's folder is named for it")
    family = student_family(recipe.student.family, recipe.task)
    if recipe.explain is not None:
        require_extra("captum", "explain")
    if recipe.tracking is not None:
        check_tracker(recipe.tracking)
    return Plan(recipe, family, tuple(_plan_target(recipe, family, profile) for profile in profiles))


def _plan_target(recipe: Recipe, family: StudentFamily, profile: Profile) -> TargetPlan:
    quantization = profile.quantization_for(recipe.task)
    if quantization is None:
        raise InputError(f"target {profile.id} takes no models for {recipe.task}: its profile says so")
    banned = sorted(family.operators & set(profile.export.banned_ops))
    if banned:
        advice = f"use student.family: {family.alternative}" if family.alternative else "choose another student"
        reason = f" ({profile.export.banned_reason})" if profile.export.banned_reason else ""
        raise InputError(
            f"student {family.name} uses {', '.join(banned)}, which target {profile.id} bans{reason}: {advice}, "
            "or name other targets"
        )
    length = None
    if recipe.task == "text-classification":
        length = min(recipe.text.sequence_length, profile.export.max_sequence_length or recipe.text.sequence_length)
    files = tuple(FilePlan(runtime, quantization.label) for runtime in profile.runtimes)
    budgets = profile.budgets_for(recipe.task).tightened_by(recipe.budgets)
    return TargetPlan(profile, quantization, budgets, length, files)


def describe_plan(plan: Plan) -> list[tuple[str, str, str]]:
    """Rows (stage, what it will do, for which targets), shared work once."""
    recipe, every = plan.recipe, ", ".join(target.profile.id for target in plan.targets)
    distill, data = recipe.distill, recipe.data
    size = (
        f"{recipe.image.size} px" if recipe.task == "image-classification" else f"{recipe.text.sequence_length} tokens"
    )
    grouped = f", groups by {data.group_column}" if data.group_column else ""
    rows = [("data", f"{data.source}, {size}, test {data.split.test:.0%}, seed {data.split.seed}{grouped}", every)]
    for teacher in recipe.teachers.values():
        tuning = f"fine-tune {teacher.epochs} epochs" if teacher.epochs else "as it is"
        if teacher.data is not None:
            tuning += f" on data of its own, {_source(teacher.data)}"
        rows.append(("teacher", f"{teacher.model}, {tuning}", every))
    if recipe.ensemble:
        rows.append(("ensemble", f"{len(recipe.teachers)} teachers as one, {recipe.ensemble.combine}", every))
    for more in distill.transfer:
        what = f"{_source(more)}{', cut into sentences' if more.split_sentences else ''}, without labels"
        rows.append(("transfer", what + (f", at most {more.limit:,}" if more.limit else ""), every))
    if distill.mode != "online":
        kept = f"{distill.cache.dtype}, the top {distill.cache.top_k}" if distill.cache.top_k else distill.cache.dtype
        kept += ", and what features and layers look at" if distill.cache.hidden else ""
        rows.append(("cache", f"teacher's logits ({kept}) of {distill.views} view(s) of each training sample", every))
    for assistant in distill.assistants:
        size = f"x{assistant.width:g}" if recipe.task == "image-classification" else f"{assistant.layers} layers"
        rows.append(("assistant", f"{assistant.family} {size}, taught by the one before, teaches the next", every))
    shape = (
        f" x{recipe.student.width:g}" if recipe.task == "image-classification" else f", {recipe.student.layers} layers"
    )
    soft = f"{distill.mode} soft targets ({distill.loss}), {distill.epochs} epochs"
    soft += f", temperature {_figure(distill.temperature)}, alpha {_figure(distill.alpha)}"
    if distill.transfer_per_epoch is not None:
        soft += f", {distill.transfer_per_epoch:,} transfer samples an epoch"
    soft += f", the teacher up to {distill.ahead} batches ahead" if distill.ahead else ""
    rows.append(("distill", f"{plan.family.name}{shape}, {soft}", every))
    if distill.compare_naive:
        rows.append(("naive", "the same student and training without the teacher", every))
    if recipe.prune.macs < 1:
        rows.append(
            (
                "prune",
                f"to {recipe.prune.macs:.0%} of the MACs, {recipe.prune.recovery_epochs} epochs to recover",
                every,
            )
        )
    if recipe.text.vocabulary == "task":
        often = f" at least {recipe.text.least_count} times" if recipe.text.least_count > 1 else ""
        rows.append(
            ("trim", f"vocabulary: the word pieces that the training texts hold{often}, and the alphabet", every)
        )
    aware = recipe.quantize.aware
    static = [target.profile.id for target in plan.targets if target.quantization.static]
    if recipe.quantize.correct_biases and static:
        rows.append(("repair", "biases take back what 8 bits shift in the mean", ", ".join(static)))
    if aware is not None and static:
        rows.append(
            ("aware", f"{aware.epochs} epochs more in 8 bits, taught by the {aware.teacher}", ", ".join(static))
        )
    if recipe.explain is not None:
        method = recipe.explain.method.replace("_", " ")
        what = f"{method} of {recipe.explain.samples} test samples, teacher's and student's compared"
        rows.append(("explain", what, every))
    for (stage, what), ids in _shared_files(plan).items():
        rows.append((stage, what, ", ".join(dict.fromkeys(ids))))
    for target in plan.targets:
        rows.append(("gate", _describe_budgets(target.budgets), target.profile.id))
    return rows


def _source(settings: DataSettings | TransferSettings) -> str:
    chosen = ", ".join(f"{column}: {value}" for column, value in settings.where.items())
    return f"{settings.source} ({chosen})" if chosen else settings.source


def _figure(value: float | Ramp) -> str:
    return f"{value.start:g} to {value.end:g}" if isinstance(value, Ramp) else f"{value:g}"


def _shared_files(plan: Plan) -> dict[tuple[str, str], list[str]]:
    shared: dict[tuple[str, str], list[str]] = {}
    for target in plan.targets:
        length = f", {target.sequence_length} tokens" if target.sequence_length else ""
        for file in target.files:
            shared.setdefault(("export", f"{file.format} float32{length}"), []).append(target.profile.id)
    calibration = plan.recipe.calibration
    calibrated = f"{calibration.samples} training samples, {calibration.select}, {calibration.method}"
    for target in plan.targets:
        if target.quantization.static:
            shared.setdefault(("calibrate", calibrated), []).append(target.profile.id)
    for target in plan.targets:
        for file in target.files:
            if target.quantization.scheme != "float32":
                shared.setdefault(("quantize", f"{file.format} {file.label}"), []).append(target.profile.id)
    for target in plan.targets:
        for file in target.files:
            threads = f"{file.runtime.threads} thread(s)"
            where = target.profile.measure.where
            what = f"{file.name} by {file.runtime.name}, {threads}: whole test set, latency on {where}"
            shared.setdefault(("validate", what), []).append(target.profile.id)
    return shared


def _describe_budgets(budgets: Budgets) -> str:
    latency, accuracy = budgets.latency_ms, budgets.accuracy
    parts = [
        f"{name} <= {value:g} ms"
        for name, value in (("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99))
        if value is not None
    ]
    limits = (
        ("cold start <= {:g} ms", budgets.cold_start_ms),
        ("size <= {:g} MB", budgets.size_mb),
        ("memory <= {:g} MB", budgets.peak_mem_mb),
        ("accuracy >= {:.1%}", accuracy.min),
        ("drop <= {:g} points", accuracy.max_drop),
        ("agreement >= {:.0%}", accuracy.min_agreement),
        (f"drop of a group of {accuracy.min_group_size} <= {{:g}} points", accuracy.max_group_drop),
    )
    parts += [text.format(value) for text, value in limits if value is not None]
    return ", ".join(parts) or "no budgets"
