"""What a profile asks of operators is a budget like any other; and 8 bits that gain no time are explained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.gate import decide
from pipeline.gating.verdict import Check, Verdict
from pipeline.report.card import render_card
from pipeline.report.html import render_html
from pipeline.report.record import make_report
from pipeline.results import PreparedData, RunResult, TargetFile
from pipeline.slow import not_faster
from pipeline.student import STUDENTS
from targets.profile import Budgets, Profile, load_profile
from tests import releases

ONNX, TFLITE = "model.int8-static.onnx", "model.int8-static.tflite"


@pytest.fixture
def run(digits: PreparedData, tmp_path: Path) -> RunResult:
    return releases.release(tmp_path, digits)


def wanting(min_delegated: float | None = None, max_transposes: int | None = None) -> Profile:
    content = load_profile("pixel8").model_dump(by_alias=True)
    for runtime in content["runtimes"]:
        runtime["min_delegated"] = min_delegated
    content["export"]["max_transposes"] = max_transposes
    return Profile.model_validate(content)


def report_of(run: RunResult, profile: Profile, family: str = "mobilenetv3_small") -> dict[str, Any]:
    return make_report(run, releases.recipe(student={"family": family}), profile, Budgets())


def only(verdict: Verdict, file: str) -> Check:
    (check,) = (check for check in verdict.checks if check.file == file)
    return check


def test_a_share_below_the_wanted_one_fails_and_names_what_was_left_out(run: RunResult) -> None:
    verdict = decide(report_of(run, wanting(min_delegated=0.95)))
    assert not verdict.passed
    check = only(verdict, TFLITE)
    assert (check.name, check.value, check.op, check.limit) == ("runtimes.min_delegated", 0.9, ">=", 0.95)
    assert check.passed is False
    assert check.stage == "quantize"  # the float32 file beside it is taken whole
    assert check.explanation == (
        "XNNPACK runs 90.0% of 20 operators as int8-static means, at least 95.0% wanted; left out: 2 hard-swish; "
        "the graph runs in 3 pieces"
    )
    assert "computed in float: 4 hard-swish, 1 softmax" in only(verdict, ONNX).explanation


def test_a_share_on_its_limit_passes(run: RunResult) -> None:
    verdict = decide(report_of(run, wanting(min_delegated=0.9)))
    assert only(verdict, TFLITE).passed is True
    assert only(verdict, ONNX).passed is False  # 15 of 20


def test_what_fell_out_before_quantizing_is_laid_to_export(run: RunResult) -> None:
    files = tuple(
        replace(file, coverage=replace(file.coverage, taken={"conv": 10}, left_out={"erf": 10}))  # type: ignore[type-var]
        for file in run.files
    )
    check = only(decide(report_of(replace(run, files=files), wanting(min_delegated=0.9))), TFLITE)
    assert check.stage == "export"


@pytest.mark.parametrize(("limit", "passed"), [(0, False), (1, True)])
def test_transposes_are_held_to_their_budget(run: RunResult, limit: int, passed: bool) -> None:
    verdict = decide(report_of(run, wanting(max_transposes=limit)))
    check = only(verdict, ONNX)
    assert (check.name, check.value, check.passed) == ("export.max_transposes", 1, passed)
    assert check.stage == (None if passed else "export")
    assert check.explanation == f"transposes among the file's operators: 1, at most {limit} wanted"


def test_a_profile_that_asks_for_nothing_and_a_report_of_before_are_not_judged(run: RunResult) -> None:
    assert decide(report_of(run, wanting())).checks == ()
    report = report_of(run, wanting(min_delegated=1.0))
    for file in report["files"]:
        del file["operators"]
    assert decide(report).checks == ()


def slow(run: RunResult, format_name: str, folder: Path) -> tuple[TargetFile, TargetFile]:
    """The INT8 file of a format, three times slower than measured, and the float32 file beside it."""
    before, after = (file for file in run.files if file.export.format == format_name)
    return replace(after, latency=releases.latency(folder, 4.5)), before


def test_a_slow_tflite_file_is_explained_by_what_the_delegate_left_out(run: RunResult, tmp_path: Path) -> None:
    told = not_faster(*slow(run, "tflite", tmp_path / "slow"), "mobilenetv3_small")
    assert told is not None
    for words in (
        "int8-static is not faster than float32 here: p50 4.5",
        "XNNPACK left out 2 hard-swish: the graph runs in 3 pieces (1 in float32)",
        "LiteRT's Python interface has no profiler",
        "saves bytes alone, 0.400 MB against 1.20 MB",
        "student.adapt: [hard-swish], and the student learns without",
        f"student.family: {STUDENTS['mobilenetv3_small'].alternative}, which has no hard-swish",
        "quantization.scheme: float16",
    ):
        assert words in told


def test_what_float32_leaves_out_too_is_no_reason(run: RunResult, tmp_path: Path) -> None:
    after, before = slow(run, "tflite", tmp_path / "slow")
    assert before.coverage is not None
    before = replace(before, coverage=replace(before.coverage, left_out={"hard-swish": 2}, pieces=3))
    told = not_faster(after, before, "mobilenetv3_small")
    assert told is not None
    assert "left out" not in told
    assert "student.family" not in told


def test_a_slow_onnx_file_is_explained_by_where_its_time_goes(run: RunResult, tmp_path: Path) -> None:
    told = not_faster(*slow(run, "onnx", tmp_path / "slow"), "mobilenetv3_small")
    assert told is not None
    assert "In float, between 10 conversions, compute 4 hard-swish, 1 softmax of 20 operators" in told
    dearer = "hard-swish 1.00 ms against 0.250, conversions between float and 8 bits 0.500 ms against none"
    assert f"Dearer by onnxruntime's profiler: {dearer}" in told
    assert "convolutions" not in told  # they became cheaper


def test_no_operator_is_blamed_that_is_not_there(run: RunResult, tmp_path: Path) -> None:
    after, before = slow(run, "tflite", tmp_path / "slow")
    told = not_faster(replace(after, coverage=before.coverage), before, "mobilenetv3_small")
    assert told is not None
    assert "No operator fell out, of 20: none is to blame" in told
    assert "student.family" not in told


def test_a_faster_file_needs_no_explanation(run: RunResult) -> None:
    before, after = (file for file in run.files if file.export.format == "onnx")
    assert not_faster(after, before, "mobilenetv2") is None


def test_page_and_card_show_the_operators_of_every_file(run: RunResult) -> None:
    report = report_of(run, wanting(min_delegated=0.95))
    verdict = decide(report)
    page, card = render_html(report, verdict), render_card(report, verdict)
    assert page.index("<h2>Class by class</h2>") < page.index("<h2>Operators</h2>") < page.index("<h2>Training</h2>")
    assert page.count("90.0%") >= 1
    assert "2 hard-swish" in page
    assert "dequantize-linear" in page  # of the profile
    assert "Delegated operators" in page
    assert f"| `{TFLITE}` | 20 | 90.0% | 100.0% | 3 | 1 | 2 hard-swish |" in card
    bare = replace(run, files=tuple(replace(file, coverage=None, operator_times=None) for file in run.files))
    report = report_of(bare, wanting())
    assert "<h2>Operators</h2>" not in render_html(report, decide(report))
    assert "## Operators" not in render_card(report, decide(report))
