"""What one target gets of the networks that all share: files made, judged by the runtime that will run them, gated and
bundled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.bundle import write_bundle
from pipeline.context import RunContext
from pipeline.coverage import cover, time_operators
from pipeline.delegates import table_coverage
from pipeline.errors import InputError
from pipeline.export.metadata import add_metadata
from pipeline.export.onnx import export_onnx
from pipeline.export.tflite import export_tflite
from pipeline.gate import Verdict, decide
from pipeline.latency import measure_latency
from pipeline.plan import FilePlan, TargetPlan
from pipeline.prune_goal import measure_pace
from pipeline.pruning.timing import TimedFile
from pipeline.quantize.calibrate import calibrate
from pipeline.quantize.mixed import Part, mix_precision
from pipeline.quantize.mixed_cost import measure_mixed
from pipeline.quantize.mixed_results import MixedCosts, MixedResult, SensitivityResult
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.sensitivity import measure_sensitivity
from pipeline.quantize.tflite import quantize_tflite
from pipeline.recipe import Recipe
from pipeline.report.record import make_report
from pipeline.results import (
    Calibration,
    ExplainResult,
    ExportedFile,
    NetworkResult,
    PreparedData,
    PruningChoice,
    RunResult,
    TargetFile,
)
from pipeline.settings.release import CalibrationSettings, QuantizeSettings
from pipeline.validate import validate
from pipeline.vocabulary import trim_vocabulary
from targets.machine import describe_machine
from targets.profile import Quantization
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
    int8: Mapping[str, NetworkResult] = field(default_factory=dict)  # by granularity (`int8_for`)
    explanation: ExplainResult | None = None
    start: NetworkResult | None = None  # what was pruned, where that was not the distilled student
    pruning: PruningChoice | None = None

    @property
    def student(self) -> NetworkResult:
        return self.students[-1]

    def int8_for(self, quantization: Quantization) -> NetworkResult | None:
        """What static INT8 files are made of, where it is not the student."""
        return self.int8.get(quantization.granularity) if quantization.static else None


def release(
    recipe: Recipe, target: TargetPlan, networks: Networks, out: Path, context: RunContext, latency: bool
) -> Release:
    """Export, quantize, validate, measure, gate and bundle for one target."""
    context.reporter.say(f"[bold]{target.profile.id}[/bold]")
    files = [file for plan in target.files for file in press(recipe, target, plan, networks, context, latency)]
    if recipe.prune.latency < 1 and latency:
        unpruned = networks.start or networks.students[0]
        whole = plain_files(recipe, (target,), networks, unpruned, context)
        files = [measure_pace(file, whole, target.profile.measure, networks.data, context) for file in files]
    static = target.quantization.static
    sensitivity, mixed = control_accuracy(recipe, target, networks, context) if static else (None, None)
    result = RunResult(
        target.profile.id, networks.data, networks.teacher, networks.teacher_onnx_bytes, networks.naive,
        networks.students, tuple(files), explanation=networks.explanation,
        int8=networks.int8_for(target.quantization), sensitivity=sensitivity, mixed=mixed,
        mixed_costs=_mixed_costs(recipe, target, networks, mixed, context) if mixed and latency else (),
        start=networks.start, pruning=networks.pruning,
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
        covered = cover(file, plan.options, context)
        by_operator = time_operators(file, networks.data, plan.options, context) if latency else None
        by_table = table_coverage(file.file, plan.runtime)
        judged.append(TargetFile(file, accuracy, timed, file is shipped, covered, by_operator, by_table))
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
    kept: tuple[str, ...] = ()
    if scheme.static:
        student = networks.int8_for(scheme) or student
        calibration = calibrate_student(recipe, target, networks, context)
        _, mixed = control_accuracy(recipe, target, networks, context)
        kept = mixed.names if mixed else ()
    exported = _export(target, plan, student, data, context)
    if plan.format == "onnx":
        isa = target.profile.isa or describe_machine().isa  # a profile of any host names none
        return quantize_onnx(exported, data, scheme, calibration, isa, context, kept)
    return quantize_tflite(exported, data, scheme, calibration, context, kept)


def plain_files(
    recipe: Recipe, targets: Sequence[TargetPlan], networks: Networks, student: NetworkResult, context: RunContext
) -> list[TimedFile]:
    """What `target` would ship of `student` if accuracy were no matter: calibrated on few samples, nothing repaired."""
    plain = recipe.model_copy(update={"quantize": QuantizeSettings(), "calibration": CalibrationSettings(samples=16)})
    read = networks.teacher_data
    if recipe.text.vocabulary == "task":
        read, student = trim_vocabulary(read, student, recipe.text, context)
    networks = replace(networks, data=read, students=(student,), int8={})
    target = targets[0]  # the others' would have the same size, or latency
    return [
        TimedFile(make_files(plain, target, file, networks, context)[-1], file.options, read) for file in target.files
    ]


def calibrate_student(recipe: Recipe, target: TargetPlan, networks: Networks, context: RunContext) -> Calibration:
    data, student = networks.data, networks.int8_for(target.quantization) or networks.student
    onnx = export_onnx(data, student, target.profile.export.opset, target.sequence_length, context)
    return calibrate(onnx, data, student, networks.teacher, networks.teacher_data, recipe.calibration, context)


def control_accuracy(
    recipe: Recipe, target: TargetPlan, networks: Networks, context: RunContext
) -> tuple[SensitivityResult | None, MixedResult | None]:
    """What each layer costs in 8 bits, and which stay in float in all files of the target; as the recipe asks."""
    settings, max_drop = recipe.quantize.measured, recipe.quantize.max_drop
    if settings is None:
        return None, None
    data, scheme = networks.data, target.quantization
    calibration = calibrate_student(recipe, target, networks, context)
    sensitivity = measure_sensitivity(data, calibration, scheme, settings, context)
    if max_drop is None:
        return sensitivity, None
    parts = parts_of(target, networks, context)
    return sensitivity, mix_precision(parts, data, scheme, calibration, sensitivity, max_drop, context)


def _mixed_costs(
    recipe: Recipe, target: TargetPlan, networks: Networks, mixed: MixedResult, context: RunContext
) -> tuple[MixedCosts, ...]:
    if not mixed.kept:
        return ()
    calibration, plan = calibrate_student(recipe, target, networks, context), target.profile.measure
    return tuple(
        measure_mixed(part, mixed, networks.data, target.quantization, calibration, plan, context)
        for part in parts_of(target, networks, context)
    )


def parts_of(target: TargetPlan, networks: Networks, context: RunContext) -> list[Part]:
    data, student = networks.data, networks.student
    return [
        Part(
            _export(target, plan, networks.int8_for(target.quantization) or student, data, context),
            _export(target, plan, student, data, context),
            plan.options,
        )
        for plan in target.files
    ]


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
