"""Where accuracy went: the losses of the stages add up, each has its interval, and the page draws them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.report.attribution import Stop, attribute, losses
from pipeline.report.path_plot import accuracy_path
from pipeline.results import PreparedData, RunResult
from tests import releases
from tests.pipeline.report_pages import named, page_of, read, report_of

Made = Callable[..., RunResult]


@pytest.fixture
def made(digits: PreparedData, tmp_path: Path) -> Made:
    return lambda **settings: releases.release(tmp_path, digits, **settings)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=6), st.integers(1, 200))
def test_losses_add_up_to_the_total_exactly(models: list[int], samples: int) -> None:
    right = [np.random.default_rng(seed).random(samples) < 0.8 for seed in models]
    found = losses([Stop(f"stage{index}", f"model{index}", each) for index, each in enumerate(right)])
    assert sum(step["samples_lost"] for step in found["steps"]) == found["total"]["samples_lost"]
    assert found["total"]["samples_lost"] == right[0].sum() - right[-1].sum()
    assert sum(step["points_lost"] for step in found["steps"]) == pytest.approx(found["total"]["points_lost"], abs=1e-9)
    for step in (*found["steps"], found["total"]):
        assert step["low"] <= step["high"]
    ends = [step["to"] for step in found["steps"]]
    assert [step["from"] for step in found["steps"]] == ["model0", *ends[:-1]]
    assert [step["stage"] for step in found["steps"]] == [f"stage{index}" for index in range(1, len(models))]


def test_a_steps_interval_is_of_the_paired_difference() -> None:
    """Of 100 samples 6 are lost and 2 won: Agresti and Min add half a sample to each cell, so the middle is 4 / 102 and
    the deviation sqrt(9 - 16 / 102) / 102, by hand 0.029154."""
    before, after = np.ones(100, bool), np.ones(100, bool)
    before[:2], after[2:8] = False, False
    (step,) = losses([Stop("teacher", "teacher", before), Stop("quantize", "file", after)])["steps"]
    assert (step["samples_lost"], step["points_lost"]) == (4, 4)
    assert step["low"] == pytest.approx(100 * (4 / 102 - 1.959964 * 0.029154), abs=1e-3)
    assert step["high"] == pytest.approx(100 * (4 / 102 + 1.959964 * 0.029154), abs=1e-3)


def test_a_file_beside_its_float32_loses_apart_to_export_and_quantize(made: Made) -> None:
    run = made()
    for pruned in (True, False):
        students = run.students if pruned else run.students[:1]
        for beside in (True, False):
            found = attribute(run.files[1], run.files[0] if beside else None, replace(run, students=students))
            stages = [step["stage"] for step in found["steps"]]
            last = ["export", "quantize"] if beside else ["export and quantize"]
            assert stages == ["distill", *(["prune"] if pruned else []), *last]
            assert found["total"]["samples_lost"] == 8 - 2


def test_a_float32_release_loses_nothing_to_quantize(made: Made) -> None:
    run = made()
    found = attribute(run.files[0], None, run)
    assert [step["stage"] for step in found["steps"]] == ["distill", "prune", "export"]


def test_accuracies_of_different_test_sets_are_not_compared(made: Made, tmp_path: Path) -> None:
    run = made()
    np.save(tmp_path / "fewer.npy", run.teacher.test_logits[:-1])
    other = replace(run, teacher=replace(run.teacher, test_logits_file=tmp_path / "fewer.npy"))
    with pytest.raises(ValueError, match="different test sets"):
        attribute(run.files[0], None, other)
    with pytest.raises(ValueError, match=r"different test sets: \[2, 3\] samples"):
        losses([Stop("teacher", "teacher", np.ones(3, bool)), Stop("export", "file", np.ones(2, bool))])


def test_the_waterfall_tells_every_stage_with_its_interval(made: Made) -> None:
    report = report_of(made())
    file = named(report, "model.int8-static.onnx")
    found = accuracy_path(file, report["networks"], "path")
    shown = read(found.svg).text
    for words in ("teacher", "distill", "prune", "export", "quantize", "this file", "96.67%", "86.67%", "−3.33"):
        assert words in shown
    quantize = file["attribution"]["steps"][-1]
    assert f"−{quantize['high']:.1f} to" in shown
    assert found.alt.startswith("Accuracy from the teacher, 96.67%, to model.int8-static.onnx, 86.67%: distill −3.33")


def test_a_gain_is_told_with_a_plus_and_no_change_as_nothing(made: Made) -> None:
    report = report_of(made(teacher=6, student=4, pruned=4, float32=4, onnx=4))
    found = accuracy_path(named(report, "model.int8-static.onnx"), report["networks"], "path")
    assert "distill +3.33 points, prune 0.00 points, export 0.00 points" in found.alt
    assert "+3.33" in read(found.svg).text
    assert "above the teacher" in page_of(report)


def test_a_report_that_has_no_intervals_of_steps_is_drawn_without(made: Made) -> None:
    """As versions wrote them that did not pair samples."""
    report = report_of(made())
    for file in report["files"]:
        if file["attribution"]:
            for step in file["attribution"]["steps"]:
                del step["low"], step["high"]
    file = named(report, "model.int8-static.onnx")
    assert "−3.33" in read(accuracy_path(file, report["networks"], "path").svg).text
