"""report.json: every figure with its unit and where it was measured. `docs/report-schema.md` describes each key.

Figures that a clock or the memory meter gave stand under `measured` of their file, with all that follows from them;
what an emulator counted under `emulated` and `predicted`. Everything else is the same bytes for the same recipe, seed
and machine.
"""

import platform
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from calibration.manifest import read_manifest
from pipeline import __version__
from pipeline.metrics import agreement
from pipeline.provenance.licences import licence_rows
from pipeline.recipe import Recipe
from pipeline.report.attribution import attribute
from pipeline.report.audit import audit
from pipeline.report.disagreements import disagreements
from pipeline.report.emulated import emulated, predicted
from pipeline.report.explanation import explanation, explanation_notes
from pipeline.report.figures import COUNTED, ROLES, accuracy_figure, confusion, figure, per_class
from pipeline.report.latency import latency_figures, latency_notes
from pipeline.report.layers import float_layer_costs, mixed_notes, mixed_precision, sensitivity
from pipeline.report.operators import operator_times, operators
from pipeline.report.paths import without_folders
from pipeline.report.peers import peers
from pipeline.report.pruning import pace_figures, pace_notes, pruning, pruning_notes, sides
from pipeline.results import (
    MADE_OF,
    ExportedFile,
    LatencyFigures,
    NetworkResult,
    PreparedData,
    Role,
    RunResult,
    TargetFile,
    vocabulary_size,
)
from pipeline.slow import not_faster
from pipeline.store import library_versions
from targets.machine import describe_machine
from targets.profile import Budgets, Profile

SCHEMA = 1


def make_report(run: RunResult, recipe: Recipe, profile: Profile, budgets: Budgets) -> dict[str, Any]:
    """The report of one target's release, in JSON's plain types. `budgets` are the target's, tightened."""
    student = run.students[-1]
    labels = run.data.targets[run.data.rows("test")]
    networks = dict.fromkeys(ROLES)
    networks |= {result.role: _network(result, student) for result in _networks(run)}
    files = {file_name(file): file for file in run.files}
    return {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "description": recipe.description,
        "task": recipe.task,
        "target": {
            "id": profile.id,
            "name": profile.name,
            "form_factor": profile.form_factor,
            "profile_from": profile.provenance.kind,
        },
        "data": _data(run.data, recipe.licences.data),
        "licences": licence_rows(recipe, run.data),
        "teacher_onnx_size": figure(run.teacher_onnx_bytes, "bytes", COUNTED),
        "networks": networks,
        "pruning": pruning(run, recipe.prune),
        "vocabulary": _vocabulary(run.students),
        "files": [_file(file, run, recipe, profile, labels) for file in run.files],
        "not_validated": [_not_validated(export) for export in run.unvalidated],
        "agreements": _agreements(run.files, len(labels)),
        "audit": audit(run, files, budgets),
        "disagreements": disagreements(run, files),
        "peers": peers(recipe.peers),
        "sensitivity": sensitivity(run),
        "mixed_precision": mixed_precision(run),
        "explanation": explanation(run),
        "host": _host(),
        "budgets": budgets.model_dump(mode="json"),
        "notes": [
            *_notes(run),
            *pruning_notes(run),
            *mixed_notes(run),
            *explanation_notes(run, budgets),
            *(
                f"model.{export.label}.{export.format} is {note}."
                for export in run.unvalidated
                for note in export.notes
            ),
            *run.notes,
        ],
        "provenance": _provenance(recipe, profile),
    }


def file_name(file: TargetFile) -> str:
    return f"model.{file.export.label}.{file.export.format}"


def _networks(run: RunResult) -> tuple[NetworkResult, ...]:
    return tuple(network for network in (run.teacher, run.naive, *run.students, run.int8) if network)


def _network(result: NetworkResult, student: NetworkResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "parameters": figure(result.parameters, "parameters", COUNTED),
        "macs": None if result.macs is None else figure(result.macs, "multiply-accumulates", COUNTED),
        "accuracy": accuracy_figure(result.accuracy),
        "agreement_with_student": figure(agreement(result.test_logits, student.test_logits), "share", "host"),
        "validation_accuracy": figure(result.validation_accuracy, "share", "host"),
        "best_epoch": result.best_epoch,
        "curve": [
            {"epoch": e.epoch, "train_loss": e.train_loss, "validation_accuracy": e.validation_accuracy}
            for e in result.curve
        ],
        "notes": list(result.notes),
    }


def _data(data: PreparedData, stated: str | None) -> dict[str, Any]:
    return {
        "source": data.source,
        "licence": stated or data.licence,
        "content_sha256": data.content_sha256,
        "labels": list(data.labels),
        "counts": data.counts,
        "duplicates_removed": figure(data.duplicates_removed, "samples", COUNTED),
        "truncated_texts": figure(data.truncated_texts, "samples", COUNTED),
    }


def _host() -> dict[str, Any]:
    """The machine that `source: host` speaks of; 8-bit kernels may compute otherwise on other instruction sets."""
    machine = describe_machine()
    return {"cpu": machine.cpu, "isa": list(machine.isa)}


def _vocabulary(students: tuple[NetworkResult, ...]) -> dict[str, Any] | None:
    """The student before and after word pieces were left out; None where all were kept."""
    pair = _made_by(students, "trimmed")
    if pair is None:
        return None
    return {**_shrunk(*pair), "pieces": sides("word pieces", *map(vocabulary_size, pair))}


def _made_by(students: tuple[NetworkResult, ...], role: Role) -> tuple[NetworkResult, NetworkResult] | None:
    """The student of `role` behind the one that it was made from."""
    return next((pair for pair in pairwise(students) if pair[1].role == role), None)


def _shrunk(before: NetworkResult, after: NetworkResult) -> dict[str, Any]:
    return {
        "parameters": sides("parameters", before.parameters, after.parameters),
        "accuracy": {"before": accuracy_figure(before.accuracy), "after": accuracy_figure(after.accuracy)},
    }


def _file(file: TargetFile, run: RunResult, recipe: Recipe, profile: Profile, labels: np.ndarray) -> dict[str, Any]:
    export, judged = file.export, file.accuracy
    runtime = profile.runtime_for(judged.runtime)
    beside = _float32_beside(file, run.files)
    return {
        "name": file_name(file),
        "format": export.format,
        "scheme": export.scheme,
        "io_dtype": export.io_dtype,
        "shipped": file.shipped,
        "sha256": export.sha256,
        "sequence_length": export.sequence_length,
        "runtime": {
            "name": judged.runtime,
            "version": judged.runtime_version,
            "delegate": runtime.delegate,
            "threads": runtime.threads,
        },
        "size": figure(export.bytes, "bytes", COUNTED),
        "times_smaller_than_teacher": figure(run.teacher_onnx_bytes / export.bytes, "times", COUNTED),
        "accuracy": accuracy_figure(judged.accuracy),
        "agreement_with_student": figure(judged.agreement_with_student, "share", "host"),
        "attribution": attribute(file, beside, run) if file.shipped else None,
        "per_class": per_class(judged.scores, labels, run.data.labels) if file.shipped else None,
        "confusion": confusion(judged.scores, labels, run.data.labels) if file.shipped else None,
        "calibration": _calibration(export.calibration_manifest),
        "notes": list(export.notes),
        "operators": operators(file, profile),
        "measured": _measured(file, beside, run, recipe, profile),
        "emulated": emulated(file.emulated),
        "predicted": predicted(file.predicted),
    }


def _not_validated(export: ExportedFile) -> dict[str, Any]:
    """A file that ships and that nothing here can run."""
    return {
        "name": f"model.{export.label}.{export.format}",
        "format": export.format,
        "scheme": export.scheme,
        "sha256": export.sha256,
        "size": figure(export.bytes, "bytes", COUNTED),
        "reason": "; ".join(export.notes),
    }


def _float32_beside(file: TargetFile, files: tuple[TargetFile, ...]) -> TargetFile | None:
    """The float32 file that a file of another scheme was made from."""
    if file.export.scheme == "float32":
        return None
    made_of = MADE_OF.get(file.export.format, file.export.format)
    same = (f for f in files if f.export.format == made_of and f.export.scheme == "float32")
    return next(same, None)


def _calibration(manifest: Path | None) -> dict[str, Any] | None:
    """The manifest in short; its rows stand in the bundle's manifest.json."""
    if manifest is None:
        return None
    content = read_manifest(manifest)
    return {
        "method": content.method,
        "samples": figure(len(content.rows), "samples", COUNTED),
        "asked": content.asked,
        "split": content.split,
        "seed": content.seed,
        "selection": content.selection,
        "settled": content.settled,
        "samples_sha256": content.samples_sha256,
    }


def _measured(
    file: TargetFile, beside: TargetFile | None, run: RunResult, recipe: Recipe, profile: Profile
) -> dict[str, Any] | None:
    latency = file.latency
    if latency is None:
        return None
    source, notes = latency.source, [*latency.notes, *latency_notes(latency), *pace_notes(file.pace, run)]
    speedup = beside.latency.p50 / latency.p50 if beside and beside.latency else None
    slow = not_faster(file, beside, recipe.student.family) if beside else None
    if slow is not None:
        notes.append(slow)
    if source == "host" and profile.id != "host":
        notes.append(f"measured on the host, not on {profile.name}")
    return {
        "source": source,
        "machine": latency.machine,
        "threads": latency.threads,
        "runs": latency.runs,
        "looks": latency.looks,
        **latency_figures(latency.samples, source, latency.quiet, latency.at_pace, latency.energy_mj),
        "cold_start": None if latency.cold_start_ms is None else figure(latency.cold_start_ms, "ms", source),
        "peak_memory": None if latency.peak_mem_mb is None else figure(latency.peak_mem_mb, "MB", source),
        "float_layers": float_layer_costs(file, run),
        "times_faster_than_float32": None if speedup is None else figure(speedup, "times", source),
        "operator_times": operator_times(file),
        "beside_unpruned": pace_figures(file.pace),
        "samples": {"values": _samples(latency), "unit": "ms", "source": source},
        "origin": None,  # of figures that were imported
        "notes": notes,
    }


def _samples(latency: LatencyFigures) -> list[float]:
    return [round(float(ms), 6) for ms in latency.samples]  # a nanosecond is finer than the clock


def _agreements(files: tuple[TargetFile, ...], total: int) -> list[dict[str, Any]]:
    """Between every two shipped files, on the whole test set."""
    shipped = [file for file in files if file.shipped]
    return [
        {
            "files": [file_name(a), file_name(b)],
            "samples": total,
            **figure(agreement(a.accuracy.scores, b.accuracy.scores), "share", "host"),
        }
        for a, b in combinations(shipped, 2)
    ]


def _notes(run: RunResult) -> list[str]:
    notes = []
    student = run.students[0]
    if run.naive and run.teacher.accuracy.correct <= run.naive.accuracy.correct:
        notes.append(
            f"The teacher ({run.teacher.accuracy.value:.2%}) is no better than a student trained without it "
            f"({run.naive.accuracy.value:.2%}): train the teacher to its strength, or distilling can't gain."
        )
    if run.naive and student.accuracy.correct <= run.naive.accuracy.correct:
        notes.append(
            f"Distilling gained nothing here: {student.accuracy.value:.2%} against {run.naive.accuracy.value:.2%} "
            "for the same student trained without the teacher."
        )
    return notes


def _provenance(recipe: Recipe, profile: Profile) -> dict[str, Any]:
    return {
        "edgepress": __version__,
        "python": platform.python_version(),
        "versions": library_versions(),
        "seeds": {
            "training": recipe.seed,
            "split": recipe.data.split.seed,
            "calibration": recipe.calibration.seed,
        },
        "recipe": without_folders(recipe.model_dump(mode="json", by_alias=True)),
        "profile": profile.for_reports(),
    }
