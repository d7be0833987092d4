"""The report: every figure true, with its unit and source; the pages made of it stand alone."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.groups import write_groups
from pipeline.gate import decide
from pipeline.integrity import json_text
from pipeline.metrics import accuracy_of_counts
from pipeline.report.attribution import attribute
from pipeline.report.card import render_card
from pipeline.report.html import render_html
from pipeline.report.record import make_report
from pipeline.results import PreparedData, RunResult
from targets.profile import Budgets, load_profile
from tests import releases

SCHEMA_PAGE = Path(__file__).parents[2] / "docs/report-schema.md"
BUDGETS = Budgets.model_validate({"latency_ms": {"p90": 2}, "size_mb": 1, "accuracy": {"max_drop": 1.5}})
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


GROUPED = Budgets.model_validate({"accuracy": {"max_group_drop": 30, "min_group_size": 10}})  # 60 test samples


def report_of(run: RunResult, target: str = "pixel8", budgets: Budgets = BUDGETS, **settings: object) -> dict[str, Any]:
    return make_report(run, releases.recipe(run.data.task, **settings), load_profile(target), budgets)


def named(report: dict[str, Any], name: str) -> dict[str, Any]:
    (file,) = (file for file in report["files"] if file["name"] == name)
    return file  # type: ignore[no-any-return]


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
    found = leaves(report_of(replace(run, files=tuple(files)), budgets=GROUPED)) | leaves(report_of(text))
    found |= leaves(report_of(releases.pruned_for(run, "latency", 0.5, 0.49), prune={"latency": 0.5}))
    found |= leaves(report_of(releases.pruned_for(run, "size_mb", 1.5, 1.4), prune={"size_mb": 1.5}))
    found |= leaves(report_of(releases.emulated_for(run)))
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
    page = " ".join(" ".join(read(render_html(report, decide(report))).text).split())
    assert "word pieces 500 120 24%" in page
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
    assert "biases corrected" in " ".join(read(render_html(report, decide(report))).text)
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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 997), min_size=5, max_size=5), st.booleans(), st.booleans())
def test_losses_add_up_to_the_total_exactly(run: RunResult, correct: list[int], pruned: bool, beside: bool) -> None:
    teacher, student, after, float32, shipped = (accuracy_of_counts(n, 997) for n in correct)
    students = [replace(run.students[0], accuracy=student)]
    if pruned:
        students.append(replace(run.students[1], accuracy=after))
    changed = replace(run, teacher=replace(run.teacher, accuracy=teacher), students=tuple(students))
    plain, quantized = run.files[0], run.files[1]
    plain = replace(plain, accuracy=replace(plain.accuracy, accuracy=float32))
    quantized = replace(quantized, accuracy=replace(quantized.accuracy, accuracy=shipped))
    found = attribute(quantized, plain if beside else None, changed)
    assert sum(step["samples_lost"] for step in found["steps"]) == found["total"]["samples_lost"]
    assert found["total"]["samples_lost"] == teacher.correct - shipped.correct
    points = sum(step["points_lost"] for step in found["steps"])
    assert points == pytest.approx(found["total"]["points_lost"], abs=1e-9)
    ends = [step["to"] for step in found["steps"]]
    assert [step["from"] for step in found["steps"]] == ["teacher", *ends[:-1]]
    stages = [
        "distill",
        *(["prune"] if pruned else []),
        *(["export", "quantize"] if beside else ["export and quantize"]),
    ]
    assert [step["stage"] for step in found["steps"]] == stages


def test_a_float32_release_loses_nothing_to_quantize(run: RunResult) -> None:
    found = attribute(run.files[0], None, run)
    assert [step["stage"] for step in found["steps"]] == ["distill", "prune", "export"]


def test_accuracies_of_different_test_sets_are_not_compared(run: RunResult) -> None:
    other = replace(run, teacher=replace(run.teacher, accuracy=accuracy_of_counts(10, 11)))
    with pytest.raises(ValueError, match="different test sets"):
        attribute(run.files[0], None, other)


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
    verdict = decide(report)
    for text in (json_text(report), render_html(report, verdict), render_card(report, verdict)):
        assert "/home/someone" not in text
        assert str(tmp_path) not in text
    assert report["provenance"]["recipe"]["teacher"]["weights"] == "big.pth"


class Reader(HTMLParser):
    """Collects tags and attributes, and fails on a tag that is closed but was not opened."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> was not opened"
        opened = self.open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_the_page_needs_nothing_from_outside(run: RunResult) -> None:
    report = report_of(run)
    page = render_html(report, decide(report))
    reader = read(page)
    assert reader.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    addresses = [value for name, value in reader.attributes if name in ("src", "href", "xlink:href", "action", "data")]
    within = [value for value in addresses if not value.startswith("data:image/png;base64,")]
    assert all(value.startswith("#") for value in within)
    assert not re.search(r"@import|url\((?!#)|//", re.sub(r"<pre>.*?</pre>|base64,[^\"]*", "", page, flags=re.DOTALL))
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value for value in within if value[1:] not in ids} == set()


def test_the_page_leads_with_the_verdict_and_holds_the_figures(run: RunResult) -> None:
    report = report_of(run)
    text = " ".join(" ".join(read(render_html(report, decide(report))).text).split())
    assert text.index("failed") < text.index("Where accuracy went") < text.index("Class by class")
    assert "2 of 6 budgets not kept" in text
    assert "lost in prune" in text or "lost in quantize" in text or "lost in distill" in text
    for figure in ("86.67%", "0.400 MB", "30.0× smaller", "source: host", "prefers-color-scheme"):
        assert figure in text


def test_the_page_tells_how_each_group_does_and_marks_the_worst(run: RunResult) -> None:
    report = report_of(run, budgets=GROUPED)
    page = render_html(report, decide(report))
    text = " ".join(" ".join(read(page).text).split())
    assert text.index("Class by class") < text.index("Group by group") < text.index("Calibration")
    for words in ("brightness, of 255", "contrast, of 255", "groups of at least 10 samples"):
        assert words in text
    models = {model["name"]: model for model in report["audit"]["models"]}
    assert page.count('<td class="worst">') == 0
    assert page.count("<td class=worst>") == len(models)
    assert page.count('<span class="drop most">') == len(models) - 1 + 1  # all but the teacher, and the legend
    worst = models["model.int8-static.onnx"]["worst"]
    assert f"model.int8-static.onnx is weakest on {worst['by']} {worst['group']} :" in text
    lost = models["model.int8-static.onnx"]["largest_drop"]["drop"]
    assert f"−{lost['value']:.1f} points to the teacher" in text
    card = render_card(report, decide(report))
    assert f"({worst['by']} {worst['group']})" in card
    assert f"{lost['value']:.2f} points, 95% interval {lost['low']:.2f} to {lost['high']:.2f}" in card


def test_without_a_group_large_enough_none_is_called_the_worst(run: RunResult) -> None:
    report = report_of(run)
    page = render_html(report, decide(report))
    assert "<td class=worst>" not in page
    assert "is weakest on" not in " ".join(read(page).text)
    assert "no group so large" in render_card(report, decide(report))


def test_a_column_of_the_data_stands_on_the_page_and_is_shown_not_run(run: RunResult, tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    groups = [attack if row % 2 else "a|b" for row in range(len(run.data.targets))]
    write_groups(tmp_path / "groups.npz", attack, groups)
    report = report_of(replace(run, data=replace(run.data, groups_file=tmp_path / "groups.npz")), budgets=GROUPED)
    page, card = (render(report, decide(report)) for render in (render_html, render_card))
    assert [found["by"] for found in report["audit"]["groupings"]] == ["class", f"column {attack}"]
    assert "script" not in read(page).tags
    assert "<script" not in card


def test_the_same_report_gives_the_same_page(run: RunResult) -> None:
    first, second = report_of(run), json.loads(json_text(report_of(run)))
    assert render_html(first, decide(first)) == render_html(second, decide(second))
    assert render_card(first, decide(first)) == render_card(second, decide(second))


def test_names_from_data_and_recipe_are_shown_not_run(digits: PreparedData, tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    data = replace(digits, labels=(attack, "a|b", *digits.labels[2:]), licence=attack, source=attack)
    run = releases.release(tmp_path, data)
    run = replace(run, teacher=replace(run.teacher, name=attack, notes=(attack,)))
    report = report_of(run, description=attack)
    page = render_html(report, decide(report))
    assert "script" not in read(page).tags
    assert page.count("&lt;script&gt;") >= 6
    assert "<script" not in render_card(report, decide(report))


def test_a_text_release_without_latency_or_pruning_has_its_pages(reviews: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, reviews, prune=False, timed=False)
    run = replace(run, naive=None, files=run.files[:2])
    report = report_of(run)
    verdict = decide(report)
    text = " ".join(read(render_html(report, verdict)).text)
    assert "texts cut to length" in text
    assert "p90 latency" not in text
    assert "not measured" in render_card(report, verdict)
    assert "tokenizer.json" in render_card(report, verdict)


def test_many_classes_are_listed_worst_first_without_a_matrix(digits: PreparedData, tmp_path: Path) -> None:
    names = tuple(f"kind {index}" for index in range(60))
    targets = np.arange(len(digits.targets)) % 60
    np.save(tmp_path / "labels.npy", targets)
    run = releases.release(tmp_path, replace(digits, labels=names, labels_file=tmp_path / "labels.npy"))
    report = report_of(run)
    text = " ".join(read(render_html(report, decide(report))).text)
    assert "the 20 classes of 60 with the lowest accuracy" in text
    assert "Most frequent mistakes" in text
    assert "confusion matrix" not in text


def test_the_card_tells_what_who_how_well_and_how(run: RunResult) -> None:
    report = report_of(run)
    card = render_card(report, decide(report))
    for heading in ("Intended use", "Data", "Accuracy", "Size, latency and memory", "Limits", "How to feed it"):
        assert f"\n## {heading}\n" in card
    assert "| `model.int8-static.onnx` | 86.67% |" in card
    assert "source host" in card
    assert "not stated by the source" in card  # the licence
    assert "**failed**" in card
    columns = {line.count("|") for line in card.splitlines() if line.startswith("|")}
    assert columns == {5, 7, 8, 9}  # the pipes of a row in each kind of table
    assert "\n## Groups and calibration\n" in card
