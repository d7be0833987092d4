"""report.html: what leads, in which order, and that the page stands alone whatever the names in it are."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.gate import decide
from pipeline.integrity import json_text
from pipeline.report.card import render_card
from pipeline.report.html import SECTIONS, render_html
from pipeline.report.page import TEMPLATES
from pipeline.results import PreparedData, RunResult
from targets.profile import Budgets
from tests import releases
from tests.pipeline.report_pages import page_of, read, report_of, text_of


@pytest.fixture
def run(digits: PreparedData, tmp_path: Path) -> RunResult:
    return releases.release(tmp_path, digits, explain=True, layers=True)


def test_the_page_needs_nothing_from_outside(run: RunResult) -> None:
    page = page_of(report_of(run))
    reader = read(page)
    assert set(reader.tags).isdisjoint({"script", "iframe", "object"})
    addresses = [value for name, value in reader.attributes if name in ("src", "href", "xlink:href", "action", "data")]
    within = [value for value in addresses if not value.startswith(("data:image/png;base64,", "data:,"))]
    assert all(value.startswith("#") for value in within)
    assert not re.search(r"@import|url\((?!#)|//", re.sub(r"<pre.*?</pre>|base64,[^\"]*", "", page, flags=re.DOTALL))
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value for value in within if value[1:] not in ids} == set()


def test_the_page_leads_with_the_verdict_and_goes_on_in_order(run: RunResult) -> None:
    report = report_of(run)
    reader = read(page_of(report))
    text = reader.text
    assert text.index("✕ failed") < text.index("2 of 6 budgets not kept") < text.index("86.67%")
    assert "lost in prune" in text or "lost in quantize" in text or "lost in distill" in text
    for figure in ("86.67%", "0.400 MB", "30.0× smaller", "source: host", "prefers-color-scheme"):
        assert figure in text
    shipped = [file["name"] for file in report["files"] if file["shipped"]]
    assert reader.headings == [*shipped, *SECTIONS.values()]
    assert list(SECTIONS) == [
        "budgets", "path", "cost", "latency", "classes", "groups", "disagreements", "explanation", "layers",
        "operators", "training", "provenance",
    ]  # fmt: skip
    links = {value for name, value in reader.attributes if name == "href" and value.startswith("#")}
    assert {f"#{section}" for section in SECTIONS} <= links


def test_each_budget_is_a_row_and_each_file_a_column(run: RunResult) -> None:
    text = text_of(report_of(run))
    table = text[text.index("What was found of each file") : text.index("How each was decided")]
    assert "int8-static.onnx int8-static.tflite" in table
    assert "Drop below the teacher ≤ 1.5 points 10.00 ✕ not kept 11.67 ✕ not kept" in table
    assert "Size ≤ 1 MB 0.400 MB ✓ kept 0.400 MB ✓ kept" in table


def test_an_agreement_stands_under_all_files(run: RunResult) -> None:
    budgets = Budgets.model_validate({"accuracy": {"min_agreement": 0.9}})
    page = page_of(report_of(run, budgets=budgets))
    assert re.search(r'<td colspan="2">98\.33% <span class="kept">', page)


def test_sections_without_anything_to_show_are_left_out(digits: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, digits, timed=False)
    run = replace(run, files=tuple(replace(file, coverage=None) for file in run.files))
    headings = read(page_of(report_of(run, budgets=Budgets()))).headings
    for section in ("budgets", "latency", "explanation", "layers", "operators"):
        assert SECTIONS[section] not in headings
    assert "no budget is set" in text_of(report_of(run, budgets=Budgets()))


def test_every_table_has_a_caption_and_every_plot_words(run: RunResult) -> None:
    reader = read(page_of(report_of(run)))
    assert reader.tags.count("caption") == reader.tags.count("table") > 10
    assert reader.tags.count("h1") == 1
    words = [value for name, value in reader.attributes if name == "aria-label"]
    assert all(words)
    pictures = [value for name, value in reader.attributes if name == "alt"]
    assert len(pictures) == reader.tags.count("img") == 7  # disagreements; those of reasons are drawn
    assert all(pictures)


def test_the_same_report_gives_the_same_page(run: RunResult) -> None:
    first, second = report_of(run), json.loads(json_text(report_of(run)))
    assert render_html(first, decide(first)) == render_html(second, decide(second))
    assert render_card(first, decide(first)) == render_card(second, decide(second))


def test_a_report_of_an_earlier_version_has_its_page(run: RunResult) -> None:
    report = report_of(run)
    for added in ("peers", "disagreements"):
        del report[added]
    for file in report["files"]:
        del file["predicted"], file["emulated"], file["operators"]
        for added in ("correlation_time", "drift", "outliers", "quiet", "at_pace", "float_layers"):
            del file["measured"][added]
        for name in ("p50", "p90", "p99"):
            del file["measured"]["latency"][name]["low"], file["measured"]["latency"][name]["high"]
    headings = read(page_of(report)).headings
    assert SECTIONS["cost"] in headings
    assert SECTIONS["disagreements"] not in headings


def test_names_from_data_and_recipe_are_shown_not_run(digits: PreparedData, tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    data = replace(digits, labels=(attack, "a|b", "$\\frac$", *digits.labels[3:]), licence=attack, source=attack)
    run = releases.release(tmp_path, data)
    run = replace(run, teacher=replace(run.teacher, name=attack, notes=(attack,)))
    peer = {"name": attack, "accuracy": 0.9, "size_mb": 1, "latency_ms": 1, "source": f"$\\frac$ {attack}"}
    report = report_of(run, description=attack, peers=[peer, peer | {"name": "$\\frac$"}])
    page = page_of(report)
    assert "script" not in read(page).tags
    assert page.count("&lt;script&gt;") >= 6
    assert "<script" not in render_card(report, decide(report))


def test_a_text_release_without_latency_or_pruning_has_its_pages(reviews: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, reviews, prune=False, timed=False)
    run = replace(run, naive=None, files=run.files[:2])
    report = report_of(run)
    text = text_of(report)
    assert "texts cut to length" in text
    assert "p90 latency" not in text
    assert "not measured" in render_card(report, decide(report))
    assert "tokenizer.json" in render_card(report, decide(report))


def test_many_classes_are_listed_worst_first_without_a_matrix(digits: PreparedData, tmp_path: Path) -> None:
    names = tuple(f"kind {index}" for index in range(60))
    np.save(tmp_path / "labels.npy", np.arange(len(digits.targets)) % 60)
    run = releases.release(tmp_path, replace(digits, labels=names, labels_file=tmp_path / "labels.npy"))
    text = text_of(report_of(run))
    assert "the 20 classes of 60 with the lowest accuracy" in text
    assert "Most frequent mistakes" in text
    assert "Confusion matrix" not in text


def contrast(one: str, two: str) -> float:
    """WCAG 2.2's contrast ratio of two colours as #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_lines_stand_out_in_light_and_in_dark() -> None:
    """WCAG 2.2: 4.5 for text (1.4.3), 3 for what a plot draws (1.4.11)."""
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in schemes())
    assert set(light) == set(dark)
    for colours in (light, dark):
        for text, grounds in {
            "ink": ("page", "wash", "bad-wash"), "muted": ("page", "wash"), "good": ("page",), "warn": ("page",),
            "bad": ("page", "bad-wash"), "series-0": ("page",),
        }.items():  # fmt: skip
            for ground in grounds:
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for name, colour in colours.items():
            if name.startswith("series"):
                assert contrast(colour, colours["page"]) >= 3, name


def schemes() -> tuple[str, str]:
    """The style's colours, light and dark."""
    style = (TEMPLATES / "page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return light, dark
