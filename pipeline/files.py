"""From the networks that all targets share to the files that one target gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.export.metadata import add_metadata
from pipeline.export.onnx import export_onnx
from pipeline.export.sparse import store_sparse
from pipeline.export.tflite import export_tflite
from pipeline.plan import FilePlan, TargetPlan
from pipeline.pruning.timing import TimedFile
from pipeline.quantize.calibrate import calibrate
from pipeline.quantize.mixed import Part, mix_precision
from pipeline.quantize.mixed_results import MixedResult, SensitivityResult
from pipeline.quantize.onnx import quantize_onnx
from pipeline.quantize.sensitivity import measure_sensitivity
from pipeline.quantize.tflite import quantize_tflite
from pipeline.recipe import Recipe
from pipeline.results import Calibration, ExplainResult, ExportedFile, NetworkResult, PreparedData, PruningChoice
from pipeline.settings.release import CalibrationSettings, QuantizeSettings
from pipeline.vocabulary import trim_vocabulary
from targets.machine import describe_machine
from targets.profile import Quantization
from targets.runtimes.base import operators


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


@dataclass(frozen=True)
class StaticScheme:
    """What all static INT8 files of a target are made with: ranges, and the layers that stay in float."""

    calibration: Calibration
    sensitivity: SensitivityResult | None = None
    mixed: MixedResult | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        return self.mixed.names if self.mixed else ()


def make_files(
    recipe: Recipe, target: TargetPlan, networks: Networks, static: StaticScheme | None, context: RunContext
) -> list[list[ExportedFile]]:
    """For each of `target.files` the student's float32 file, and last the one that ships where that is another, with
    their metadata. `static`: see `static_scheme`. Raises InputError for a file that holds what the target bans."""
    description = recipe.description or f"{recipe.name}: {recipe.task}"
    made = []
    for plan in target.files:
        exported = _export(target, plan, networks.student, networks.data, context)
        files = dict.fromkeys((exported, _quantize(target, plan, networks, static, context)))
        if recipe.prune.sparsity is not None:
            files = dict.fromkeys(store_sparse(file, context) for file in files)
        named = [add_metadata(file, networks.data, recipe.name, description, context) for file in files]
        for file in named:
            _refuse_banned(file, target, plan)
        made.append(named)
    return made


def static_scheme(recipe: Recipe, target: TargetPlan, networks: Networks, context: RunContext) -> StaticScheme | None:
    """The calibration of the student and, as the recipe asks, what each layer costs in 8 bits and which stay in float;
    None for a target of another scheme."""
    if not target.quantization.static:
        return None
    calibration = _calibrate(recipe, target, networks, context)
    settings, max_drop = recipe.quantize.measured, recipe.quantize.max_drop
    if settings is None:
        return StaticScheme(calibration)
    data, scheme = networks.data, target.quantization
    sensitivity = measure_sensitivity(data, calibration, scheme, settings, context)
    if max_drop is None:
        return StaticScheme(calibration, sensitivity)
    parts = parts_of(target, networks, context)
    mixed = mix_precision(parts, data, scheme, calibration, sensitivity, max_drop, context)
    return StaticScheme(calibration, sensitivity, mixed)


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
    made = make_files(plain, target, networks, static_scheme(plain, target, networks, context), context)
    return [TimedFile(files[-1], plan.options, read) for plan, files in zip(target.files, made, strict=True)]


def parts_of(target: TargetPlan, networks: Networks, context: RunContext) -> list[Part]:
    """What layers are kept in float of: the file that goes into 8 bits and the float32 file, for each runtime."""
    data, student = networks.data, networks.student
    return [
        Part(
            _export(target, plan, networks.int8_for(target.quantization) or student, data, context),
            _export(target, plan, student, data, context),
            plan.options,
        )
        for plan in target.files
    ]


def _export(
    target: TargetPlan, plan: FilePlan, student: NetworkResult, data: PreparedData, context: RunContext
) -> ExportedFile:
    if plan.format == "onnx":
        return export_onnx(data, student, target.profile.export.opset, target.sequence_length, context)
    return export_tflite(data, student, target.sequence_length, context)


def _quantize(
    target: TargetPlan, plan: FilePlan, networks: Networks, static: StaticScheme | None, context: RunContext
) -> ExportedFile:
    scheme, data = target.quantization, networks.data
    calibration, kept = (static.calibration, static.kept) if static else (None, ())
    exported = _export(target, plan, networks.int8_for(scheme) or networks.student, data, context)
    isa = target.profile.isa or describe_machine().isa  # a profile of any host names none
    if plan.format == "onnx":
        return quantize_onnx(exported, data, scheme, calibration, isa, context, kept)
    return quantize_tflite(exported, data, scheme, calibration, context, kept, isa)


def _calibrate(recipe: Recipe, target: TargetPlan, networks: Networks, context: RunContext) -> Calibration:
    data, student = networks.data, networks.int8_for(target.quantization) or networks.student
    onnx = export_onnx(data, student, target.profile.export.opset, target.sequence_length, context)
    return calibrate(onnx, data, student, networks.teacher, networks.teacher_data, recipe.calibration, context)


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
