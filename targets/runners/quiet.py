"""Whether a machine was left alone while it measured: how busy its cores were before, and how steady a reference work
was meanwhile."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from targets.statistics.trend import trend

LOOK_SECONDS = 0.2  # for so long the cores are watched before
BUSY = 0.25  # cores' worth of other work that is let pass: a desktop's own
SPREAD = 0.05  # coefficient of variation of the reference: as much as budgets are often missed or kept by
DRIFT = 0.03  # of the reference from the first to the last, if more than by chance


@dataclass(frozen=True)
class Quiet:
    """`quiet`: nothing was found that made latencies longer or less steady; else `reasons` say what. `busy`: cores'
    worth of other work just before, `load`: the system's load average of the last minute; None where the system does
    not tell. `spread`: coefficient of variation of the reference work's time; `drift`: by which share it rose from the
    first to the last; None where it was not timed."""

    quiet: bool
    reasons: tuple[str, ...]
    busy: float | None
    load: float | None
    spread: float | None
    drift: float | None


@dataclass(frozen=True)
class Before:
    """How busy the machine was before: cores' worth of work on the cores that may measure, how many these are, and the
    load average of the whole machine."""

    busy: float | None = None
    cores: int | None = None
    load: float | None = None


def look_around(cores: Sequence[int] | None) -> Before:
    """Watches `cores` (None: all that this process may use) for a moment."""
    import psutil

    here = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(psutil.cpu_count() or 1)
    watched = [core for core in cores or here if core in here] or list(here)
    shares = psutil.cpu_percent(interval=LOOK_SECONDS, percpu=True)
    known = [shares[core] for core in watched if core < len(shares)]
    return Before(sum(known) / 100, len(watched), psutil.getloadavg()[0])


def judge(before: Before, references_ms: np.ndarray, threads: int) -> Quiet:
    """`references_ms`: float64 [n], times of the reference work in order; may be empty."""
    reasons = []
    if before.busy is not None and before.cores is not None and before.busy > max(0, before.cores - threads) + BUSY:
        reasons.append(
            f"other work kept {before.busy:.1f} of {before.cores} cores busy just before, {threads} needed "
            f"(load average {before.load:.1f})"
        )
    spread = drift = None
    if len(references_ms) > 1:
        found = trend(references_ms)
        spread = float(np.std(references_ms) / np.mean(references_ms))
        drift = float(found.rise / np.median(references_ms))
        if spread > SPREAD:
            reasons.append(f"a fixed reference work took times that vary by {spread:.1%} (coefficient of variation)")
        if found.significant and abs(drift) > DRIFT:
            reasons.append(f"the core's pace drifted: a fixed reference work took {drift:+.1%} by the end")
    return Quiet(not reasons, tuple(reasons), before.busy, before.load, spread, drift)
