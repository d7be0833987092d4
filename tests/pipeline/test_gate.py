"""The gate: what passes, what fails, by how much and where it was lost."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.gate import compare_with_baseline, decide
from pipeline.gating.verdict import Check, Verdict
from pipeline.report.record import make_report
from pipeline.results import PreparedData, RunResult
from targets.profile import Budgets, load_profile
from tests import releases

ROOMY = {
    "latency_ms": {"p50": 10, "p90": 10},
    "cold_start_ms": 1000,
    "size_mb": 2,
    "peak_mem_mb": 100,
    "accuracy": {"min": 0.7, "max_drop": 20, "min_agreement": 0.8},
}


@pytest.fixture
def run(digits: PreparedData, tmp_path: Path) -> RunResult:
    return releases.release(tmp_path, digits)


def report_of(run: RunResult, budgets: dict[str, Any], target: str = "pixel8") -> dict[str, Any]:
    return make_report(run, releases.recipe(), load_profile(target), Budgets.model_validate(budgets))


def only(verdict: Verdict, name: str, file: str = "model.int8-static.onnx") -> Check:
    (check,) = (check for check in verdict.checks if check.name == name and file in check.file)
    return check


def test_a_release_within_all_budgets_passes(run: RunResult) -> None:
    verdict = decide(report_of(run, ROOMY))
    assert verdict.passed
    assert verdict.missed == ()
    assert {check.name for check in verdict.checks} == {
        "accuracy.min", "accuracy.max_drop", "accuracy.min_agreement", "size_mb", "latency_ms.p50", "latency_ms.p90",
        "cold_start_ms", "peak_mem_mb",
    }  # fmt: skip
    assert {check.file for check in verdict.checks} == {
        "model.int8-static.onnx", "model.int8-static.tflite", "model.int8-static.onnx and model.int8-static.tflite",
    }  # fmt: skip


def test_without_budgets_nothing_can_be_missed(run: RunResult) -> None:
    verdict = decide(report_of(run, {}))
    assert verdict.checks == ()
    assert verdict.passed


@pytest.mark.parametrize(
    ("budgets", "name", "value", "words"),
    [
        ({"accuracy": {"min": 0.9}}, "accuracy.min", 52 / 60, "3.33 points under the floor of 90.00%"),
        ({"accuracy": {"max_drop": 5}}, "accuracy.max_drop", 10.0, "5.00 more than the 5 allowed"),
        ({"size_mb": 0.25}, "size_mb", 0.4, "0.150 MB over the budget of 0.25 MB"),
        ({"cold_start_ms": 25}, "cold_start_ms", 30.0, "5.00 ms over the budget of 25 ms"),
        ({"peak_mem_mb": 12}, "peak_mem_mb", 12.5, "0.500 MB over the budget of 12 MB"),
        ({"latency_ms": {"p50": 1.0}}, "latency_ms.p50", None, "ms over the budget of 1 ms: 200 of 200 runs were over"),
    ],
)
def test_a_missed_budget_says_by_how_much(
    run: RunResult, budgets: dict[str, Any], name: str, value: float | None, words: str
) -> None:
    verdict = decide(report_of(run, budgets))
    check = only(verdict, name)
    assert not verdict.passed
    assert check.passed is False
    assert words in check.explanation
    if value is not None:
        assert check.value == pytest.approx(value)


def test_a_figure_on_its_budget_passes(run: RunResult) -> None:
    verdict = decide(report_of(run, {"accuracy": {"min": 52 / 60, "max_drop": 10.0}, "size_mb": 0.4}))
    assert [only(verdict, name).passed for name in ("accuracy.min", "accuracy.max_drop", "size_mb")] == [True] * 3


@pytest.mark.parametrize(
    ("wrong", "stage"),
    [
        ({"teacher": 1, "student": 12, "pruned": 14, "float32": 14, "onnx": 15}, "distill"),
        ({"teacher": 1, "student": 3, "pruned": 14, "float32": 14, "onnx": 15}, "prune"),
        ({"teacher": 1, "student": 3, "pruned": 4, "float32": 14, "onnx": 15}, "export"),
        ({"teacher": 1, "student": 3, "pruned": 4, "float32": 5, "onnx": 15}, "quantize"),
    ],
)
def test_a_loss_of_accuracy_names_the_stage_that_lost_most(
    digits: PreparedData, tmp_path: Path, wrong: dict[str, int], stage: str
) -> None:
    report = report_of(releases.release(tmp_path, digits, **wrong), {"accuracy": {"min": 0.9, "max_drop": 5}})
    verdict = decide(report)
    for name in ("accuracy.min", "accuracy.max_drop"):
        check = only(verdict, name)
        assert check.stage == stage
        assert f"most was lost in {stage}" in check.explanation


def test_a_floor_above_the_teacher_is_the_teachers_fault(digits: PreparedData, tmp_path: Path) -> None:
    report = report_of(releases.release(tmp_path, digits, teacher=12), {"accuracy": {"min": 0.95}})
    check = only(decide(report), "accuracy.min")
    assert check.stage == "teacher"
    assert "the teacher itself reaches 80.00%" in check.explanation


def by_group(run: RunResult, limit: float, least: int = 10) -> dict[str, Any]:
    return report_of(run, {"accuracy": {"max_group_drop": limit, "min_group_size": least}})


def test_the_group_that_lost_most_is_held_to_its_budget(run: RunResult) -> None:
    report = by_group(run, 40)
    check = only(decide(report), "accuracy.max_group_drop")
    (model,) = (model for model in report["audit"]["models"] if model["name"] == check.file)
    large = [group for group in model["groups"] if group["accuracy"]["total"] >= 10]
    worst = max(large, key=lambda group: group["drop"]["value"])
    assert 0 < len(large) < len(model["groups"])
    assert check.passed is True
    assert check.value is not None
    assert check.value == worst["drop"]["value"] > 10.0  # more than the whole file lost
    assert f"largest drop of {len(large)} groups: {worst['by']} {worst['group']}, {check.value:.2f} points below" in (
        check.explanation
    )
    assert "95% interval" in check.explanation
    assert only(decide(by_group(run, check.value)), "accuracy.max_group_drop").passed is True


def test_a_groups_drop_that_may_be_noise_is_undecided(run: RunResult) -> None:
    verdict = decide(by_group(run, 5))
    check = only(verdict, "accuracy.max_group_drop")
    assert check.passed is None
    assert check.stage is None
    assert not verdict.passed
    assert "may be noise in so few samples" in check.explanation


def test_a_group_surely_over_its_budget_fails_and_names_where_it_was_lost(digits: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, digits, teacher=0, student=2, pruned=3, float32=40, onnx=45, tflite=45)
    check = only(decide(by_group(run, 10)), "accuracy.max_group_drop")
    assert check.passed is False
    assert check.stage == "export"
    assert check.value is not None
    assert f"{check.value - 10:.2f} more than the 10 allowed; most was lost in export" in check.explanation


def test_a_sure_loss_is_named_before_a_larger_one_that_may_be_noise(run: RunResult) -> None:
    report = by_group(run, 3)
    for model in report["audit"]["models"]:
        if model["name"] == "model.int8-static.onnx":
            first, second, *_ = (group for group in model["groups"] if group["by"] == "contrast")
            first["drop"] |= {"value": 30.0, "low": -1.0, "high": 60.0}
            second["drop"] |= {"value": 20.0, "low": 9.0, "high": 31.0}
    check = only(decide(report), "accuracy.max_group_drop")
    assert check.value == 20.0
    assert check.passed is False


def test_groups_too_small_to_judge_are_undecided(run: RunResult) -> None:
    check = only(decide(report_of(run, {"accuracy": {"max_group_drop": 5}})), "accuracy.max_group_drop")
    assert check.passed is None
    assert check.value is None
    assert "no group has the 100 test samples that it takes to judge one, the largest has" in check.explanation


def test_a_report_from_before_there_were_audits_is_still_judged(run: RunResult) -> None:
    report = report_of(run, ROOMY)
    del (
        report["audit"],
        report["budgets"]["accuracy"]["max_group_drop"],
        report["budgets"]["accuracy"]["min_group_size"],
    )
    assert decide(report).passed
    report = by_group(run, 40)
    report["audit"]["models"] = report["audit"]["models"][:1]
    with pytest.raises(InputError, match=r"^report: incomplete"):
        decide(report)


def test_files_that_disagree_fail_and_the_one_that_departs_is_named(digits: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, digits, float32=6, onnx=6, tflite=20)
    check = only(decide(report_of(run, {"accuracy": {"min_agreement": 0.98}})), "accuracy.min_agreement")
    assert check.passed is False
    assert check.value == pytest.approx(46 / 60)
    assert check.stage == "quantize"
    assert "model.int8-static.tflite departs most, in quantize" in check.explanation


def test_too_few_runs_are_undecided_and_have_not_passed(digits: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, digits)
    verdict = decide(report_of(run, {"latency_ms": {"p99": 10}, "confidence": 0.99}))
    check = only(verdict, "latency_ms.p99")
    assert check.passed is None
    assert check.stage is None
    assert not verdict.passed
    assert check in verdict.missed
    assert "0 of 200 runs were over, too few runs to be 99% sure; 259 more" in check.explanation  # 459: MLPerf's table


def test_more_looks_at_the_runs_ask_for_more_of_them(run: RunResult) -> None:
    report = report_of(run, {"latency_ms": {"p90": 10}, "confidence": 0.99})
    for file in report["files"]:
        file["measured"]["samples"]["values"] = file["measured"]["samples"]["values"][:50]
    assert only(decide(report), "latency_ms.p90").passed is True  # 44 runs with none over are enough for one look
    for file in report["files"]:
        file["measured"]["looks"] = 10
    assert only(decide(report), "latency_ms.p90").passed is None


def test_a_latency_that_was_not_measured_has_not_passed(digits: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, digits, timed=False)
    verdict = decide(report_of(run, {"latency_ms": {"p90": 10}, "peak_mem_mb": 10}))
    assert not verdict.passed
    assert {check.passed for check in verdict.checks} == {None}
    assert "was not measured" in only(verdict, "latency_ms.p90").explanation


def test_the_hosts_latency_is_never_called_the_devices(run: RunResult) -> None:
    def words(target: str) -> list[str]:
        return [check.explanation for check in decide(report_of(run, ROOMY, target)).checks if "ms" in check.name]

    assert all("measured on this host, not on the device" in text for text in words("pixel8"))
    assert not any("measured on this host" in text for text in words("host"))


def test_a_quantized_file_slower_than_float32_is_laid_to_quantize(run: RunResult) -> None:
    report = report_of(run, {"latency_ms": {"p90": 1}})
    assert only(decide(report), "latency_ms.p90").stage == "distill"
    for file in report["files"]:
        if file["scheme"] == "float32":
            file["measured"]["latency"]["p90"]["value"] = 1.2
    check = only(decide(report), "latency_ms.p90")
    assert check.stage == "quantize"
    assert "quantize saved nothing: float32 has 1.20" in check.explanation


@pytest.mark.parametrize("damage", ["schema", "files", "budgets", "measured", "shipped"])
def test_what_is_no_report_is_refused(run: RunResult, damage: str) -> None:
    report = report_of(run, ROOMY)
    if damage == "schema":
        report["schema"] = 2
    elif damage == "shipped":
        report["files"] = [file for file in report["files"] if not file["shipped"]]
        report["agreements"] = []
    elif damage == "measured":
        del report["files"][1]["measured"]["latency"]
    else:
        del report[damage]
    with pytest.raises(InputError, match=r"^report: "):
        decide(report)


@settings(max_examples=60, deadline=None)
@given(limit=st.floats(0.05, 100), loosened=st.floats(1.0, 10.0), seed=st.integers(0, 9))
def test_a_looser_latency_budget_never_turns_a_pass_into_a_failure(limit: float, loosened: float, seed: int) -> None:
    samples = np.random.default_rng(seed).lognormal(0, 1, 150)

    def passes(budget: float) -> bool:
        latency = {"p90": {"value": float(np.quantile(samples, 0.9)), "unit": "ms", "source": "host"}}
        file = {
            "name": "model.float32.onnx", "format": "onnx", "scheme": "float32", "shipped": True,
            "measured": {"source": "host", "latency": latency, "looks": 1, "samples": {"values": samples.tolist()}},
        }  # fmt: skip
        budgets = Budgets.model_validate({"latency_ms": {"p90": budget}}).model_dump(mode="json")
        report = {"schema": 1, "target": {"id": "host"}, "files": [file], "agreements": [], "budgets": budgets}
        file["accuracy"] = {"value": 1.0, "low": 1.0, "high": 1.0}
        return decide(report).passed

    assert passes(limit * loosened) or not passes(limit)


def test_a_release_is_no_regression_of_itself(run: RunResult) -> None:
    report = report_of(run, ROOMY)
    checks = compare_with_baseline(report, report)
    assert all(check.passed for check in checks)
    assert {check.name for check in checks} == {"baseline.accuracy", "baseline.size", "baseline.latency_p90"}


def regressions(report: dict[str, Any], baseline: dict[str, Any]) -> set[tuple[str, str]]:
    return {(check.name, check.file) for check in compare_with_baseline(report, baseline) if check.passed is not True}


def test_worse_figures_than_the_baselines_are_regressions(run: RunResult) -> None:
    baseline = report_of(run, ROOMY)
    name = "model.int8-static.onnx"
    now = copy.deepcopy(baseline)
    file = next(file for file in now["files"] if file["name"] == name)

    file["size"]["value"] = round(1.019 * file["size"]["value"])
    assert regressions(now, baseline) == set()
    file["size"]["value"] = round(1.021 * 400_000)
    assert regressions(now, baseline) == {("baseline.size", name)}
    file["size"]["value"] = 400_000

    file["accuracy"]["value"] = file["accuracy"]["low"] + 0.001  # within the baseline's interval: noise
    assert regressions(now, baseline) == set()
    file["accuracy"]["value"] = file["accuracy"]["low"] - 0.001
    assert regressions(now, baseline) == {("baseline.accuracy", name)}


def slowed(report: dict[str, Any], times: float) -> dict[str, Any]:
    slower = copy.deepcopy(report)
    for file in slower["files"]:
        measured = file["measured"]
        measured["latency"]["p90"]["value"] *= times
        measured["samples"]["values"] = [times * ms for ms in measured["samples"]["values"]]
    return slower


def test_latency_regresses_only_beyond_tolerance_and_noise(run: RunResult) -> None:
    baseline = report_of(run, ROOMY)
    assert regressions(slowed(baseline, 1.08), baseline) == set()
    assert {name for name, _ in regressions(slowed(baseline, 1.2), baseline)} == {"baseline.latency_p90"}
    assert regressions(slowed(baseline, 0.5), baseline) == set()
    spread = copy.deepcopy(baseline)  # so few and scattered runs that 20% says nothing
    for file in spread["files"]:
        file["measured"]["samples"]["values"] = list(np.linspace(0.1, 4, 20))
    assert regressions(slowed(spread, 1.2), spread) == set()


def test_times_of_another_machine_are_not_compared(run: RunResult) -> None:
    baseline = report_of(run, ROOMY)
    now = slowed(baseline, 3)
    for file in now["files"]:
        file["measured"]["machine"] = "another one"
    assert {check.name for check in compare_with_baseline(now, baseline)} == {"baseline.accuracy", "baseline.size"}


def test_a_file_that_no_longer_ships_is_a_regression(run: RunResult) -> None:
    baseline = report_of(run, ROOMY)
    now = copy.deepcopy(baseline)
    now["files"] = [file for file in now["files"] if file["format"] != "tflite"]
    assert regressions(now, baseline) == {("baseline.files", "model.int8-static.tflite")}


def test_a_baseline_of_something_else_is_refused(run: RunResult) -> None:
    report = report_of(run, ROOMY)
    with pytest.raises(InputError, match="target is 'host', this bundle's is 'pixel8'"):
        compare_with_baseline(report, report_of(run, ROOMY, "host"))
    with pytest.raises(InputError, match="recipe is 'other'"):
        compare_with_baseline(report, report | {"recipe": "other"})
    with pytest.raises(InputError, match="schema is None"):
        compare_with_baseline(report, {})
