"""Bundles side by side: what differs beyond noise, what can't be compared, and who is on the front."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.comparison import Candidate, Comparison, accuracy_difference, compare
from pipeline.errors import InputError
from pipeline.integrity import REPORT, json_text
from pipeline.metrics import accuracy_of_counts
from pipeline.report.comparison_page import write_page
from pipeline.report.figures import accuracy_figure
from pipeline.report.record import make_report
from pipeline.results import PreparedData, RunResult
from targets.profile import Budgets, load_profile
from tests import releases

Make = Callable[..., Path]


@pytest.fixture
def make(digits: PreparedData, tmp_path: Path) -> Make:
    """Writes a bundle's report from a release, changed as asked; gives the bundle's folder."""

    def made(name: str, change: Callable[[RunResult], RunResult] | None = None, **wrong: int) -> Path:
        run = releases.release(tmp_path / "work" / name, digits, **wrong)
        budgets = Budgets.model_validate({"size_mb": 1, "accuracy": {"min": 0.8}})
        report = make_report(change(run) if change else run, releases.recipe(), load_profile("pixel8"), budgets)
        return written(tmp_path / name, report)

    return made


def written(folder: Path, report: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / REPORT).write_text(json_text(report))
    return folder


def onnx_of(found: Comparison, bundle: Path) -> Candidate:
    (file,) = (file for file in found.files if file.bundle == str(bundle) and file.format == "onnx")
    return file


def timed(run: RunResult, median: float, folder: Path, machine: str = "a machine") -> RunResult:
    figures = releases.latency(folder, median, machine=machine)
    return replace(run, files=tuple(replace(file, latency=figures) for file in run.files))


def sized(run: RunResult, size: int) -> RunResult:
    return replace(run, files=tuple(replace(f, export=replace(f.export, bytes=size)) for f in run.files))


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Newcombe 1998, table II (a): 56/70 against 48/80; method 10 gives 0.0524 to 0.3339
    a, b = (accuracy_figure(accuracy_of_counts(*counts)) for counts in ((56, 70), (48, 80)))
    found = accuracy_difference(a, b)
    assert found.value == pytest.approx(20)
    assert (found.low, found.high) == (pytest.approx(5.24, abs=0.005), pytest.approx(33.39, abs=0.005))
    assert found.better is True
    lower = a["value"] - b["value"] - sqrt((a["value"] - a["low"]) ** 2 + (b["high"] - b["value"]) ** 2)
    assert found.low == pytest.approx(100 * lower)


def test_a_small_difference_is_not_told_from_noise_and_a_large_one_is(make: Make) -> None:
    first, near, far = make("first", onnx=8), make("near", onnx=6), make("far", onnx=40)
    found = compare([first, near, far])
    assert onnx_of(found, first).accuracy_difference is None
    difference = onnx_of(found, near).accuracy_difference
    assert difference is not None
    assert (difference.value, difference.better) == (pytest.approx(100 * 2 / 60), None)
    difference = onnx_of(found, far).accuracy_difference
    assert difference is not None
    assert difference.better is False


def test_sizes_are_exact(make: Make) -> None:
    first, smaller = make("first"), make("smaller", lambda run: sized(run, 399_999))
    difference = onnx_of(compare([first, smaller]), smaller).size_difference
    assert difference is not None
    assert (difference.value, difference.better) == (-1, True)


@pytest.mark.parametrize(("median", "better"), [(1.0, True), (1.5, None), (2.0, False)])
def test_latencies_differ_where_their_intervals_do_not_overlap(
    make: Make, tmp_path: Path, median: float, better: bool | None
) -> None:
    first, other = make("first"), make("other", lambda run: timed(run, median, tmp_path / "times"))
    difference = onnx_of(compare([first, other]), other).latency_difference
    assert difference is not None
    assert difference.better is better


def test_latencies_of_two_machines_are_not_compared(make: Make, tmp_path: Path) -> None:
    first = make("first")
    other = make("other", lambda run: timed(run, 1.0, tmp_path / "times", machine="another machine"))
    found = compare([first, other])
    assert onnx_of(found, other).latency_difference is None
    assert any("other, model.int8-static.onnx: timed on another machine" in note for note in found.notes)
    assert found.axes["onnx"] == ("accuracy", "size")


def test_the_front_holds_what_no_other_beats(make: Make, tmp_path: Path) -> None:
    first = make("first", onnx=8)  # 400 kB, 1.5 ms
    beaten = make("beaten", lambda run: sized(run, 500_000), onnx=9)
    faster = make("faster", lambda run: timed(run, 1.0, tmp_path / "times"), onnx=20)
    found = compare([first, beaten, faster])
    assert found.axes["onnx"] == ("accuracy", "size", "latency p90")
    assert [onnx_of(found, bundle).front for bundle in (first, beaten, faster)] == [True, False, True]


def test_budgets_operators_and_agreement_stand_beside(make: Make) -> None:
    first, other = make("first"), make("other", lambda run: sized(run, 1_500_000))
    found = compare([first, other])
    assert (onnx_of(found, first).checks_passed, onnx_of(found, first).checks) == (2, 2)
    assert (onnx_of(found, other).checks_passed, onnx_of(found, other).checks) == (1, 2)
    assert onnx_of(found, first).covered == pytest.approx(15 / 20)
    assert onnx_of(found, first).agreement is not None


def test_reports_that_tell_of_no_operators_can_be_compared(make: Make) -> None:
    first, old = make("first"), make("old")
    report = json.loads((old / REPORT).read_text())
    for file in report["files"]:
        del file["operators"]
    written(old, report)
    assert onnx_of(compare([first, old]), old).covered is None


def test_what_can_not_be_compared_is_refused(make: Make, tmp_path: Path) -> None:
    first, other = make("first"), make("other")
    report = json.loads((other / REPORT).read_text())
    with pytest.raises(InputError, match=r"empty: no bundle: it holds no report\.json"):
        compare([first, tmp_path / "empty"])
    with pytest.raises(InputError, match=r"found 1 bundle\(s\) to compare, expected two or more"):
        compare([first])
    with pytest.raises(InputError, match="stands twice"):
        compare([first, first])
    texts = written(tmp_path / "texts", report | {"task": "text-classification"})
    with pytest.raises(InputError, match=r"texts is for text-classification, .*first for image-classification"):
        compare([first, texts])
    labels = written(tmp_path / "labels", report | {"data": report["data"] | {"labels": ["a", "b"]}})
    with pytest.raises(InputError, match=r"labels has other labels \(2\) than"):
        compare([first, labels])
    newer = written(tmp_path / "newer", report | {"schema": 2})
    with pytest.raises(InputError, match="schema 2 is not known"):
        compare([first, newer])


def test_other_test_samples_are_noted(make: Make) -> None:
    first, other = make("first"), make("other")
    report = json.loads((other / REPORT).read_text())
    report["data"]["content_sha256"] = "f" * 64
    found = compare([first, written(other, report)])
    assert any("other was judged on other test samples than first" in note for note in found.notes)


def test_the_page_stands_alone_and_is_the_same_each_time(make: Make, tmp_path: Path) -> None:
    found = compare([make("first", onnx=8), make("far<b>", onnx=40)])
    for name in ("a.html", "b.html"):
        write_page(found, tmp_path / name)
    page = (tmp_path / "a.html").read_text()
    assert page == (tmp_path / "b.html").read_text()
    assert "far&lt;b&gt;" in page
    assert "far<b>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "class=worse>-53.33 points, worse" in page
    with pytest.raises(InputError, match="can't be written"):
        write_page(found, tmp_path / "nowhere" / "a.html")


def test_the_command_prints_a_table_or_json(make: Make, tmp_path: Path) -> None:
    first, far = str(make("first", onnx=8)), str(make("far", onnx=40))
    shown = CliRunner().invoke(app, ["compare", first, far, "--html", str(tmp_path / "page.html")])
    assert shown.exit_code == 0
    assert "-53.33 points, worse" in shown.output
    assert (tmp_path / "page.html").exists()
    told = CliRunner().invoke(app, ["compare", first, far, "--json"])
    content = json.loads(told.output)
    assert content["bundles"] == [first, far]
    assert {file["front"] for file in content["files"]} == {True, False}
    wrong = CliRunner().invoke(app, ["compare", first, str(tmp_path / "nothing")])
    assert wrong.exit_code == 2
    assert "no bundle" in wrong.output
