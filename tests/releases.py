"""A release put together from figures of our choice, as the stages would hand it on: for the gate, report and bundle."""

from pathlib import Path

import numpy as np

from pipeline.metrics import accuracy, agreement
from pipeline.recipe import Recipe
from pipeline.results import (
    EpochRecord,
    ExportedFile,
    FileAccuracy,
    Format,
    LatencyFigures,
    NetworkResult,
    PreparedData,
    RunResult,
    TargetFile,
)
from pipeline.store import file_sha256, fingerprint
from targets.latency import summarise
from targets.profile import IoType, Scheme


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
    samples[:slow] = 3 * median
    file = folder / "samples.npy"
    np.save(file, samples)
    found = summarise(samples)
    return LatencyFigures(
        fingerprint=fingerprint([median, runs, slow, machine]), source="host", machine=machine, threads=2, runs=runs,
        p50=found.p50, p90=found.p90, p99=found.p99, mean=found.mean, cold_start_ms=20 * median,
        peak_mem_mb=12.5, samples_file=file,
    )  # fmt: skip


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
        fingerprint(str(place)), model, format, scheme, io_dtype, size or model.stat().st_size, file_sha256(model)
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


def release(folder: Path, data: PreparedData, *, prune: bool = True, timed: bool = True, **wrong: int) -> RunResult:
    """Mistakes by name: teacher, naive, student, pruned, float32, onnx, tflite."""
    mistakes = {"teacher": 2, "naive": 9, "student": 4, "pruned": 6, "float32": 6, "onnx": 8, "tflite": 9} | wrong
    teacher = network(folder, data, "teacher", mistakes["teacher"], 90_000)
    naive = network(folder, data, "naive", mistakes["naive"], 9_000)
    students = [network(folder, data, "student", mistakes["student"], 9_000)]
    if prune:
        students.append(network(folder, data, "pruned", mistakes["pruned"], 7_000))
    files = []
    for format in ("onnx", "tflite"):
        for scheme, errors, size, median in (
            ("float32", mistakes["float32"], 1_200_000, 3.0),
            ("int8-static", mistakes[format], 400_000, 1.5),
        ):
            figures = latency(folder / f"latency-{format}-{scheme}", median) if timed else None
            files.append(
                target_file(
                    folder, data, students[-1], format, scheme, errors,  # type: ignore[arg-type]
                    shipped=scheme != "float32", size=size, timed=figures,
                )
            )  # fmt: skip
    return RunResult("pixel8", data, teacher, 12_000_000, naive, tuple(students), tuple(files))
