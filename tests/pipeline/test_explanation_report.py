"""Why teacher and student decide so, as report and page tell it."""

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.gate import decide
from pipeline.report.html import render_html
from pipeline.report.record import make_report
from pipeline.results import ExplainResult, PreparedData, RunResult
from targets.profile import Budgets, load_profile
from tests import releases

NAN = float("nan")
CORRELATION = [0.5, NAN, -0.2, 0.9, 0.1, 0.3, 0.8, 0.7, 0.6]
ALLOWED = Budgets.model_validate({"accuracy": {"max_drop": 5}})
Made = Callable[..., RunResult]


@pytest.fixture
def made(digits: PreparedData, tmp_path: Path) -> Made:
    """A release with an explanation; the student makes 4 mistakes of 60, the teacher 2, unless told otherwise."""

    def make(found: ExplainResult | None = None, **mistakes: int) -> RunResult:
        run = releases.release(tmp_path, digits, prune=False, timed=False, **mistakes)
        return replace(run, explanation=found or releases.explained(tmp_path / "why", digits, CORRELATION))

    return make


def report_of(run: RunResult, budgets: Budgets = ALLOWED) -> dict[str, Any]:
    return make_report(run, releases.recipe(run.data.task), load_profile("pixel8"), budgets)


def page_of(report: dict[str, Any]) -> str:
    return render_html(report, decide(report))


def text_of(page: str) -> str:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(page)
    return " ".join(" ".join(found).split())


def test_without_an_explanation_the_report_says_null_and_the_page_nothing(made: Made) -> None:
    report = report_of(replace(made(), explanation=None))
    assert report["explanation"] is None
    page = page_of(report)
    assert "Why it decides so" not in page


def test_the_worst_disagreements_are_those_of_the_lowest_correlation(made: Made, digits: PreparedData) -> None:
    run = made()
    found = report_of(run)["explanation"]
    assert [sample["rank_correlation"] for sample in found["worst"]] == [-0.2, 0.1, 0.3, 0.5, 0.6, 0.7]
    row = int(digits.rows("test")[2])
    assert found["worst"][0]["row"] == row
    assert found["worst"][0]["label"] == digits.labels[digits.targets[row]]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["worst"][0]["png"]))))
    assert (pixels == digits.inputs[row]).all()
    assert found["rank_correlation"]["values"][1] is None
    stored = np.load(run.explanation.samples_file)  # type: ignore[union-attr]
    shares = [part["student"] for part in found["worst"][0]["parts"]]
    assert shares == pytest.approx(stored["student"][2] / np.abs(stored["student"][2]).max(), abs=1e-4)


def test_the_page_shows_image_and_both_heat_maps(made: Made) -> None:
    report = report_of(made())
    page = page_of(report)
    assert "img-src data:" in page
    maps = re.findall(r'<svg viewBox="0 0 13 4">.*?</svg>', page)
    assert len(maps) == 6
    for drawn, sample in zip(maps, report["explanation"]["worst"], strict=True):
        assert drawn.count("<image") == 1
        assert drawn.count("<use") == 2
        parts = sample["parts"]
        for colour, sign in (("series-0", 1), ("series-1", -1)):
            cells = sum(sign * part[side] >= 0.04 for part in parts for side in ("teacher", "student"))
            assert drawn.count(f"var(--{colour})") == cells
    text = text_of(page)
    for words in ("Why it decides so", "0.40 mean rank correlation", "75% of the samples", "rank correlation -0.20"):
        assert words in text
    assert page == page_of(json.loads(json.dumps(report)))


def test_texts_are_shown_in_their_own_letters_and_never_run(reviews: PreparedData, tmp_path: Path) -> None:
    texts = ["<b>&x y"] * len(reviews.targets)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    data = replace(reviews, texts_file=tmp_path / "texts.jsonl", labels=("<script>", "good"))
    run = releases.release(tmp_path, data, prune=False, timed=False)
    run = replace(run, explanation=releases.explained(tmp_path / "why", data, [0.4, -0.1], missed=None))
    report = report_of(run)
    parts = report["explanation"]["worst"][0]["parts"]
    assert [(part["text"], part["space"]) for part in parts] == [("<b", False), (">", False), ("x ", False)]
    assert all(part["teacher"] <= 1 for part in parts)
    page = page_of(report)
    assert "<script" not in page
    assert "<b>&x" not in page
    assert "&lt;b" in page
    assert page.count("<blockquote>") == 4
    assert report["explanation"]["missed"] is None


@pytest.mark.parametrize(
    ("above", "mistakes", "budgets", "told"),
    [
        (0.4, {}, ALLOWED, "within 5 points of its teacher, but not for the same reasons: only on 40% of 9 samples"),
        (0.4, {}, Budgets(), "as accurate as its teacher, but not for the same reasons"),
        (0.6, {}, ALLOWED, None),  # more than chance
        (0.4, {"student": 30}, ALLOWED, None),  # not as accurate
        (0.4, {"student": 30}, Budgets(), None),
        (0.4, {"student": 3}, Budgets.model_validate({"accuracy": {"max_drop": 1}}), None),  # 1.7 points are too many
    ],
)
def test_other_reasons_for_the_same_accuracy_are_a_note(
    made: Made, digits: PreparedData, tmp_path: Path, above: float, mistakes: dict[str, int], budgets: Budgets,
    told: str | None,
) -> None:  # fmt: skip
    found = releases.explained(tmp_path / "why", digits, CORRELATION, above=above)
    notes = [note for note in report_of(made(found, **mistakes), budgets)["notes"] if "same reasons" in note]
    assert len(notes) == (told is not None)
    assert told is None or told in notes[0]


def test_gradients_that_miss_their_sum_are_a_note(made: Made, digits: PreparedData, tmp_path: Path) -> None:
    found = releases.explained(tmp_path / "why", digits, CORRELATION, missed=0.2)
    (note,) = (note for note in report_of(made(found))["notes"] if "Integrated gradients" in note)
    assert "teacher 20%" in note
    assert "student" not in note
    assert not any("Integrated gradients" in note for note in report_of(made())["notes"])


def test_a_network_that_finds_nothing_anywhere_is_said(made: Made, digits: PreparedData, tmp_path: Path) -> None:
    found = releases.explained(tmp_path / "why", digits, [NAN] * 3)
    report = report_of(made(replace(found, correlation=None, overlap=None)))
    assert report["explanation"]["worst"] == []
    assert "No sample has attributions that could be compared" in page_of(report)


def test_the_page_draws_the_training_loss_beside_the_accuracy(made: Made) -> None:
    page = page_of(report_of(made()))
    assert 'aria-label="Validation accuracy by epoch; kept: teacher' in page
    assert 'aria-label="Training loss by epoch; first: teacher' in page
