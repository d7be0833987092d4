"""What one target gets of the networks that all share: its files judged by the runtime that will run them, gated and
bundled."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.bundle import write_bundle
from pipeline.context import RunContext
from pipeline.coverage import cover, time_operators
from pipeline.delegates import cover_by_table
from pipeline.emulate import emulate, predicted_latency
from pipeline.files import Networks, StaticScheme, make_files, parts_of, plain_files, static_scheme
from pipeline.gate import Verdict, decide
from pipeline.latency import measure_latency
from pipeline.plan import FilePlan, TargetPlan
from pipeline.prune_goal import measure_pace
from pipeline.quantize.mixed_cost import measure_mixed
from pipeline.quantize.mixed_results import MixedCosts
from pipeline.recipe import Recipe
from pipeline.report.record import make_report
from pipeline.results import ExportedFile, RunResult, TargetFile
from pipeline.validate import validate


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
    result = RunResult(
        target.profile.id, networks.data, networks.teacher, networks.teacher_onnx_bytes, networks.naive,
        networks.students, tuple(files), explanation=networks.explanation,
        int8=networks.int8_for(target.quantization), sensitivity=static.sensitivity if static else None,
        mixed=static.mixed if static else None,
        mixed_costs=_mixed_costs(target, networks, static, context) if static and _timed(target, latency) else (),
        start=networks.start, pruning=networks.pruning,
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
    judged, profile, timing = [], target.profile, _timed(target, latency)
    for file in files:
        accuracy = validate(file, networks.data, networks.student, plan.options, context)
        timed = (
            measure_latency(file, networks.data, plan.options, profile.measure, target.budgets, context)
            if timing
            else None
        )
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
