"""What was asked of pruning, what was predicted and what was measured, as the report and its pages tell it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.gate import decide
from pipeline.report.card import render_card
from pipeline.report.html import render_html
from pipeline.report.record import make_report
from pipeline.results import PreparedData, RunResult
from targets.profile import Budgets, load_profile
from tests import releases


@pytest.fixture
def run(digits: PreparedData, tmp_path: Path) -> RunResult:
    return releases.release(tmp_path, digits)


def report_of(run: RunResult, **prune: object) -> dict[str, Any]:
    student = {"family": "mobilenetv2", "weights": "none" if prune.get("when") != "before" else "imagenet.pth"}
    return make_report(run, releases.recipe(prune=prune, student=student), load_profile("pixel8"), Budgets())


def page_of(report: dict[str, Any]) -> str:
    return " ".join(render_html(report, decide(report)).split())


def values(goal: dict[str, Any]) -> list[float | None]:
    return [goal[key]["value"] if goal[key] else None for key in ("asked", "predicted", "measured")]


def test_a_counted_goal_is_what_is_left(run: RunResult) -> None:
    report = report_of(run, params=0.75)
    goal = report["pruning"]["goal"]
    assert goal["name"] == "params"
    assert values(goal) == pytest.approx([0.75, 7 / 9, 7 / 9])
    assert "parameters: 75.0% asked for, 77.8% predicted, 77.8% counted" in page_of(report)


def test_a_size_is_held_against_the_largest_file_that_ships(run: RunResult) -> None:
    report = report_of(releases.pruned_for(run, "size_mb", 0.41, 0.402), size_mb=0.41)
    goal = report["pruning"]["goal"]
    assert values(goal) == [0.41, 0.402, 0.4]
    assert "size: 0.410 MB asked for, 0.402 MB predicted, 0.400 MB measured" in page_of(report)
    assert any("0.400 MB (0.402 MB predicted)" in note for note in report["notes"])


def test_a_latency_stands_with_the_files_that_a_clock_judged(run: RunResult) -> None:
    report = report_of(releases.pruned_for(run, "latency", 0.5, 0.49), latency=0.5)
    assert values(report["pruning"]["goal"]) == [0.5, 0.49, None]
    for file in report["files"]:
        found = file["measured"]["beside_unpruned"]
        if file["shipped"]:
            assert [found[key]["value"] for key in ("share", "unpruned", "pruned")] == [0.52, 2.0, 1.04]
            assert any(
                "pruned to 52.0% of the unpruned student's latency" in note for note in file["measured"]["notes"]
            )
        else:
            assert found is None
    told = "latency: 50.0% asked for, 49.0% predicted, 52.0% measured of model.int8-static.onnx, 52.0% measured of"
    assert told in page_of(report)


def test_what_was_pruned_before_it_learned_lost_no_accuracy(run: RunResult) -> None:
    teacher, student = run.teacher, run.students[-1]
    early = replace(run, start=replace(teacher, name="start"), students=(replace(student, role="student"),))
    report = report_of(early, macs=0.3, when="before")
    assert report["pruning"]["accuracy"] is None
    assert report["pruning"]["parameters"]["before"]["value"] == teacher.parameters
    assert values(report["pruning"]["goal"]) == pytest.approx([0.3, 7 / 90, 7 / 90])
    assert "MACs: 30.0% asked for" in page_of(report)
    assert "distilled and pruned" in render_card(report, decide(report))


def test_nothing_is_told_of_pruning_where_nothing_was(digits: PreparedData, tmp_path: Path) -> None:
    report = report_of(releases.release(tmp_path, digits, prune=False))
    assert report["pruning"] is None
    assert "Pruning" not in page_of(report)
