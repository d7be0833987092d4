"""Latency, cold start and memory of an exported file where its target's profile says, as a stored stage."""

from pathlib import Path

import numpy as np

from pipeline.context import RunContext
from pipeline.feeds import feeds
from pipeline.progress import Meter
from pipeline.results import ExportedFile, LatencyFigures, PreparedData
from pipeline.words import short
from targets.latency import summarise
from targets.profile import Budgets, Measure
from targets.runners.base import runner_for
from targets.runtimes.base import RuntimeOptions, open_model

SAMPLES = 16  # real test samples fed in turn: time may depend on the values, and one sample alone stays in the caches


def measure_latency(
    file: ExportedFile,
    data: PreparedData,
    options: RuntimeOptions,
    plan: Measure,
    budgets: Budgets,
    context: RunContext,
) -> LatencyFigures:
    """Milliseconds of single inferences of `file` in a fresh process, on real test samples, at the place of `plan`.

    Runs go on as `plan` says, and on until the latency budgets are decided with their confidence. The stored figures
    are those of one machine or device: another one measures anew.
    Raises TargetError if nothing can be run at that place, or the file can't be measured there.
    """
    runner = runner_for(plan)
    inputs = {
        "file": file.fingerprint,
        "data": data.fingerprint,
        "options": options,
        "plan": plan.model_dump(mode="json", exclude={"device", "tools"}),  # the runner's identity tells them
        "budgets": [budgets.latency_ms, budgets.confidence],
        "samples": SAMPLES,
        "machine": runner.identity(options),
    }

    def make(folder: Path, key: str, meter: Meter) -> LatencyFigures:
        specs = open_model(file.file, options).inputs
        samples = [feeds(specs, data, int(row)) for row in data.rows("test")[:SAMPLES]]
        found = runner.measure(file.file, options, samples, plan, folder, budget=budgets)
        summary = summarise(found.samples_ms)
        samples_file = folder / "samples.npy"
        np.save(samples_file, found.samples_ms)
        meter.advance(note=f"p50 {short(summary.p50)} ms, p90 {short(summary.p90)} ms")
        return LatencyFigures(
            fingerprint=key,
            source=found.source,
            machine=found.machine,
            threads=options.threads,
            runs=len(found.samples_ms),
            p50=summary.p50,
            p90=summary.p90,
            p99=summary.p99,
            mean=summary.mean,
            cold_start_ms=found.cold_start_ms,
            peak_mem_mb=found.peak_mem_mb,
            samples_file=samples_file,
            looks=found.looks,
            notes=found.notes,
            quiet=found.quiet,
            at_pace=None if found.at_pace_ms is None else summarise(found.at_pace_ms),
            energy_mj=found.energy_mj,
        )

    title = f"latency {file.label}.{file.format}"
    return context.stage("latency", inputs, LatencyFigures, make, unit="files", title=title)
