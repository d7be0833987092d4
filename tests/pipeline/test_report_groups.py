"""Groups of the test set on the page and the card: each with its figures, the worst of them marked."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.data.groups import write_groups
from pipeline.gate import decide
from pipeline.report.card import render_card
from pipeline.results import PreparedData, RunResult
from tests import releases
from tests.pipeline.report_pages import GROUPED, page_of, read, report_of, text_of


@pytest.fixture
def run(digits: PreparedData, tmp_path: Path) -> RunResult:
    return releases.release(tmp_path, digits)


def test_the_page_tells_how_each_group_does_and_marks_the_worst(run: RunResult) -> None:
    report = report_of(run, budgets=GROUPED)
    page, text = page_of(report), text_of(report)
    assert text.index("Confusion matrix") < text.index("brightness, of 255") < text.index("Is confidence earned?")
    for words in ("brightness, of 255", "contrast, of 255", "groups of at least 10 samples"):
        assert words in text
    models = {model["name"]: model for model in report["audit"]["models"]}
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
    assert "<td class=worst>" not in page_of(report)
    assert "is weakest on" not in text_of(report)
    assert "no group so large" in render_card(report, decide(report))


def test_a_column_of_the_data_stands_on_the_page_and_is_shown_not_run(run: RunResult, tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    groups = [attack if row % 2 else "a|b" for row in range(len(run.data.targets))]
    write_groups(tmp_path / "groups.npz", attack, groups)
    report = report_of(replace(run, data=replace(run.data, groups_file=tmp_path / "groups.npz")), budgets=GROUPED)
    assert [found["by"] for found in report["audit"]["groupings"]] == ["class", f"column {attack}"]
    assert "script" not in read(page_of(report)).tags
    assert "<script" not in render_card(report, decide(report))
