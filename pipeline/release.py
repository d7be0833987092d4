"""What one target gets of the networks that all share: its files judged by the runtime that will run them, gated and
bundled."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.bundle import write_bundle
from pipeline.context import RunContext
from pipeline.coverage import cover, time_operators
from pipeline.delegates import cover_by_table
from pipeline.emulated.emulate import emulate, predicted_latency
from pipeline.extra.core_ml import convert_to_core_ml
from pipeline.extra.executorch import export_executorch
from pipeline.extra.ort import convert_to_ort
from pipeline.files import Networks, StaticScheme, make_files, parts_of, plain_files, static_scheme
from pipeline.gate import Verdict, decide
from pipeline.latency import measure_latency
from pipeline.plan import FilePlan, TargetPlan
from pipeline.prune_goal import measure_pace
from pipeline.quantize.mixed_cost import measure_mixed
from pipeline.quantize.mixed_results import MixedCosts
from pipeline.recipe import Recipe
from pipeline.report.record import make_report
from pipeline.results import ExportedFile, FileAccuracy, LatencyFigures, RunResult, TargetFile
from pipeline.validate import validate
from targets.machine import describe_machine


@dataclass(frozen=True)
class Release:
    """What one target got."""

    target: str
    bundle: Path
    report: dict
    verdict: Verdict


def release(
    recipe: Recipe, target: TargetPlan, networks: Networks, out: Path, context: RunContext, latency: bool
) -> Release:
    """Export, quantize, validate, measure, gate and bundle for one target."""
    context.reporter.say(f"[bold]{target.profile.id}[/bold]")
    static = static_scheme(recipe, target, networks, context)
    made = make_files(recipe, target, networks, static, context)
    files = [
        judged
        for plan, group in zip(target.files, made, strict=True)
        for judged in judge(target, plan, group, networks, context, latency)
    ]
    if recipe.prune.latency < 1 and latency:
        unpruned = networks.start or networks.students[0]
        whole = plain_files(recipe, (target,), networks, unpruned, context)
        files = [measure_pace(file, whole, target.profile.measure, networks.data, context) for file in files]
    files += judge_extras(target, files, networks, context, latency)
    result = RunResult(
        target.profile.id, networks.data, networks.teacher, networks.teacher_onnx_bytes, networks.naive,
        networks.students, tuple(files), explanation=networks.explanation,
        int8=networks.int8_for(target.quantization), sensitivity=static.sensitivity if static else None,
        mixed=static.mixed if static else None,
        mixed_costs=_mixed_costs(target, networks, static, context) if static and _timed(target, latency) else (),
        start=networks.start, pruning=networks.pruning, unvalidated=not_validated(target, networks, context),
    )  # fmt: skip
    report = make_report(result, recipe, target.profile, target.budgets)
    verdict = decide(report)
    folder = out / recipe.name / target.profile.id
    bundle = write_bundle(result, recipe, target.profile, report, verdict, folder)
    return Release(target.profile.id, bundle, report, verdict)


def judge(
    target: TargetPlan,
    plan: FilePlan,
    files: list[ExportedFile],
    networks: Networks,
    context: RunContext,
    latency: bool,
) -> list[TargetFile]:
    """The float32 file and, last, the one that ships, each validated and timed by the runtime that will run it."""
    judged, timing = [], _timed(target, latency)
    for file in files:
        accuracy, timed = _validated(target, plan, file, networks, context, timing)
        covered = cover(file, plan.options, context)
        by_operator = time_operators(file, networks.data, plan.options, context) if timing else None
        by_table = cover_by_table(file, plan.runtime, context)
        found = TargetFile(file, accuracy, timed, file is files[-1], covered, by_operator, by_table)
        if found.shipped and latency and target.emulated:
            found = _emulated(found, target, plan, networks, context)
        judged.append(found)
    return judged


def _timed(target: TargetPlan, latency: bool) -> bool:
    """Whether a clock measures the target's files: an emulated core's says nothing."""
    return latency and target.profile.measure.where != "emulated"


def _emulated(
    found: TargetFile, target: TargetPlan, plan: FilePlan, networks: Networks, context: RunContext
) -> TargetFile:
    """A file that ships with what its target's emulated cores tell, in place of a clock where that is how it is
    measured."""
    profile = target.profile
    told = emulate(found.export, networks.data, plan.options, profile, context)
    guess = None
    if profile.measure.where == "emulated":
        guess = predicted_latency(found.export, told, profile, target.budgets.confidence)
    return replace(found, emulated=told, predicted=guess)


def judge_extras(
    target: TargetPlan, files: list[TargetFile], networks: Networks, context: RunContext, latency: bool
) -> list[TargetFile]:
    """The files of other formats that the profile asks for and that can be run here, judged like the others."""
    asked, made = target.profile.export.extra_formats, []
    if "ort" in asked:
        made.append(_judged_ort(target, files, networks, context, latency))
    if "executorch" in asked:
        runtime = target.profile.runtime_for("executorch")
        plan = FilePlan(runtime, target.quantization.label)
        file = export_executorch(networks.data, networks.student, target.sequence_length, context)
        timed = latency and target.profile.measure.where == "host"  # nothing takes it to a device yet
        made.append(TargetFile(file, *_validated(target, plan, file, networks, context, timed), shipped=True))
    return made


def not_validated(target: TargetPlan, networks: Networks, context: RunContext) -> tuple[ExportedFile, ...]:
    """The files that the profile asks for and that nothing here can run."""
    if "coreml" not in target.profile.export.extra_formats:
        return ()
    scheme, length = target.quantization.scheme, target.sequence_length
    return (convert_to_core_ml(networks.data, networks.student, scheme, length, context),)


def _judged_ort(
    target: TargetPlan, files: list[TargetFile], networks: Networks, context: RunContext, latency: bool
) -> TargetFile:
    onnx = next(file for file in files if file.shipped and file.export.format == "onnx")
    plan = next(plan for plan in target.files if plan.format == "onnx")
    isa = target.profile.isa or describe_machine().isa  # a profile of any host names none
    file = convert_to_ort(onnx.export, isa, context)
    accuracy, timed = _validated(target, plan, file, networks, context, _timed(target, latency))
    return TargetFile(file, accuracy, timed, True, onnx.coverage, by_table=onnx.by_table)  # the same operators


def _validated(
    target: TargetPlan, plan: FilePlan, file: ExportedFile, networks: Networks, context: RunContext, latency: bool
) -> tuple[FileAccuracy, LatencyFigures | None]:
    accuracy = validate(file, networks.data, networks.student, plan.options, context)
    if not latency:
        return accuracy, None
    measure, budgets = target.profile.measure, target.budgets
    return accuracy, measure_latency(file, networks.data, plan.options, measure, budgets, context)


def _mixed_costs(
    target: TargetPlan, networks: Networks, static: StaticScheme, context: RunContext
) -> tuple[MixedCosts, ...]:
    mixed, calibration, plan = static.mixed, static.calibration, target.profile.measure
    if mixed is None or not mixed.kept:
        return ()
    return tuple(
        measure_mixed(part, mixed, networks.data, target.quantization, calibration, plan, context)
        for part in parts_of(target, networks, context)
    )
