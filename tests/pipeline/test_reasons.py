"""A verdict in words: the stage that lost it, settings that exist, and the budget with the least room."""

import copy
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from pipeline.context import RunContext
from pipeline.gate import compare_with_baseline, decide
from pipeline.gating.advice import Advice, advise
from pipeline.gating.reasons import Reason, explain_verdict, least_room, room_in_words
from pipeline.gating.verdict import Check, Verdict
from pipeline.recipe import Recipe
from pipeline.report.record import make_report
from pipeline.results import PreparedData
from targets.profile import Budgets, Profile, load_profile
from tests import releases
from tests.packed import ROOMY, STRICT, report_of

STAGES = ("teacher", "distill", "prune", "trim", "export", "quantize", "export and quantize", None)
BUDGETS = (
    "accuracy.min", "accuracy.max_drop", "accuracy.min_agreement", "accuracy.max_group_drop", "size_mb",
    "latency_ms.p50", "latency_ms.p90", "latency_ms.p99", "cold_start_ms", "peak_mem_mb", "runtimes.min_delegated",
    "runtimes.allow_fallback", "export.max_transposes", "baseline.accuracy", "baseline.size", "baseline.latency_p90",
)  # fmt: skip
RECIPES: list[dict[str, Any]] = [
    {},
    {"prune": {"macs": 0.5, "recovery_epochs": 2}, "student": {"family": "mobilenetv2", "width": 2.0}},
    {"prune": {"size_mb": 0.5, "when": "before"}, "student": {"family": "mobilenetv2", "weights": "hub"}},
    {"quantize": {"aware": {"epochs": 2}}, "teacher": {"model": "onnx:/x/t.onnx", "epochs": 0}},
    {"quantize": {"equalize": True, "correct_biases": True}, "distill": {"augmentation": {"shift": 0.1}}},
    {"task": "text-classification", "student": {"family": "tinybert"}},
    {
        "task": "text-classification", "student": {"family": "tinybert", "start": "layers"},
        "text": {"vocabulary": "task", "least_count": 2, "sequence_length": 512}, "prune": {"layers": 2},
    },
]  # fmt: skip


def exists(model: type[BaseModel], name: str) -> bool:
    """Whether `name` is a setting of `model`, by its dotted path."""
    head, _, rest = name.partition(".")
    fields = {field.alias or key: field for key, field in model.model_fields.items()}
    if head not in fields:
        return False
    if not rest:
        return True
    annotation = fields[head].annotation
    parts = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
    return any(issubclass(part, BaseModel) and exists(part, rest) for part in parts)


def made_with(recipe: dict[str, Any], target: str) -> dict[str, Any]:
    """As much of a report as advice looks at."""
    parsed = releases.recipe(**recipe)
    provenance = {
        "recipe": parsed.model_dump(mode="json", by_alias=True),
        "profile": load_profile(target).for_reports(),
    }
    return {"provenance": provenance, "task": parsed.task}


def every_advice() -> set[Advice]:
    found: set[Advice] = set()
    kinds: list[dict[str, Any]] = [{"kind": "hard-swish", "count": 2}]
    for recipe in RECIPES:
        for target in ("pixel8", "coral_dev", "android_go", "iphone15"):
            report = made_with(recipe, target)
            for scheme in ("float32", "float16", "int8-dynamic", "int8-static"):
                file = {"scheme": scheme, "operators": {"left_out": kinds, "in_float": [], "count": {"value": 20}}}
                for name in BUDGETS:
                    for stage in STAGES:
                        for passed in (False, None):
                            check = Check(name, "f", 1.0, "<=", 0.5, "MB", "host", passed, stage, "")
                            found |= set(advise(check, report, file)) | set(advise(check, report, None))
    return found


def test_every_setting_that_is_named_exists() -> None:
    """In words too: nothing with a dot that no recipe and no profile knows."""
    models: dict[str, type[BaseModel]] = {"recipe": Recipe, "profile": Profile}
    found = every_advice()
    assert len({advice.setting for advice in found}) > 25
    for advice in found:
        assert exists(models[advice.place], advice.setting), advice
        for word in re.findall(r"(?<![\w./])[a-z_]+(?:\.[a-z_]+)+(?![\w./])", advice.text):
            assert exists(Recipe, word), advice
    assert not exists(Recipe, "distill.epoch")
    assert not exists(Recipe, "distill.epochs.more")


def advised(check: Check, recipe: dict[str, Any], target: str = "pixel8", scheme: str = "int8-static") -> list[str]:
    file = {"scheme": scheme, "operators": None}
    return [advice.setting for advice in advise(check, made_with(recipe, target), file)]


def missed(name: str, stage: str | None, passed: bool | None = False) -> Check:
    return Check(name, "f", 1.0, "<=", 0.5, "MB", "host", passed, stage, "")


def test_advice_fits_the_stage_and_what_the_recipe_says_already() -> None:
    lost = missed("accuracy.max_drop", "quantize")
    assert advised(lost, {})[:2] == ["quantize.correct_biases", "quantize.equalize"]
    repaired = advised(lost, {"quantize": {"equalize": True, "correct_biases": True}})
    assert not {"quantize.correct_biases", "quantize.equalize"} & set(repaired)
    text = {"task": "text-classification", "student": {"family": "tinybert"}}
    assert not [name for name in advised(lost, text) if name.startswith("quantize.aware")]
    assert "quantize.max_drop" not in advised(lost, {}, "coral_dev")  # which runs no float layers
    assert advised(missed("accuracy.min", "distill"), {})[0] == "distill.epochs"
    assert "prune.macs" in advised(missed("accuracy.min", "prune"), {"prune": {"macs": 0.5}})
    assert "prune.macs" not in advised(missed("accuracy.min", "prune"), {"prune": {"size_mb": 0.5}})
    assert advised(missed("accuracy.min", "teacher"), {})[:2] == ["teacher.epochs", "teacher.model"]
    used = {"teacher": {"model": "onnx:/x/t.onnx", "epochs": 0}}
    assert "teacher.epochs" not in advised(missed("accuracy.min", "teacher"), used)
    assert "text.vocabulary" in advised(missed("size_mb", "distill"), text)
    assert advised(missed("latency_ms.p90", None, None), {}) == ["measure.max_runs"]
    assert "prune.params" in advised(
        missed("latency_ms.p90", "distill"), {"prune": {"params": 0.5}}
    )  # one goal at a time


def test_operators_are_to_blame_only_where_they_are_many() -> None:
    late, settings = missed("latency_ms.p90", "distill"), made_with({}, "pixel8")
    for count, blamed in ((1, False), (4, True)):
        operators = {"left_out": [{"kind": "softmax", "count": count}], "in_float": [], "count": {"value": 20}}
        found = advise(late, settings, {"scheme": "int8-static", "operators": operators})
        assert ("student.adapt" in {advice.setting for advice in found}) is blamed


def reasons_of(report: dict[str, Any], **more: Any) -> dict[str, Reason]:
    """By budget, of the ONNX file."""
    found = explain_verdict(decide(report), report, **more)
    return {reason.check.name: reason for reason in found if "onnx" in reason.check.file}


def test_every_missed_budget_has_a_reason_and_something_to_try(digits: PreparedData, tmp_path: Path) -> None:
    report = report_of(tmp_path, digits, STRICT)
    verdict = decide(report)
    reasons = explain_verdict(verdict, report)
    assert [reason.check for reason in reasons] == list(verdict.missed)
    assert len(reasons) >= 8
    for reason in reasons:
        assert reason.advice, reason.check.name


def test_the_path_from_the_teacher_adds_up(digits: PreparedData, tmp_path: Path) -> None:
    """Mistakes of 60: teacher 2, student 4, pruned 6, float32 6, int8 8."""
    reason = reasons_of(report_of(tmp_path, digits, STRICT))["accuracy.max_drop"]
    assert reason.told == (
        "teacher 96.67% -> student 93.33% (distill lost 3.33) -> pruned 90.00% (prune lost 3.33) -> "
        "float32 onnx 90.00% (export lost nothing) -> int8-static onnx 86.67% (quantize lost 3.33)",
    )


def test_latency_is_laid_to_operators(digits: PreparedData, tmp_path: Path) -> None:
    told = " | ".join(reasons_of(report_of(tmp_path, digits, STRICT))["latency_ms.p90"].told)
    assert "of 20 operators: computed in float 4 hard-swish, 1 softmax" in told
    assert "the profiled time goes to q-linear-conv 50%, hard-swish 33%" in told


def test_size_tells_what_the_bytes_are(digits: PreparedData, context: RunContext, tmp_path: Path) -> None:
    run = releases.real_release(tmp_path / "run", digits, context)
    budgets = Budgets.model_validate({"size_mb": 0.01})
    report = make_report(run, releases.recipe(), load_profile("pixel8"), budgets)
    file = run.files[0].export
    (tmp_path / "model.float32.onnx").write_bytes(file.file.read_bytes())
    (reason,) = explain_verdict(decide(report), report, tmp_path)
    weights = 32 * 32 * 3 * 10 * 4
    assert f"of {file.bytes / 1e6:.3f} MB: constants {weights / 1e6:.3f} MB float32" in reason.told[0]
    assert "weights (gemm, 0.123 MB)" in reason.told[1]
    assert "prune.size_mb" in [advice.setting for advice in reason.advice]


def test_a_regression_tells_what_changed_since(digits: PreparedData, tmp_path: Path) -> None:
    before = report_of(tmp_path / "a", digits, ROOMY)
    after = copy.deepcopy(report_of(tmp_path / "b", digits, ROOMY, onnx=20))
    after["provenance"]["recipe"]["calibration"]["samples"] = 16
    after["provenance"]["versions"]["onnxruntime"] = "0.0.1"
    verdict = Verdict(compare_with_baseline(after, before))
    (reason,) = explain_verdict(verdict, after, baseline=before)
    told = " | ".join(reason.told)
    assert reason.check.name == "baseline.accuracy"
    assert reason.check.stage == "quantize"
    assert "quantize loses 20.00 points more than in the baseline" in told
    assert "changed in the recipe: calibration.samples 256 -> 16" in told
    assert f"onnxruntime {before['provenance']['versions']['onnxruntime']} -> 0.0.1" in told
    assert "changed in the profile" not in told


def check(name: str, value: float, op: Any, limit: float, unit: str, passed: bool | None = True) -> Check:
    return Check(name, "model.onnx", value, op, limit, unit, "host", passed, None, "so it is")


def test_the_least_room_is_counted_by_what_is_allowed() -> None:
    roomy, narrow = check("size_mb", 1.0, "<=", 2.0, "MB"), check("accuracy.min", 0.97, ">=", 0.96, "share")
    assert least_room(Verdict((roomy, narrow))) == (narrow, pytest.approx(0.25))  # 3 of 4 errors allowed are made
    tight = check("latency_ms.p90", 9.0, "<=", 10.0, "ms")
    assert least_room(Verdict((roomy, narrow, tight))) == (tight, pytest.approx(0.1))
    nothing_to_spare = check("runtimes.allow_fallback", 0, "<=", 0, "operators")
    files = check("baseline.files", 1, ">=", 1, "files")
    assert least_room(Verdict((nothing_to_spare, files))) is None
    assert least_room(Verdict((check("size_mb", 3.0, "<=", 2.0, "MB", False),))) is None
    assert "latency_ms.p90 of model.onnx, 10.0% of what is allowed is left" in room_in_words(Verdict((tight,)))
    assert "No budget" in room_in_words(Verdict(()))
