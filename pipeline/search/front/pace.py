"""Latencies of many students over hours, held against one reference network that is measured in turn with each, so that
a machine that slows down or speeds up between two trials ranks none of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from pipeline.context import RunContext
from pipeline.feeds import feeds
from pipeline.latency import SAMPLES, measure_latency
from pipeline.progress import Meter
from pipeline.results import ExportedFile, PreparedData
from pipeline.words import short
from targets.latency import summarise
from targets.machine import describe_machine
from targets.profile import Budgets, Measure, Source
from targets.runners.paired import Contender, measure_paired
from targets.runtimes.base import RuntimeOptions, open_model


@dataclass(frozen=True)
class Reference:
    """A file that others are measured beside, and what one inference of it took, alone: the median, in ms."""

    file: ExportedFile
    data: PreparedData
    p50: float
    machine: str


@dataclass(frozen=True)
class PairedLatency:
    """Milliseconds of single inferences at the reference's pace, and `ratio` to the reference's median.
    `samples_file`: .npz with float64 [rounds, runs], `own_ms` and `reference_ms` as measured."""

    fingerprint: str
    source: Source
    machine: str
    ratio: float
    p50: float
    p90: float
    p99: float
    samples_file: Path


def reference_of(
    file: ExportedFile, data: PreparedData, options: RuntimeOptions, plan: Measure, context: RunContext
) -> Reference:
    """`file` as a reference. Measured once: later calls, and other processes, find what the first found."""
    with _alone(context):
        alone = measure_latency(file, data, options, plan, Budgets(), context)
    return Reference(file, data, alone.p50, alone.machine)


def measure_beside(
    reference: Reference,
    file: ExportedFile,
    data: PreparedData,
    options: RuntimeOptions,
    plan: Measure,
    context: RunContext,
) -> PairedLatency:
    """Single inferences of `file` and of `reference` in turn, in a fresh process, on real validation samples. Raises
    TargetError if the file can't be measured."""
    machine = describe_machine().label
    inputs = {
        "file": file.fingerprint,
        "data": data.fingerprint,
        "reference": [reference.file.fingerprint, reference.data.fingerprint, reference.p50],
        "options": options,
        "plan": plan,
        "samples": SAMPLES,
        "machine": machine,
    }

    def make(folder: Path, key: str, meter: Meter) -> PairedLatency:
        with _alone(context):
            found = measure_paired(
                _contender(file, data, options), _contender(reference.file, reference.data, options), plan, folder
            )
        samples_file = folder / "samples.npz"
        np.savez(samples_file, own_ms=found.file_ms, reference_ms=found.reference_ms)
        summary = summarise(found.at_pace(reference.p50))
        ratio = summary.p50 / reference.p50
        meter.advance(note=f"p50 {short(summary.p50)} ms, {ratio:.2f} of the reference's")
        return PairedLatency(key, "host", machine, ratio, summary.p50, summary.p90, summary.p99, samples_file)

    title = f"latency {file.label}.{file.format}"
    return context.stage("paired-latency", inputs, PairedLatency, make, unit="files", title=title)


def _contender(file: ExportedFile, data: PreparedData, options: RuntimeOptions) -> Contender:
    specs = open_model(file.file, options).inputs
    return Contender(file.file, options, [feeds(specs, data, int(row)) for row in data.rows("validation")[:SAMPLES]])


def _alone(context: RunContext) -> FileLock:
    """Of several processes that share a study one measures at a time."""
    context.store.root.mkdir(parents=True, exist_ok=True)
    return FileLock(context.store.root / ".latency.lock")
