"""The report: every figure true, with its unit and source, and every key described."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gate import decide
from pipeline.integrity import json_text
from pipeline.report.card import render_card
from pipeline.results import PreparedData, RunResult
from tests import releases
from tests.pipeline.report_pages import GROUPED, named, page_of, report_of, text_of, with_prediction

SCHEMA_PAGE = Path(__file__).parents[2] / "docs/report-schema.md"
FIGURE = ("value", "unit", "source")
SHAPES = {
    "figure": FIGURE,
    "accuracy": (*FIGURE, "low", "high", "correct", "total"),
    "estimate": (*FIGURE, "low", "high"),
    "drop": (*FIGURE, "low", "high", "lost", "gained"),
}


@pytest.fixture
def run(digits: PreparedData, tmp_path: Path) -> RunResult:
    return releases.release(tmp_path, digits, explain=True, layers=True)


def leaves(value: Any, path: str = "") -> set[str]:
    """Paths of all values that hold no others; `[]` for an item of a list. What the recipe and the profile hold is
    told elsewhere."""
    if path in ("provenance.recipe", "provenance.profile"):
        return {path}
    if isinstance(value, dict) and value:
        return set().union(*(leaves(item, f"{path}.{key}" if path else key) for key, item in value.items()))
    if isinstance(value, list) and value:
        return set().union(*(leaves(item, path + "[]") for item in value))
    return {path}


def documented() -> set[str]:
    """Every leaf that the schema's page describes."""
    rows = dict(re.findall(r"^\| `([^`]+)` \| ([^|]*) \|[^|]*\|[^|]*\|$", SCHEMA_PAGE.read_text(), re.MULTILINE))
    holders = {key for key in rows if any(other.startswith((f"{key}.", f"{key}[]")) for other in rows)}
    keys = set(rows) - holders
    for key, kind in rows.items():
        shape = SHAPES.get(kind.removesuffix(" or null"))
        if shape:
            keys = keys - {key} | {f"{key}.{part}" for part in shape}
    return keys


def test_the_schemas_page_describes_every_key_and_no_other(
    run: RunResult, reviews: PreparedData, tmp_path: Path
) -> None:
    text = releases.release(tmp_path / "text", reviews, timed=False, prune=False, trim=True, explain=True)
    run = replace(run, notes=("a note",), teacher=replace(run.teacher, notes=("a note",)))
    files = [replace(file, export=replace(file.export, notes=("a note",))) for file in run.files]
    peers = [{"name": "other", "accuracy": 0.9, "size_mb": 2, "latency_ms": 3, "source": "a paper"}]
    whole = report_of(replace(run, files=tuple(files)), budgets=GROUPED, peers=peers)
    found = leaves(with_prediction(whole)) | leaves(report_of(text))
    found |= leaves(report_of(releases.pruned_for(run, "latency", 0.5, 0.49), prune={"latency": 0.5}))
    found |= leaves(report_of(releases.pruned_for(run, "size_mb", 1.5, 1.4), prune={"size_mb": 1.5}))
    found |= leaves(report_of(run, prune={"sparsity": 0.8}, quantize={"scheme": "float32"}))
    found |= leaves(report_of(releases.emulated_for(run)))
    unknown = replace(run.files[0].export, format="mlpackage", notes=("nothing here runs it",))
    found |= leaves(report_of(replace(run, unvalidated=(unknown,))))
    keys = documented()

    def fits(key: str, path: str) -> bool:
        return re.fullmatch(re.escape(key).replace(r"\*", r"[^.]+"), path) is not None

    def holds_nothing(path: str) -> bool:
        """Null or empty here, with keys of its own elsewhere."""
        parts = re.split(r"(?=\.|\[\])", path)
        return any(fits("".join(re.split(r"(?=\.|\[\])", key)[: len(parts)]), path) for key in keys)

    assert {path for path in found if not any(fits(key, path) for key in keys) and not holds_nothing(path)} == set()
    assert {key for key in keys if not any(fits(key, path) for path in found)} - {"host.isa[]"} == set()


def test_the_report_is_json_that_says_the_same_when_read_back(run: RunResult) -> None:
    report = report_of(run)
    assert json.loads(json_text(report)) == report


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_text_keeps_every_value(value: Any) -> None:
    assert json.loads(json_text(value)) == value


def test_figures_are_those_of_the_results(run: RunResult) -> None:
    report = report_of(run)
    assert report["networks"]["teacher"]["accuracy"]["correct"] == 58
    assert report["networks"]["naive"]["accuracy"]["value"] == pytest.approx(51 / 60)
    file = named(report, "model.int8-static.onnx")
    assert file["accuracy"]["correct"] == 52
    assert file["accuracy"]["low"] < 52 / 60 < file["accuracy"]["high"]
    assert file["size"] == {"value": 400_000, "unit": "bytes", "source": "counted"}
    assert file["times_smaller_than_teacher"]["value"] == 30
    assert file["measured"]["times_faster_than_float32"]["value"] == pytest.approx(2.0)
    assert file["measured"]["latency"]["p90"]["source"] == "host"
    assert len(file["measured"]["samples"]["values"]) == file["measured"]["runs"] == 200
    assert named(report, "model.float32.onnx")["shipped"] is False
    before, after = report["pruning"]["parameters"]["before"], report["pruning"]["parameters"]["after"]
    assert (before["value"], after["value"]) == (9_000, 7_000)
    assert named(report, "model.int8-static.tflite")["calibration"]["samples"]["value"] == 16


def test_what_trimming_saved_and_lost_is_told_apart_from_pruning(reviews: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, reviews, trim=True, student=2, pruned=5, trimmed=6, float32=6, onnx=6)
    report = report_of(run)
    pieces = report["vocabulary"]["pieces"]
    assert (pieces["before"]["value"], pieces["after"]["value"]) == (500, 120)
    for stage, sizes, correct in (("pruning", (9_000, 7_000), (22, 19)), ("vocabulary", (7_000, 5_000), (19, 18))):
        sides = report[stage]["parameters"]
        assert (sides["before"]["value"], sides["after"]["value"]) == sizes
        assert tuple(report[stage]["accuracy"][side]["correct"] for side in ("before", "after")) == correct
    steps = named(report, "model.int8-static.onnx")["attribution"]["steps"]
    assert [(step["stage"], step["samples_lost"]) for step in steps] == [
        ("distill", 0), ("prune", 3), ("trim", 1), ("export", 0), ("quantize", 0),
    ]  # fmt: skip
    assert report["networks"]["trimmed"]["agreement_with_student"]["value"] == 1
    assert "word pieces 500 120 24%" in text_of(report)
    assert "trimmed_net, 5,000 parameters" in render_card(report, decide(report))


def test_agreement_between_formats_is_counted_on_the_whole_test_set(digits: PreparedData, tmp_path: Path) -> None:
    report = report_of(releases.release(tmp_path, digits, onnx=6, tflite=9))
    (pair,) = report["agreements"]
    assert pair["files"] == ["model.int8-static.onnx", "model.int8-static.tflite"]
    assert pair["samples"] == 60
    assert pair["value"] == pytest.approx(57 / 60)


def test_a_student_of_its_own_for_8_bits_stands_beside_the_student(run: RunResult) -> None:
    own = replace(run.students[-1], role="int8", name="ready_for_8_bits", notes=("biases corrected",))
    report = report_of(replace(run, int8=own))
    assert report["networks"]["int8"]["name"] == "ready_for_8_bits"
    assert "biases corrected" in text_of(report)
    assert "int8: biases corrected" in render_card(report, decide(report))


def test_classes_and_mistakes_add_up(run: RunResult) -> None:
    for file in report_of(run)["files"]:
        if not file["shipped"]:
            assert file["per_class"] is file["confusion"] is file["attribution"] is None
            continue
        assert sum(row["total"] for row in file["per_class"]) == file["accuracy"]["total"]
        assert sum(row["correct"] for row in file["per_class"]) == file["accuracy"]["correct"]
        wrong = file["accuracy"]["total"] - file["accuracy"]["correct"]
        assert sum(row["samples"] for row in file["confusion"]) == wrong
        for row in file["per_class"]:
            missed = sum(mistake["samples"] for mistake in file["confusion"] if mistake["label"] == row["label"])
            assert missed == row["total"] - row["correct"]


def test_a_teacher_no_better_than_the_naive_student_is_said(digits: PreparedData, tmp_path: Path) -> None:
    weak = report_of(releases.release(tmp_path / "weak", digits, teacher=9, naive=9, student=8))
    assert any("no better than a student trained without it" in note for note in weak["notes"])
    strong = report_of(releases.release(tmp_path / "strong", digits))
    assert strong["notes"] == []


def test_int8_that_is_not_faster_is_said(run: RunResult, tmp_path: Path) -> None:
    files = list(run.files)
    files[1] = replace(files[1], latency=releases.latency(tmp_path / "slow", 4.0))
    file = named(report_of(replace(run, files=tuple(files))), "model.int8-static.onnx")
    assert file["measured"]["times_faster_than_float32"]["value"] < 1
    assert any("int8-static is not faster than float32 here" in note for note in file["measured"]["notes"])


def test_what_the_clock_gave_stands_under_measured_alone(run: RunResult, tmp_path: Path) -> None:
    later = tuple(
        replace(file, latency=releases.latency(tmp_path / f"later{index}", 7.7)) for index, file in enumerate(run.files)
    )

    def timeless(report: dict[str, Any]) -> str:
        return json_text(report | {"files": [file | {"measured": None} for file in report["files"]]})

    first, second = report_of(run), report_of(replace(run, files=later))
    assert json_text(first) != json_text(second)
    assert timeless(first) == timeless(second)


def test_no_folder_of_the_machine_gets_into_report_or_pages(run: RunResult, tmp_path: Path) -> None:
    report = report_of(run)
    for text in (json_text(report), page_of(report), render_card(report, decide(report))):
        assert "/home/someone" not in text
        assert str(tmp_path) not in text
    assert report["provenance"]["recipe"]["teacher"]["weights"] == "big.pth"
