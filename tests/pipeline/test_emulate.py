"""Targets that are emulated: what a run makes of their files, what stands in the report, and what the gate decides.

The emulator is stood in for, but in the last test, which skips where it is not installed.
"""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.bundle import write_bundle
from pipeline.cli import app
from pipeline.context import RunContext
from pipeline.emulated import emulate as module
from pipeline.emulated.emulate import emulate, predicted_latency, refuse_unready
from pipeline.gate import compare_with_baseline, decide
from pipeline.gating.verdict import Check, Verdict
from pipeline.plan import describe_plan, make_plan
from pipeline.recipe import load_recipe
from pipeline.release import judge
from pipeline.report.record import make_report
from pipeline.results import ExportedFile, NetworkResult, PreparedData, RunResult
from pipeline.summary import emulated_files, release_rows
from targets.errors import TargetError
from targets.profile import Budgets, Profile, load_profile
from targets.runtimes.base import RuntimeOptions
from tests import releases
from tests.emulated_core import Core
from tests.targets.test_emulated import CAN_NOT_COUNT

RECIPE = Path(__file__).parents[2] / "recipes/digits-mobilenet.yaml"
ONNX, TFLITE = "model.int8-static.onnx", "model.int8-static.tflite"
ORT = RuntimeOptions("onnxruntime", 2, "cpu")


def profile(budgets: dict[str, Any] | None = None, target: str = "rpi4", **measure: Any) -> Profile:
    """A Raspberry Pi 4 that is emulated."""
    content = load_profile(target).model_dump(mode="json", by_alias=True)
    content["measure"] |= {"where": "emulated", **measure}
    content["budgets"]["image"] = budgets or {}
    return Profile.model_validate(content)


@pytest.fixture
def run(digits: PreparedData, tmp_path: Path) -> RunResult:
    return releases.release(tmp_path, digits)


@pytest.fixture
def linear(digits: PreparedData, tmp_path: Path) -> tuple[ExportedFile, NetworkResult]:
    student, weights, bias = releases.linear_student(tmp_path, digits)
    return releases.linear_onnx(tmp_path, digits, weights, bias), student


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    return Core(monkeypatch)


def report_of(run: RunResult, target: Profile, **budgets: Any) -> dict[str, Any]:
    return make_report(run, releases.recipe(), target, Budgets.model_validate(budgets))


def only(verdict: Verdict, name: str, file: str) -> Check:
    (check,) = (check for check in verdict.checks if (check.name, check.file) == (name, file))
    return check


def test_a_file_is_run_and_counted_on_each_core_once_and_kept(
    core: Core, linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    file, _ = linear
    target = profile()
    cores = target.cores
    both = target.model_copy(update={"cores": (*cores, cores[0].model_copy(update={"uarch": "Cortex-A53"}))})
    found = emulate(file, digits, ORT, both, context)
    assert [one.counts.core for one in found.cores] == ["cortex-a72", "cortex-a53"]
    assert all(one.outputs.passed and one.outputs.identical and one.outputs.samples == 5 for one in found.cores)
    assert sorted(core.asked) == [
        "count cortex-a53", "count cortex-a72", "run cortex-a53 5 2", "run cortex-a72 5 2",
    ]  # fmt: skip
    assert emulate(file, digits, ORT, both, context) == found
    assert len(core.asked) == 4  # found in the store


def test_what_a_core_computes_otherwise_is_kept_with_its_distance(
    core: Core, linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    core.wrong = 0.25
    (far,) = emulate(linear[0], digits, ORT, profile(), context).cores
    assert (far.outputs.passed, far.outputs.unit) == (False, "of the largest")
    core.wrong = float("nan")
    (none,) = emulate(replace(linear[0], fingerprint="other"), digits, ORT, profile(), context).cores
    assert (none.outputs.passed, none.outputs.largest) == (False, None)
    assert "no number, or of another shape" in none.outputs.explanation


def test_a_release_is_emulated_in_place_of_the_clock(
    core: Core, linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    from pipeline.files import Networks

    file, student = linear
    (target,) = make_plan(load_recipe(RECIPE, ("quantize.scheme=float32",)), ("rpi4",)).targets
    target = replace(target, profile=profile())
    networks = Networks(digits, digits, student, 1000, None, (student,))
    (plan,) = (one for one in target.files if one.format == "onnx")
    (found,) = judge(target, plan, [file], networks, context, latency=True)
    assert (found.latency, found.operator_times) == (None, None)
    assert found.emulated is not None
    assert found.predicted is not None
    assert found.predicted.prediction is None  # the profile does not allow it
    (left,) = judge(target, plan, [file], networks, context, latency=False)
    assert (left.emulated, left.predicted) == (None, None)
    # measured on this host, a budget of instructions is what the emulator is asked for
    here = replace(target, profile=load_profile("rpi4"), budgets=Budgets(instructions_m=50))
    quick = here.profile.measure.model_copy(update={"min_runs": 2, "max_runs": 2, "min_seconds": 0, "warmup": 0})
    here = replace(here, profile=here.profile.model_copy(update={"measure": quick}))
    (both,) = judge(here, plan, [file], networks, context, latency=True)
    assert both.latency is not None
    assert both.emulated is not None
    assert both.predicted is None


def test_the_upper_end_of_a_prediction_decides_a_latency_that_nobody_measured(run: RunResult) -> None:
    report = report_of(
        releases.emulated_for(run), profile(allow_prediction=True), latency_ms={"p90": 9.5}, confidence=0.99
    )
    check = only(decide(report), "latency_ms.p90", TFLITE)
    assert (check.passed, check.source, check.value) == (True, "predicted", 9.0)
    assert "predicted 6.00 ms, 99% sure of at most 9.00 ms, budget 9.5 ms" in check.explanation
    assert check.explanation.endswith("; a note")
    tight = report_of(releases.emulated_for(run), profile(allow_prediction=True), latency_ms={"p90": 8})
    assert only(decide(tight), "latency_ms.p90", TFLITE).passed is False
    tight["files"][-1]["predicted"]["extrapolated"] = True
    assert only(decide(tight), "latency_ms.p90", TFLITE).passed is None
    unasked = report_of(releases.emulated_for(run), profile(), latency_ms={"p90": 9.5})
    assert only(decide(unasked), "latency_ms.p90", TFLITE).passed is None  # the profile allows no such verdict


def test_a_latency_that_is_neither_measured_nor_predicted_is_undecided_with_the_reason(run: RunResult) -> None:
    report = report_of(releases.emulated_for(run), profile(), latency_ms={"p90": 9.5}, cold_start_ms=100)
    check = only(decide(report), "latency_ms.p90", ONNX)
    assert (check.passed, check.value, check.source) == (None, None, "none")
    assert check.explanation == (
        "latency was not measured, budget 9.5 ms: an emulated core tells none; measure on a device (--device), or "
        "import its log; not predicted: no latency of onnxruntime was measured"
    )
    assert "an emulated core tells none" in only(decide(report), "cold_start_ms", TFLITE).explanation


def test_a_budget_of_instructions_holds_every_file_on_every_core(run: RunResult) -> None:
    verdict = decide(report_of(releases.emulated_for(run), profile(), instructions_m=40))
    assert verdict.passed
    check = only(verdict, "instructions_m", ONNX)
    assert (check.value, check.limit, check.source) == (40.0, 40.0, "emulated")
    assert check.explanation == "40.000 million instructions on cortex-a72, budget 40 million"
    failed = only(decide(report_of(releases.emulated_for(run), profile(), instructions_m=39.5)), "instructions_m", ONNX)
    assert failed.passed is False
    assert "are 0.500 million over the budget of 39.5 million; 50% of them vector" in failed.explanation
    missing = only(decide(report_of(run, load_profile("rpi4"), instructions_m=40)), "instructions_m", ONNX)
    assert (missing.passed, missing.value) == (None, None)
    assert "were not counted, budget 40 million: run without --no-latency" in missing.explanation


def test_outputs_that_differ_on_a_core_fail_without_any_budget(run: RunResult) -> None:
    verdict = decide(report_of(releases.emulated_for(run, same=False), profile()))
    assert not verdict.passed
    assert only(verdict, "emulated.outputs", TFLITE).explanation == "cortex-a72: told"


def test_more_instructions_than_an_earlier_report_fail_without_an_emulator(run: RunResult) -> None:
    before, more, alike = (
        report_of(releases.emulated_for(run, total), profile()) for total in (40_000_000, 40_500_000, 40_390_000)
    )
    checks = [check for check in compare_with_baseline(more, before) if check.name == "baseline.instructions"]
    assert [(check.file, check.passed) for check in checks] == [(ONNX, False), (TFLITE, False)]
    assert "most of it vector: +0.250 million" in checks[0].explanation
    assert all(check.passed for check in compare_with_baseline(alike, before) if "instructions" in check.name)
    other = copy.deepcopy(before)
    for file in other["files"]:
        for core in (file["emulated"] or {"cores": []})["cores"]:
            core["qemu"] = "QEMU 8.0"
    assert not [check for check in compare_with_baseline(more, other) if "instructions" in check.name]


def test_a_report_of_an_earlier_edgepress_is_judged_as_before(run: RunResult) -> None:
    report = report_of(run, load_profile("rpi4"), latency_ms={"p90": 10})
    del report["budgets"]["instructions_m"]
    for file in report["files"]:
        del file["emulated"], file["predicted"]
    assert decide(report).passed
    assert compare_with_baseline(report, report)


def test_what_was_counted_is_no_part_of_what_repeats_to_the_bit(
    digits: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    plain, target = releases.real_release(tmp_path / "run", digits, context), profile()
    manifests = []
    for name, run in (("plain", plain), ("counted", releases.emulated_for(plain))):
        report = report_of(run, target)
        folder = write_bundle(run, releases.recipe(), target, report, decide(report), tmp_path / name)
        manifests.append(json.loads((folder / "manifest.json").read_text()))
    assert manifests[0]["reproducible_sha256"] == manifests[1]["reproducible_sha256"]
    assert manifests[0]["clock_figures"] == []
    assert manifests[1]["clock_figures"] == ["MODEL_CARD.md", "report.json", "report.html"]


def test_the_end_of_a_run_tells_counts_and_predictions(run: RunResult) -> None:
    report = report_of(releases.emulated_for(run), profile())
    assert emulated_files(report)[0] == f"{ONNX}: 40.000 million instructions on an emulated cortex-a72, told"
    _, rows = release_rows([report], [True])
    assert ["6.00 ms (predicted)" in row for row in rows] == [False, False, False, True]


def test_a_prediction_is_made_of_the_counts_with_the_budgets_confidence(
    core: Core, linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    file, _ = linear
    told = emulate(file, digits, ORT, profile(), context)
    refused = predicted_latency(file, told, profile(), 0.99)
    assert refused.prediction is None
    assert "the profile lets no verdict rest on a prediction" in str(refused.reason)
    none = predicted_latency(file, told, profile(allow_prediction=True), 0.99)
    assert none.prediction is None
    assert "no latency of onnxruntime was measured" in str(none.reason)
    assert core.asked.count("count cortex-a72") == 1


def test_a_plan_names_the_cores_and_refuses_those_that_can_not_be_emulated(tmp_path: Path) -> None:
    place = tmp_path / "mine.yaml"
    place.write_text(json.dumps(profile({"instructions_m": 25}).model_dump(mode="json", by_alias=True)))
    rows = describe_plan(make_plan(load_recipe(RECIPE), (str(place),)))
    assert ("emulate", f"{ONNX} on an emulated cortex-a72: golden outputs, instructions", "rpi4") in rows
    assert any(stage == "gate" and "instructions <= 25 million" in what for stage, what, _ in rows)
    place.write_text(json.dumps(profile(target="pixel8").model_dump(mode="json", by_alias=True)))
    told = CliRunner().invoke(app, ["run", str(RECIPE), "--target", str(place), "--out", str(tmp_path / "out")])
    assert told.exit_code == 2
    assert "Cortex-X3, Cortex-A715, Cortex-A510 can't be emulated" in told.output
    assert not (tmp_path / "out").exists()


def test_a_run_without_the_emulator_ends_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise TargetError("no QEMU: qemu-aarch64 is not on the PATH")

    monkeypatch.setattr(module, "find_qemu", missing)
    with pytest.raises(TargetError, match="no QEMU"):
        refuse_unready()
    place = tmp_path / "mine.yaml"
    place.write_text(json.dumps(profile().model_dump(mode="json", by_alias=True)))
    told = CliRunner().invoke(app, ["run", str(RECIPE), "--target", str(place), "--out", str(tmp_path / "out")])
    assert (told.exit_code, "no QEMU" in told.output) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(bool(CAN_NOT_COUNT), reason=CAN_NOT_COUNT)
def test_a_real_core_computes_and_counts_a_file(
    linear: tuple[ExportedFile, NetworkResult], digits: PreparedData, context: RunContext
) -> None:
    (found,) = emulate(linear[0], digits, ORT, profile(), context).cores
    assert found.outputs.passed, found.outputs.explanation
    assert found.counts.core == "cortex-a72"
    assert found.counts.total > 10_000  # 3,072 pixels by 10 classes, a few at a time
