"""What a report tells of a latency beside its percentiles: their intervals, how the runs hang together, whether the
machine was left alone."""

from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.report.figures import figure
from pipeline.results import LatencyFigures
from pipeline.words import short
from targets.latency import PERCENTILES, Summary, describe, summarise
from targets.runners.quiet import Quiet
from targets.statistics.order import percentile


def latency_figures(
    samples: np.ndarray,
    source: str,
    quiet: Quiet | None = None,
    at_pace: Summary | None = None,
    energy_mj: float | None = None,
) -> dict[str, Any]:
    """The keys of `measured` that tell of latency, of samples in ms in the order measured; `docs/report-schema.md`
    describes them. Notes are in `latency_notes`."""
    summary, found = summarise(samples), describe(samples)
    intervals = {name: asdict(found.intervals[name]) for name in PERCENTILES}
    return {
        "latency": {
            **{name: {**figure(getattr(summary, name), "ms", source), **intervals[name]} for name in PERCENTILES},
            "mean": figure(summary.mean, "ms", source),
        },
        "correlation_time": figure(found.correlation_time, "runs", source),
        "drift": {**figure(found.trend.rise, "ms", source), "chance": found.trend.chance},
        "outliers": {
            **figure(found.outliers.count, "runs", source),
            "fence_ms": found.outliers.fence,
            "worst_ms": found.outliers.worst,
        },
        "quiet": None if quiet is None else {**asdict(quiet), "reasons": list(quiet.reasons)},
        "at_pace": (
            None if at_pace is None else {name: figure(getattr(at_pace, name), "ms", source) for name in PERCENTILES}
        ),
        "energy": None if energy_mj is None else figure(energy_mj, "mJ", source),
    }


def latency_notes(latency: LatencyFigures) -> list[str]:
    """What someone who reads a latency must know of it, in words; nothing of a quiet machine and steady runs."""
    notes = series_notes(latency.samples)
    if latency.quiet is not None and not latency.quiet.quiet:
        notes.append(f"the machine was not quiet: {'; '.join(latency.quiet.reasons)}")
        if latency.at_pace is not None:
            told = ", ".join(f"{name} {short(getattr(latency.at_pace, name))} ms" for name in PERCENTILES)
            notes.append(f"as its reference work tells, at an even pace it would have been {told}")
    return notes


def series_notes(samples: np.ndarray) -> list[str]:
    """Drift, likeness and outliers of samples in ms, in the order measured."""
    found, runs, p50 = describe(samples), len(samples), percentile(samples, 0.5)
    notes = []
    if found.trend.significant:
        rise = found.trend.rise
        notes.append(
            f"the latency {'rose' if rise > 0 else 'fell'} by {short(abs(rise))} ms ({rise / p50:+.1%} of p50) from "
            f"the first run to the last (Mann-Kendall, chance {found.trend.chance:.1g})"
        )
    if found.correlation_time > 1:
        independent = max(1, int(runs / found.correlation_time))
        notes.append(f"runs that follow one another are alike: {runs} tell as much as {independent} independent ones")
    if found.outliers.count:
        notes.append(
            f"{found.outliers.count} of {runs} runs lie far out, above {short(found.outliers.fence)} ms (Tukey); the "
            f"slowest took {short(found.outliers.worst)} ms"
        )
    return notes
