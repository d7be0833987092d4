"""A release put together from figures of our choice, as the stages would hand it on."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from calibration.manifest import CalibrationManifest, write_manifest
from pipeline.context import RunContext
from pipeline.emulated.results import CoreFigures, EmulatedFile, EmulatedResult, PredictedLatency
from pipeline.metrics import accuracy, agreement
from pipeline.quantize.mixed_results import (
    KeptLayer,
    LayerCost,
    LayerSensitivity,
    MixedCosts,
    MixedResult,
    SensitivityResult,
)
from pipeline.recipe import Recipe
from pipeline.results import (
    AgreementFigures,
    EpochRecord,
    ExplainResult,
    ExportedFile,
    FileAccuracy,
    Format,
    LatencyFigures,
    NetworkResult,
    PreparedData,
    PrunedPace,
    PruningChoice,
    RunResult,
    TargetFile,
)
from pipeline.store import file_sha256, fingerprint
from pipeline.validate import validate
from targets.emulator.counts import InstructionCounts
from targets.latency import summarise
from targets.prediction.prediction import Prediction
from targets.profile import IoType, Scheme
from targets.runners.quiet import Quiet
from targets.runtimes.base import RuntimeOptions
from targets.runtimes.coverage import Coverage, NotTaken, OperatorTimes, TableCoverage


def recipe(task: str = "image-classification", **settings: object) -> Recipe:
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": "tiny",
            "description": "Tells digits | apart <quickly>",
            "task": task,
            "data": {"source": "tests", "path": "/home/someone/secret/digits"},
            "teacher": {"model": "big_net", "weights": "/home/someone/secret/big.pth"},
            "student": {"family": "mobilenetv2"},
            **settings,
        }
    )


def scores_with(data: PreparedData, wrong: int, seed: int = 0) -> np.ndarray:
    """Softmax scores of the test split with exactly `wrong` mistakes; more mistakes contain the fewer."""
    labels = data.targets[data.rows("test")]
    classes = len(data.labels)
    said = labels.copy()
    order = np.random.default_rng(seed).permutation(len(labels))[:wrong]
    said[order] = (labels[order] + 1 + order % (classes - 1)) % classes
    scores = np.full((len(labels), classes), 0.1 / (classes - 1), np.float32)
    scores[np.arange(len(labels)), said] = 0.9
    return scores


def network(
    folder: Path, data: PreparedData, role: str, wrong: int, parameters: int = 1000, epochs: int = 3
) -> NetworkResult:
    folder.mkdir(parents=True, exist_ok=True)
    logits = scores_with(data, wrong)
    np.save(folder / f"{role}.npy", logits)
    (folder / f"{role}.safetensors").write_bytes(b"")
    return NetworkResult(
        fingerprint=fingerprint([role, wrong]),
        role=role,  # type: ignore[arg-type]
        name=f"{role}_net",
        checkpoint_file=folder / f"{role}.safetensors",
        architecture={},
        parameters=parameters,
        macs=10 * parameters,
        accuracy=accuracy(logits, data.targets[data.rows("test")]),
        test_logits_file=folder / f"{role}.npy",
        validation_accuracy=0.9,
        curve=tuple(EpochRecord(e, 2.0 / (e + 1), 0.95 - 0.4 / (e + 1)) for e in range(epochs)),
        best_epoch=epochs - 1,
    )


def latency(folder: Path, median: float, runs: int = 200, slow: int = 0, machine: str = "a machine") -> LatencyFigures:
    """`runs` samples around `median` ms, `slow` of them three times as long."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = median * np.random.default_rng(1).normal(1.0, 0.02, runs)
    samples[np.linspace(0, runs, slow, endpoint=False).astype(int)] = 3 * median
    file = folder / "samples.npy"
    np.save(file, samples)
    found = summarise(samples)
    return LatencyFigures(
        fingerprint=fingerprint([median, runs, slow, machine]), source="host", machine=machine, threads=2, runs=runs,
        p50=found.p50, p90=found.p90, p99=found.p99, mean=found.mean, cold_start_ms=20 * median,
        peak_mem_mb=12.5, samples_file=file, quiet=Quiet(False, ("a neighbour",), 1.5, 1.8, 0.07, 0.01), at_pace=found,
        energy_mj=5.0,
    )  # fmt: skip


def calibration(folder: Path, data: PreparedData) -> Path:
    rows = tuple(data.rows("train")[:16].tolist())
    manifest = CalibrationManifest("min-max", 32, 0, rows, {"0": 16}, "1" * 64, "2" * 64, "3" * 64)
    return write_manifest(manifest, folder / "calibration.json")


def target_file(
    folder: Path,
    data: PreparedData,
    student: NetworkResult,
    format: Format,
    scheme: Scheme,
    wrong: int,
    *,
    shipped: bool = True,
    model: Path | None = None,
    size: int | None = None,
    io_dtype: IoType = "float32",
    timed: LatencyFigures | None = None,
    seed: int = 0,
) -> TargetFile:
    """`model`: a real file; else some bytes."""
    place = folder / f"{format}-{scheme}"
    place.mkdir(parents=True, exist_ok=True)
    if model is None:
        model = place / f"model.{format}"
        model.write_bytes(b"no real model")
    scores = scores_with(data, wrong, seed)
    np.save(place / "scores.npy", scores)
    export = ExportedFile(
        fingerprint=fingerprint(str(place)),
        file=model,
        format=format,
        scheme=scheme,
        io_dtype=io_dtype,
        bytes=size or model.stat().st_size,
        sha256=file_sha256(model),
        calibration_manifest=calibration(place, data) if scheme == "int8-static" else None,
    )
    judged = FileAccuracy(
        fingerprint=fingerprint([str(place), wrong]),
        accuracy=accuracy(scores, data.targets[data.rows("test")]),
        agreement_with_student=agreement(scores, student.test_logits),
        scores_file=place / "scores.npy",
        runtime="onnxruntime" if format == "onnx" else "litert",
        runtime_version="1.0",
    )
    return TargetFile(export, judged, timed, shipped)


def looked_at(format: str, scheme: str, timed: bool) -> dict[str, object]:
    """What a runtime makes of a file's 20 operators: in 8 bits LiteRT's delegate leaves out 2, in 3 pieces, and
    onnxruntime computes 5 in float."""
    whole = Coverage("whole", "XNNPACK" if format == "tflite" else "CPUExecutionProvider", {"conv": 20}, {}, {},
                     1 if format == "tflite" else None, 0, 1, 4000, 4000)  # fmt: skip
    times = OperatorTimes("times", 50, {"conv": 2.5, "hard-swish": 0.25})
    found = whole
    if scheme != "float32" and format == "tflite":
        found = replace(whole, taken={"conv": 18}, left_out={"hard-swish": 2}, pieces=3, conversions=2)
    elif scheme != "float32":
        found = replace(whole, taken={"q-linear-conv": 15}, in_float={"hard-swish": 4, "softmax": 1}, conversions=10)
        times = replace(times, ms={"q-linear-conv": 1.5, "hard-swish": 1.0, "dequantize-linear": 0.5})
    left = (NotTaken("hard-swish", "int8", 2, "takes float32"),) if found.left_out else ()
    by_table = TableCoverage("Delegate of a device", "its documentation (1.0, 2026-01-01)", 22, 3, left, True)
    return {
        "coverage": found,
        "operator_times": times if timed and format == "onnx" else None,
        "by_table": by_table if format == "tflite" else None,
    }


def release(
    folder: Path,
    data: PreparedData,
    *,
    prune: bool = True,
    trim: bool = False,
    timed: bool = True,
    explain: bool = False,
    layers: bool = False,
    **wrong: int,
) -> RunResult:
    """Mistakes by name: teacher, naive, student, pruned, trimmed, float32, onnx, tflite."""
    mistakes = {
        "teacher": 2,
        "naive": 9,
        "student": 4,
        "pruned": 6,
        "trimmed": 6,
        "float32": 6,
        "onnx": 8,
        "tflite": 9,
    } | wrong
    teacher = network(folder, data, "teacher", mistakes["teacher"], 90_000)
    naive = network(folder, data, "naive", mistakes["naive"], 9_000)
    students = [network(folder, data, "student", mistakes["student"], 9_000)]
    if prune:
        students.append(network(folder, data, "pruned", mistakes["pruned"], 7_000))
    if trim:
        students = [replace(student, architecture={"config": {"vocab_size": 500}}) for student in students]
        trimmed = network(folder, data, "trimmed", mistakes["trimmed"], 5_000)
        students.append(replace(trimmed, architecture={"config": {"vocab_size": 120}}))
    files = []
    for format in ("onnx", "tflite"):
        for scheme, errors, size, median in (
            ("float32", mistakes["float32"], 1_200_000, 3.0),
            ("int8-static", mistakes[format], 400_000, 1.5),
        ):
            figures = latency(folder / f"latency-{format}-{scheme}", median) if timed else None
            file = target_file(
                folder, data, students[-1], format, scheme, errors,  # type: ignore[arg-type]
                shipped=scheme != "float32", size=size, timed=figures,
            )  # fmt: skip
            files.append(replace(file, **looked_at(format, scheme, timed)))  # type: ignore[arg-type]
    why = explained(folder / "why", data, [0.1, 0.5]) if explain else None
    run = RunResult("pixel8", data, teacher, 12_000_000, naive, tuple(students), tuple(files), explanation=why)
    return _with_layers(run, timed) if layers else run


def _with_layers(run: RunResult, timed: bool) -> RunResult:
    """Three layers, of which the second is in float; it costs 0.25 ms."""
    layers = tuple(
        LayerSensitivity(f"layer{place}", "conv", 100 * place, db, 0.5 / db, 0.9, 1.5)
        for place, db in enumerate((30.0, 4.0, 20.0), 1)
    )
    formats = ("onnx", "tflite")
    mixed = MixedResult(
        fingerprint="5" * 64,
        max_drop=1.0,
        samples=30,
        layers=3,
        tried=2,
        kept=(KeptLayer("layer2", dict.fromkeys(formats, 12.5), dict.fromkeys(formats, 6_000)),),
        points_lost=dict.fromkeys(formats, 0.5),
        throughout=dict.fromkeys(formats, 12.5),
        bytes=dict.fromkeys(formats, 400_000),
        bytes_throughout=dict.fromkeys(formats, 394_000),
    )
    costs = (LayerCost("layer2", 0.25, 0.2, 0.31), LayerCost(None, 0.25, 0.21, 0.3))
    return replace(
        run,
        sensitivity=SensitivityResult("4" * 64, 30, layers),
        mixed=mixed,
        mixed_costs=tuple(MixedCosts("6" * 64, format, 3, costs) for format in formats) if timed else (),
    )


def pruned_for(run: RunResult, goal: Literal["latency", "size_mb"], asked: float, predicted: float) -> RunResult:
    """`run` as if its student had been pruned for a goal that files tell: its files have 0.52 of the latency."""
    machine = "a machine" if goal == "latency" else None
    choice = PruningChoice("0" * 64, goal, asked, predicted, 7, 0.4, ((0, 1.0), (7, predicted)), machine)
    pace = PrunedPace("1" * 64, 0.52, 1.04, 2.0, 5, "a machine") if goal == "latency" else None
    files = tuple(replace(file, pace=pace if file.shipped else None) for file in run.files)
    return replace(run, pruning=choice, files=files)


def linear_student(folder: Path, data: PreparedData) -> tuple[NetworkResult, np.ndarray, np.ndarray]:
    """A linear classifier of pixels (ridge regression on the training split): its result, weights and bias."""
    train, test = data.rows("train"), data.rows("test")
    pixels = data.inputs.transpose(0, 3, 1, 2).reshape(len(data.inputs), -1).astype(np.float32) / 255
    wanted = np.eye(len(data.labels), dtype=np.float32)[data.targets[train]]
    seen = pixels[train]
    kernel = seen @ seen.T + 10 * np.eye(len(seen), dtype=np.float32)
    weights = seen.T @ np.linalg.solve(kernel, wanted - wanted.mean(0)) * 20
    bias = wanted.mean(0) * 20
    result = network(folder, data, "student", 0)
    logits = (pixels[test] @ weights + bias).astype(np.float32)
    np.save(folder / "student.npy", logits)
    judged = accuracy(logits, data.targets[test])
    return replace(result, accuracy=judged), weights.astype(np.float32), bias.astype(np.float32)


def linear_onnx(
    folder: Path, data: PreparedData, weights: np.ndarray, bias: np.ndarray, *, io8: bool = False
) -> ExportedFile:
    """The classifier as an ONNX file: pixels 0..255 [1, 3, S, S] in, softmax scores out; with `io8` both in uint8."""
    from onnx import TensorProto, helper, numpy_helper, save

    side = int(data.inputs.shape[1])
    names = ("real_image", "real_scores") if io8 else ("image", "scores")
    nodes = [
        helper.make_node("Div", [names[0], "white"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [names[1]]),
    ]
    constants = {"white": np.array(255, np.float32), "weights": weights, "bias": bias}
    if io8:
        constants |= {
            "one": np.array(1, np.float32),
            "step": np.array(1 / 256, np.float32),
            "zero": np.array(0, np.uint8),
        }
        nodes.insert(0, helper.make_node("DequantizeLinear", ["image", "one", "zero"], [names[0]]))
        nodes.append(helper.make_node("QuantizeLinear", [names[1], "step", "zero"], ["scores"]))
    kind = TensorProto.UINT8 if io8 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", kind, [1, 3, side, side])],
        [helper.make_tensor_value_info("scores", kind, [1, weights.shape[1]])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if io8:
        helper.set_model_props(model, {"edgepress.scale.image": "1.0", "edgepress.scale.scores": repr(1 / 256)})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.onnx"
    save(model, str(file))
    return exported(file, "onnx")


def exported(file: Path, format: Format, scheme: Scheme = "float32") -> ExportedFile:
    sha256 = file_sha256(file)
    return ExportedFile(sha256, file, format, scheme, "float32", file.stat().st_size, sha256)


def real_release(
    folder: Path, data: PreparedData, context: RunContext, timed: LatencyFigures | None = None, *, io8: bool = False
) -> RunResult:
    """A release of one ONNX file that runs and was validated: float32, or with 8-bit inputs and outputs."""
    student, weights, bias = linear_student(folder, data)
    export = linear_onnx(folder, data, weights, bias, io8=io8)
    if io8:
        export = replace(export, scheme="int8-static", io_dtype="uint8")
    judged = validate(export, data, student, RuntimeOptions("onnxruntime", 2, "cpu"), context)
    teacher = network(folder, data, "teacher", 1)
    files = (TargetFile(export, judged, timed, shipped=True),)
    return RunResult("pixel8", data, teacher, 10 * export.bytes, None, (student,), files)


def explained(
    folder: Path, data: PreparedData, correlation: list[float], above: float = 0.75, missed: float | None = 0.01
) -> ExplainResult:
    """Of the first test samples, each in 16 cells or three words; NaN is no agreement."""
    text = data.task == "text-classification"
    rows, random = data.rows("test")[: len(correlation)], np.random.default_rng(0)
    shape = (len(rows), 3 if text else 16)
    arrays: dict[str, np.ndarray] = {name: random.normal(size=shape) for name in ("teacher", "student")}
    spans = (
        np.broadcast_to(np.array([[0, 2], [2, 3], [4, 6]], np.int32), (*shape, 2)) if text else np.zeros((*shape, 2))
    )
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "samples.npz", rows=rows, explained=data.targets[rows], teacher_class=0 * rows,
        correlation=np.array(correlation), overlap=np.array(correlation) / 2, used=np.ones(shape, bool),
        spans=spans, **arrays,
    )  # fmt: skip
    agreement = AgreementFigures(0.4, 0.35, 1, 0.02, 0.3, above)
    errors = {} if missed is None else {"teacher": missed, "student": 0.02}
    return ExplainResult(
        "1" * 64, "occlusion" if missed is None else "integrated_gradients", len(rows), 0.2, None if text else 4, 0.9,
        agreement, agreement, errors, folder / "samples.npz",
    )  # fmt: skip


def counted(total: int, core: str = "cortex-a72", **classes: int) -> InstructionCounts:
    """Counts that add up to `total`: what `classes` leave is scalar."""
    by_class = dict.fromkeys(("vector_multiply_add", "vector", "load", "store", "branch"), 0) | classes
    rest = total - sum(by_class.values())
    return InstructionCounts(core, "litert", "2.3.0", "QEMU 7.2", 7, 0.0001, scalar=rest, **by_class)


def emulated_for(run: RunResult, total: int = 40_000_000, same: bool = True) -> RunResult:
    """`run` as of a Raspberry Pi 4 that is emulated: its shipped files take `total` instructions, .tflite files are
    predicted to take 4 to 9 ms."""
    outputs = EmulatedResult("model", "cortex-a72", 5, same, 0.0 if same else 1.0, 0.0, "step", same, "told")
    told = EmulatedFile("7" * 64, (CoreFigures(outputs, counted(total, vector=total // 2)),))
    prediction = Prediction(
        "Cortex-A72", 4, 6.0, 4.0, 9.0, 0.98, "rpi4", 4, False, False, {"instructions": 6.0}, ("a table",), ("a note",)
    )
    files = tuple(
        replace(
            file,
            latency=None,
            operator_times=None,
            emulated=told,
            predicted=PredictedLatency(prediction)
            if file.export.format == "tflite"
            else PredictedLatency(None, "no latency of onnxruntime was measured"),
        )
        if file.shipped
        else replace(file, latency=None, operator_times=None)
        for file in run.files
    )
    return replace(run, files=files)
