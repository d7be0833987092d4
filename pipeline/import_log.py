"""Puts latencies from elsewhere into the report of a bundle, with their origin, where the gate judges them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bundle import rewrite_report
from pipeline.errors import InputError
from pipeline.gate import Verdict, decide
from pipeline.integrity import REPORT, read_json, verify_bundle
from pipeline.report.figures import figure
from pipeline.report.latency import latency_figures, series_notes
from targets.runners.log import Logged, read_log

LARGEST = 256 * 2**20  # bytes of a log: more is no log of single inferences


def import_log(folder: Path, log: Path, form: str, name: str | None = None, machine: str | None = None) -> Verdict:
    """The verdict on the bundle in `folder` with the figures of `log` in it, in place of what was measured of the file
    before. `name`: the bundle's file that they are of, where the log does not tell; `machine`: what they were measured
    on, in words.

    Raises InputError for a bundle that is changed and for a log of another model or other threads, TargetError for a
    log that is not of the format `form`; the bundle is then as it was.
    """
    verify_bundle(folder)
    report = read_json(folder / REPORT)
    content = _read(log)
    logged = read_log(content.decode("utf-8", errors="replace"), form)
    try:
        file = _file_of(report, logged, name, log)
        file["measured"] = _measured(file, logged, report, machine, _origin(log, content, form))
        verdict = decide(report)
        rewrite_report(folder, report, verdict)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder / REPORT}: incomplete ({error!r}), as of an earlier edgepress; make the bundle again"
        ) from None
    return verdict


def _read(log: Path) -> bytes:
    try:
        if log.stat().st_size > LARGEST:
            raise InputError(f"{log}: {log.stat().st_size / 1e6:.0f} MB, expected a log of single inferences")
        return log.read_bytes()
    except OSError as error:
        raise InputError(f"{log}: can't be read: {error.strerror}; expected a log") from None


def _file_of(report: dict[str, Any], logged: Logged, name: str | None, log: Path) -> dict[str, Any]:
    """The entry of the shipped file that the log is of, as far as it tells, and as `name` says."""
    shipped = {file["name"]: file for file in report["files"] if file["shipped"]}
    known = ", ".join(shipped)
    if logged.model is not None and name not in (None, logged.model):
        raise InputError(f"{log}: it is a log of {logged.model}, --file says {name}: give the log of that file")
    name = name or logged.model
    if name is None and logged.sha256 is not None:
        name = next((of for of, file in shipped.items() if file["sha256"] == logged.sha256.lower()), None)
        if name is None:
            raise InputError(f"{log}: a log of a model with SHA-256 {logged.sha256[:12]}..., which is none of {known}")
    if name is None:
        raise InputError(f"{log}: it does not tell its model: say which with --file, one of {known}")
    if name not in shipped:
        raise InputError(f"{log}: a log of {name}, the bundle ships {known}: give a log of one of these")
    file = shipped[name]
    if logged.sha256 is not None and logged.sha256.lower() != file["sha256"]:
        raise InputError(
            f"{log}: a log of another {name}: its SHA-256 is {logged.sha256[:12]}..., the bundle's "
            f"{file['sha256'][:12]}...; measure the bundle's file"
        )
    threads = file["runtime"]["threads"]
    if logged.threads not in (None, threads):
        raise InputError(f"{log}: made with {logged.threads} threads, {name} ships with {threads}: measure with those")
    return file


def _origin(log: Path, content: bytes, form: str) -> dict[str, Any]:
    return {"format": form, "file": log.name, "sha256": hashlib.sha256(content).hexdigest()}


def _measured(
    file: dict[str, Any], logged: Logged, report: dict[str, Any], machine: str | None, origin: dict[str, Any]
) -> dict[str, Any]:
    """As `pipeline.report.record` writes it. What was measured here of operators and layers stays."""
    before = file["measured"] or {}
    times = np.array(logged.samples_ms)
    untold = [
        text
        for value, text in (
            (machine, "the device is the target's, as whoever imported the log says"),
            (logged.model or logged.sha256, "the log does not tell its model; it was named on import"),
            (logged.threads, "the log does not tell its threads; they are taken to be the target's"),
        )
        if value is None
    ]
    return {
        "source": "device",
        "machine": machine or report["target"]["name"],
        "threads": file["runtime"]["threads"],
        "runs": len(times),
        "looks": 1,  # the log was not ended by a verdict
        **latency_figures(times, "device"),
        "cold_start": None if logged.cold_start_ms is None else figure(logged.cold_start_ms, "ms", "device"),
        "peak_memory": None if logged.peak_mem_mb is None else figure(logged.peak_mem_mb, "MB", "device"),
        "float_layers": before.get("float_layers"),
        "times_faster_than_float32": None,  # of which there is no log
        "operator_times": before.get("operator_times"),
        "beside_unpruned": before.get("beside_unpruned"),
        "samples": {"values": [round(float(ms), 6) for ms in times], "unit": "ms", "source": "device"},
        "origin": origin,
        "notes": [
            f"imported from {origin['file']} ({origin['format']}), measured elsewhere",
            *untold,
            *series_notes(times),
        ],
    }
