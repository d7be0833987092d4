"""What is told of a latency beside its percentiles, from samples made up by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.report.latency import latency_figures, latency_notes
from pipeline.results import LatencyFigures
from targets.latency import summarise
from targets.runners.quiet import Quiet


@pytest.fixture
def steady(tmp_path: Path) -> LatencyFigures:
    return of(tmp_path, 10 + np.random.default_rng(1).normal(0, 0.1, 400))


def of(folder: Path, samples: np.ndarray) -> LatencyFigures:
    np.save(folder / "samples.npy", samples)
    found = summarise(samples)
    return LatencyFigures(
        "0" * 64, "host", "a machine", 1, len(samples), found.p50, found.p90, found.p99, found.mean, None, None,
        folder / "samples.npy",
    )  # fmt: skip


def test_steady_runs_on_a_quiet_machine_need_no_note(steady: LatencyFigures) -> None:
    assert latency_notes(steady) == []
    quiet = replace(steady, quiet=Quiet(True, (), 0.1, 0.2, 0.01, 0.0))
    assert latency_notes(quiet) == []
    assert latency_figures(quiet.samples, "host", quiet.quiet)["quiet"]["quiet"] is True


def test_percentiles_stand_within_their_intervals(steady: LatencyFigures) -> None:
    found = latency_figures(steady.samples, "host")["latency"]
    for name in ("p50", "p90", "p99"):
        assert found[name]["value"] == getattr(steady, name)
        assert found[name]["low"] <= found[name]["value"]
    assert found["p90"]["value"] <= found["p90"]["high"]
    assert found["p99"]["high"] is None or found["p99"]["high"] >= found["p99"]["value"]


def test_few_runs_leave_an_interval_open() -> None:
    found = latency_figures(np.arange(1.0, 6.0), "device")
    assert (found["latency"]["p50"]["low"], found["latency"]["p99"]["high"]) == (None, None)


def test_a_drift_is_told_with_its_size(steady: LatencyFigures, tmp_path: Path) -> None:
    drifting = of(tmp_path, steady.samples + np.linspace(0, 2, 400))
    note = next(note for note in latency_notes(drifting) if "first run to the last" in note)
    assert note.startswith("the latency rose by 2")
    assert "+1" in note  # about 18% of the median
    falling = of(tmp_path, steady.samples[::-1] + np.linspace(2, 0, 400))
    assert any(note.startswith("the latency fell by ") for note in latency_notes(falling))


def test_alike_runs_and_outliers_are_counted(steady: LatencyFigures, tmp_path: Path) -> None:
    samples = np.repeat(steady.samples[:40], 10)
    samples[[7, 300]] = 90.0
    notes = latency_notes(of(tmp_path, samples))
    assert any("runs that follow one another are alike: 400 tell as much as" in note for note in notes)
    assert any(note.startswith("2 of 400 runs lie far out") and "slowest took 90" in note for note in notes)


def test_a_machine_that_was_not_quiet_is_told_with_the_reason(steady: LatencyFigures) -> None:
    loud = replace(
        steady, quiet=Quiet(False, ("a neighbour",), 1.5, 1.6, 0.1, 0.0), at_pace=summarise(0.5 * steady.samples)
    )
    first, second = latency_notes(loud)
    assert first == "the machine was not quiet: a neighbour"
    assert "at an even pace it would have been p50 5" in second
    figures = latency_figures(loud.samples, "host", loud.quiet, loud.at_pace, 2.5)
    assert figures["energy"] == {"value": 2.5, "unit": "mJ", "source": "host"}
    assert figures["at_pace"]["p50"]["value"] == pytest.approx(steady.p50 / 2)
