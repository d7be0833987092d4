"""Recipe x targets, resolved before anything runs: what each target gets, what they share, what is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.delegates import known_uncovered
from pipeline.errors import InputError
from pipeline.extra.formats import extra_names, refuse_unfit
from pipeline.packages import require_extra
from pipeline.recipe import Recipe
from pipeline.results import Format
from pipeline.settings.data import DataSettings, TransferSettings
from pipeline.settings.distill import Ramp
from pipeline.settings.prune import PruneSettings
from pipeline.settings.release import QuantizeSettings
from pipeline.slow import known_slow
from pipeline.student import StudentFamily
from pipeline.students.planned import advice_on, describe_adapted, describe_shape, planned_student
from pipeline.training.tracking import check_tracker
from targets.emulator.cores import profile_cores
from targets.place import by_target, named_tools, placed
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

    @property
    def emulated(self) -> bool:
        """Whether its files are run on its emulated cores: measured there, or held to a budget that only they tell."""
        return self.profile.measure.where == "emulated" or self.budgets.instructions_m is not None


@dataclass(frozen=True)
class Plan:
    """`recipe` as it will be carried out: `student.adapt` names operators. `family` has those that the student is left
    with."""

    recipe: Recipe
    family: StudentFamily
    targets: tuple[TargetPlan, ...]

    @property
    def sharing(self) -> tuple[tuple[TargetPlan, ...], ...]:
        """The targets by the student that they get: one for all, but where pruning has a goal that files tell, those
        together whose files tell the same."""
        if not self.recipe.prune.measured:
            return (self.targets,)
        groups: dict[str, list[TargetPlan]] = {}
        for target in self.targets:
            told = repr(sorted(pruned_for(target, self.recipe.prune).items()))
            groups.setdefault(told, []).append(target)
        return tuple(map(tuple, groups.values()))


def pruned_for(target: TargetPlan, settings: PruneSettings) -> dict[str, Any]:
    """All of `target` that decides how far a student is pruned for a goal that files tell."""
    decides: dict[str, Any] = {
        "formats": [file.format for file in target.files],
        "quantization": target.quantization,
        "opset": target.profile.export.opset,
        "sequence_length": target.sequence_length,
        "isa": target.profile.isa,
    }
    if settings.goal is not None and settings.goal[0] == "latency":
        decides |= {"options": [file.options for file in target.files], "measure": target.profile.measure}
    return decides


def make_plan(recipe: Recipe, names: Sequence[str], devices: Sequence[str] = (), tools: Sequence[str] = ()) -> Plan:
    """The plan for the targets `names` (ids or paths of profiles), or the recipe's own if none are named. `devices`
    (TARGET=ADDRESS) and `tools` (NAME=PATH) say where and with what they are measured, over what their profiles say.

    Raises InputError or TargetError for no or unknown targets, a task or student that a target can't take, and for
    settings that don't fit a student's family.
    """
    names = tuple(names) or recipe.targets
    if not names:
        raise InputError("no target: name one with --target, or list some under 'targets' in the recipe")
    profiles = [load_profile(name) for name in dict.fromkeys(names)]
    ids = [profile.id for profile in profiles]
    if len(set(ids)) != len(ids):
        raise InputError(f"two profiles have the same id: {', '.join(ids)}; a bundle's folder is named for it")
    addresses, named = by_target(devices, ids, "--device"), named_tools(tools)
    profiles = [placed(profile, addresses.get(profile.id), named) for profile in profiles]
    recipe, family = planned_student(recipe, profiles)
    _refuse_unprunable(recipe, family, profiles)
    if recipe.explain is not None:
        require_extra("captum", "explain")
    if recipe.tracking is not None:
        check_tracker(recipe.tracking)
    return Plan(recipe, family, tuple(_plan_target(recipe, family, profile) for profile in profiles))


def _refuse_unprunable(recipe: Recipe, family: StudentFamily, profiles: Sequence[Profile]) -> None:
    if not recipe.prune.prunes:
        return
    if family.kind == "text":
        raise InputError(
            f"prune thins images' networks and transformers, no {family.name}: remove it, and lower student.hidden or "
            "student.embedding"
        )
    if recipe.prune.goal is not None and recipe.prune.goal[0] == "latency":
        for profile in profiles:
            if profile.measure.where != "host":
                raise InputError(
                    f"prune.latency is measured on this host, target {profile.id} says measure.where: "
                    f"{profile.measure.where}; use prune.macs"
                )


def _plan_target(recipe: Recipe, family: StudentFamily, profile: Profile) -> TargetPlan:
    if recipe.quantize.scheme is not None:
        profile = profile.with_scheme(recipe.task, recipe.quantize.scheme)
    quantization = profile.quantization_for(recipe.task)
    if quantization is None:
        raise InputError(f"target {profile.id} takes no models for {recipe.task}: its profile says so")
    banned = sorted(family.operators & set(profile.export.banned_ops))
    if banned:
        reason = f" ({profile.export.banned_reason})" if profile.export.banned_reason else ""
        raise InputError(
            f"student {family.name} uses {', '.join(banned)}, which target {profile.id} bans{reason}: "
            f"{advice_on(family, profile)}, or name other targets"
        )
    if recipe.quantize.max_drop is not None and quantization.static:
        _refuse_float_layers(profile, quantization)
    length = None
    if recipe.task == "text-classification":
        length = min(recipe.text.sequence_length, profile.export.max_sequence_length or recipe.text.sequence_length)
    _refuse_other_levels(recipe.quantize, quantization, profile.id)
    if recipe.prune.sparsity is not None:
        _refuse_dense(profile, quantization)
    refuse_unfit(profile, quantization)
    files = tuple(FilePlan(runtime, quantization.label) for runtime in profile.runtimes)
    budgets = profile.budgets_for(recipe.task).tightened_by(recipe.budgets)
    plan = TargetPlan(profile, quantization, budgets, length, files)
    if plan.emulated:
        profile_cores(profile)  # says which of them can't be
    return plan


def _refuse_float_layers(profile: Profile, quantization: Quantization) -> None:
    if quantization.scheme != "int8-static":
        raise InputError(
            f"quantize.max_drop is for int8-static, target {profile.id} has {quantization.scheme}: remove max_drop, or "
            "name other targets"
        )
    if not quantization.allow_float_fallback:
        raise InputError(
            f"quantize.max_drop keeps layers in float, which target {profile.id} does not run (its profile says "
            "allow_float_fallback: false): remove max_drop, name other targets, or repair accuracy with "
            "quantize.correct_biases or quantize.aware"
        )


def _refuse_dense(profile: Profile, quantization: Quantization) -> None:
    """Zeros are skipped by XNNPACK's float32 kernels for ARM, and by no others that are known."""
    skipping = any(runtime.name == "litert" and runtime.delegate == "xnnpack" for runtime in profile.runtimes)
    found = {
        f"computes in {quantization.scheme}": quantization.scheme != "float32",
        "does not run LiteRT with XNNPACK": not skipping,
        f"is no ARM (its isa is {list(profile.isa)}), where zeros made nothing faster": "neon" not in profile.isa,
    }
    for what, unfit in found.items():
        if unfit:
            raise InputError(
                f"prune.sparsity: zeros are skipped by LiteRT's XNNPACK in float32 on ARM, target {profile.id} {what}: "
                "prune whole channels with macs, params, size_mb or latency, or name other targets"
                + (" (or set quantize.scheme: float32)" if quantization.scheme != "float32" else "")
            )


def _refuse_other_levels(settings: QuantizeSettings, quantization: Quantization, target: str) -> None:
    """Learned rounding puts weights on the levels of symmetric int8; a file with others would round them once more."""
    if settings.round == "nearest" or not quantization.static:
        return
    other = "onnx_weights: uint8" if quantization.onnx_weights != "int8" else "reduce_range: true"
    if quantization.onnx_weights != "int8" or quantization.reduce_range:
        raise InputError(
            f"quantize.round {settings.round} learns the 255 levels of symmetric int8, target {target} has {other}, "
            "whose levels are others: use round: nearest, or int8 weights in the target's profile"
        )


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
        size = describe_shape(assistant, recipe.task)
        rows.append(("assistant", f"{assistant.family}{size}, taught by the one before, teaches the next", every))
    shape = describe_shape(recipe.student, recipe.task)
    shape += describe_adapted(recipe.student, [target.profile for target in plan.targets])
    soft = f"{distill.mode} soft targets ({distill.loss}), {distill.epochs} epochs"
    soft += f", temperature {_figure(distill.temperature)}, alpha {_figure(distill.alpha)}"
    if distill.transfer_per_epoch is not None:
        soft += f", {distill.transfer_per_epoch:,} transfer samples an epoch"
    soft += f", the teacher up to {distill.ahead} batches ahead" if distill.ahead else ""
    rows.append(("distill", f"{plan.family.name}{shape}, {soft}", every))
    if distill.compare_naive:
        rows.append(("naive", "the same student and training without the teacher", every))
    if recipe.prune.prunes:
        for group in plan.sharing:
            rows.append(("prune", _describe_pruning(recipe.prune), ", ".join(t.profile.id for t in group)))
    if recipe.text.vocabulary == "task":
        often = f" at least {recipe.text.least_count} times" if recipe.text.least_count > 1 else ""
        rows.append(
            ("trim", f"vocabulary: the word pieces that the training texts hold{often}, and the alphabet", every)
        )
    if recipe.quantize.scheme is not None:
        rows.append(("scheme", f"{recipe.quantize.scheme}, whatever a target's profile asks for", every))
    aware = recipe.quantize.aware
    static = [target.profile.id for target in plan.targets if target.quantization.static]
    if recipe.quantize.repairs and static:
        rows.append(("repair", _describe_repairs(recipe.quantize), ", ".join(static)))
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
    for advice, ids in _known_slow(plan).items():
        rows.append(("advice", advice, ", ".join(ids)))
    for target in plan.targets:
        rows.append(("gate", _describe_budgets(target), target.profile.id))
    return rows


def _known_slow(plan: Plan) -> dict[str, list[str]]:
    """What is known before a run of files that may gain no time by their scheme or that their delegate may not take
    whole, and for which targets."""
    told: dict[str, list[str]] = {}
    for target in plan.targets:
        for file in target.files:
            scheme = target.quantization.scheme
            for advice in (
                known_slow(plan.family, file.runtime, scheme),
                known_uncovered(plan.family, file.runtime, scheme),
            ):
                if advice is not None:
                    told.setdefault(advice, []).append(target.profile.id)
    return told


def _describe_repairs(settings: QuantizeSettings) -> str:
    told = {
        "equalize": "channels fill the range that they share",
        "round": "weights learn which way to round (AdaRound)",
        "correct_biases": "biases take back what 8 bits shift in the mean",
    }
    return "; ".join(told[name] for name in settings.repairs)


def _describe_pruning(prune: PruneSettings) -> str:
    parts = [] if prune.layers is None else [f"to {prune.layers} layers"]
    if prune.sparsity is not None:
        parts.append(f"{prune.sparsity:.0%} of the weights of 1x1 convolutions to zero")
    if prune.goal is not None:
        goal, asked = prune.goal
        of = {"macs": "the MACs", "params": "the parameters", "latency": "the latency, measured"}.get(goal)
        parts.append(f"to {asked:.0%} of {of}" if of else f"to {asked:g} MB, measured")
    if prune.when == "before":
        return f"{' and '.join(parts)}, before it is distilled"
    cuts = f", in {prune.steps} steps" if prune.schedule == "gradual" else ""
    return f"{' and '.join(parts)}{cuts}, {prune.recovery_epochs} epochs to recover"


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
    static = [target.profile.id for target in plan.targets if target.quantization.static]
    if static:
        shared["calibrate", calibrated] = static
        shared |= dict.fromkeys(_accuracy_control(plan.recipe.quantize), static)
    for target in plan.targets:
        for file in target.files:
            if target.quantization.scheme != "float32":
                shared.setdefault(("quantize", f"{file.format} {file.label}"), []).append(target.profile.id)
    for target in plan.targets:
        for name in extra_names(target.profile, target.quantization.label):
            shared.setdefault(("extra", name), []).append(target.profile.id)
    for target in plan.targets:
        for file in target.files:
            threads = f"{file.runtime.threads} thread(s)"
            where = target.profile.measure.where
            latency = "no latency" if where == "emulated" else f"latency on {where}"
            what = f"{file.name} by {file.runtime.name}, {threads}: whole test set, {latency}"
            shared.setdefault(("validate", what), []).append(target.profile.id)
            if target.emulated:
                cores = " and ".join(core.name for core in profile_cores(target.profile))
                told = f"{file.name} on an emulated {cores}: golden outputs, instructions"
                shared.setdefault(("emulate", told), []).append(target.profile.id)
    return shared


def _accuracy_control(settings: QuantizeSettings) -> list[tuple[str, str]]:
    rows = []
    if settings.measured is not None:
        samples = settings.measured.samples
        rows.append(("sensitivity", f"each layer alone in 8 bits, up to {samples} validation samples"))
    if settings.max_drop is not None:
        what = f"layers in float until at most {settings.max_drop:g} points below float32, whole validation split"
        rows.append(("mix", what))
    return rows


def _describe_budgets(target: TargetPlan) -> str:
    budgets, export = target.budgets, target.profile.export
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
        ("instructions <= {:g} million", budgets.instructions_m),
        ("accuracy >= {:.1%}", accuracy.min),
        ("drop <= {:g} points", accuracy.max_drop),
        ("agreement >= {:.0%}", accuracy.min_agreement),
        (f"drop of a group of {accuracy.min_group_size} <= {{:g}} points", accuracy.max_group_drop),
        *((f"{file.runtime.name} delegated >= {{:.1%}}", file.runtime.min_delegated) for file in target.files),
        ("transposes <= {}", export.max_transposes),
    )
    parts += [text.format(value) for text, value in limits if value is not None]
    parts += [f"{file.runtime.name} without fall-back" for file in target.files if not file.runtime.allow_fallback]
    return ", ".join(parts) or "no budgets"
