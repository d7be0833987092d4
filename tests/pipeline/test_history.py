"""`edgepress history`: past bundles in their order, their figures, and what changed between them."""

import copy
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import InputError
from pipeline.history import Series, read_history
from pipeline.integrity import MANIFEST, REPORT, json_text
from pipeline.report.history_page import changed, rows, write_page, write_plot
from pipeline.report.record import make_report
from pipeline.results import PreparedData, RunResult
from pipeline.store import file_sha256
from targets.profile import Budgets, load_profile
from tests import releases

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def reports() -> dict[str, dict[str, Any]]:
    """Reports that several tests need, each made once."""
    return {}


@pytest.fixture
def make(digits: PreparedData, tmp_path: Path, reports: dict[str, dict[str, Any]]) -> Make:
    """Writes what a history reads of a bundle: report and manifest. `wrong`: mistakes by network and file."""

    def made(
        place: str,
        change: Callable[[RunResult], RunResult] | None = None,
        edit: Callable[[dict[str, Any]], None] | None = None,
        settings: dict[str, object] | None = None,
        target: str = "pixel8",
        **wrong: int,
    ) -> Path:
        key = repr((settings, target, wrong)) if change is None else str(tmp_path / place)
        if key not in reports:
            run = releases.release(tmp_path / "work" / place, digits, **wrong)
            budgets = Budgets.model_validate({"accuracy": {"min": 0.8}})
            recipe, profile = releases.recipe(**(settings or {})), load_profile(target)
            reports[key] = make_report(change(run) if change else run, recipe, profile, budgets)
        report = copy.deepcopy(reports[key])
        told = report["provenance"]
        manifest = {
            "schema": 1, "edgepress": told["edgepress"], "recipe": told["recipe"], "profile": told["profile"],
            "python": told["python"], "versions": dict(told["versions"]), "seeds": told["seeds"],
        }  # fmt: skip
        if edit is not None:
            edit(manifest)
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / REPORT).write_text(json_text(report))
        manifest["files"] = {REPORT: {"sha256": file_sha256(folder / REPORT), "bytes": 1}}
        (folder / MANIFEST).write_text(json_text(manifest))
        return folder

    return made


def only(places: list[Path], **settings: Any) -> Series:
    (series,) = read_history(places, Path("artifacts"), **settings).series
    return series


def timed(median: float, folder: Path, machine: str = "a machine") -> Callable[[RunResult], RunResult]:
    figures = releases.latency(folder, median, machine=machine)
    return lambda run: replace(run, files=tuple(replace(file, latency=figures) for file in run.files))


def test_versions_stand_in_the_order_of_their_numbers(make: Make, tmp_path: Path) -> None:
    for version in ("1.10", "1.9", "1.2"):
        make(f"released/{version}/pixel8")
    series = only([tmp_path / "released"])
    assert (series.recipe, series.target) == ("tiny", "pixel8")
    assert [version.label for version in series.versions] == ["1.2", "1.9", "1.10"]


def test_folders_that_are_named_stand_as_they_are_named(make: Make) -> None:
    b, a = make("b/pixel8"), make("a/pixel8")
    assert [version.label for version in only([b, a]).versions] == ["b", "a"]
    assert [version.label for version in only([b]).versions] == ["b"]


def test_versions_may_stand_in_the_order_they_were_written(make: Make, tmp_path: Path) -> None:
    for age, name in enumerate(("fe12", "03ab")):
        os.utime(make(f"released/{name}/pixel8") / MANIFEST, (1e9 + age, 1e9 + age))
    assert [version.label for version in only([tmp_path / "released"], by_time=True).versions] == ["fe12", "03ab"]
    assert [version.label for version in only([tmp_path / "released"]).versions] == ["03ab", "fe12"]


def test_each_target_and_recipe_is_a_series_of_its_own(make: Make, tmp_path: Path) -> None:
    for version in ("1", "2"):
        make(f"released/{version}/pixel8")
        make(f"released/{version}/rpi4", target="rpi4")
    make("released/2/other", settings={"name": "other"})
    found = read_history([tmp_path / "released"], Path("artifacts"))
    assert sorted((s.recipe, s.target, len(s.versions)) for s in found.series) == [
        ("other", "pixel8", 1), ("tiny", "pixel8", 2), ("tiny", "rpi4", 2),
    ]  # fmt: skip


def test_a_recipe_finds_its_own_bundles(make: Make, tmp_path: Path) -> None:
    make("released/1/pixel8")
    make("released/2/pixel8", settings={"name": "other"})
    recipe = tmp_path / "other.yaml"
    recipe.write_text("schema: 1\nname: other\n")
    (series,) = read_history([recipe], tmp_path / "released").series
    assert (series.recipe, len(series.versions)) == ("other", 1)


def test_what_changed_is_told_with_both_values(make: Make) -> None:
    def newer(manifest: dict[str, Any]) -> None:
        manifest["versions"]["torch"] = "9.9"
        manifest["profile"]["runtimes"][0]["threads"] = 4

    first = make("1/pixel8")
    second = make("2/pixel8", edit=newer, settings={"distill": {"epochs": 77}})
    lines = changed(only([first, second]).versions[1])
    assert "distill.epochs: 10 -> 77" in lines
    (packages,) = (line for line in lines if line.startswith("packages: "))
    assert packages.endswith("-> 9.9")
    assert any(line.startswith("profile.runtimes: ") for line in lines)
    assert len(lines) == 3
    assert changed(only([first, make("3/pixel8")]).versions[1]) == []


def test_latencies_of_another_machine_are_told(make: Make, tmp_path: Path) -> None:
    first = make("1/pixel8", timed(1.0, tmp_path / "a"))
    second = make("2/pixel8", timed(1.0, tmp_path / "b", machine="another machine"))
    assert changed(only([first, second]).versions[1]) == [
        "latency measured on: a machine (host) -> another machine (host)"
    ]


def test_other_data_are_told_and_their_accuracies_not_compared(make: Make) -> None:
    first = make("1/pixel8")
    other = make("2/pixel8", lambda run: replace(run, data=replace(run.data, content_sha256="f" * 64)))
    version = only([first, other]).versions[1]
    assert any(line == f"data.content: {'0' * 12} -> {'f' * 12}" for line in changed(version))
    assert [file.difference for file in version.files] == [None, None]


def test_accuracy_differs_beyond_noise_or_not(make: Make) -> None:
    series = only([make("1/pixel8", onnx=8), make("2/pixel8", onnx=6), make("3/pixel8", onnx=40)])
    onnx = [next(file for file in version.files if file.format == "onnx") for version in series.versions]
    assert onnx[0].difference is None
    assert onnx[1].difference is not None
    assert onnx[2].difference is not None
    assert (onnx[1].difference.value, onnx[1].difference.better) == (pytest.approx(100 * 2 / 60), None)
    assert (onnx[2].difference.value, onnx[2].difference.better) == (pytest.approx(-100 * 34 / 60), False)
    assert [version.passed for version in series.versions] == [True, True, False]
    cells = [row for row in rows(series) if row[2] == "model.int8-static.onnx"]
    assert cells[2][4] == "-56.67 points, worse"
    assert [row[1] for row in rows(series) if row[1]] == ["passed", "passed", "FAILED"]


def test_a_changed_bundle_is_left_out_and_named(make: Make, tmp_path: Path) -> None:
    make("released/1/pixel8")
    changed_since = make("released/2/pixel8") / REPORT
    changed_since.write_text(changed_since.read_text().replace("tiny", "huge"))
    found = read_history([tmp_path / "released"], Path("artifacts"))
    assert len(found.series[0].versions) == 1
    (note,) = found.notes
    assert "report.json: changed since the bundle was written" in note


def test_where_there_is_nothing_it_says_so(make: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "recipe.yaml").write_text("schema: 1\n")
    for place, message in (
        ("empty", "no bundles found; expected folders that hold bundles"),
        ("nowhere", "no such folder; expected a folder of bundles, or a recipe"),
        ("recipe.yaml", "no recipe: it has no name"),
    ):
        with pytest.raises(InputError, match=message):
            read_history([tmp_path / place], tmp_path)
    (tmp_path / "empty" / MANIFEST).write_text("{")
    with pytest.raises(InputError, match=r"no bundles found: left out: .*not valid JSON"):
        read_history([tmp_path / "empty"], tmp_path)


def test_the_plot_shows_every_version_and_misses_of_the_gate(make: Make, tmp_path: Path) -> None:
    series = [make("1/pixel8"), make("2/pixel8", timed(1.0, tmp_path / "t"), onnx=40)]
    found = read_history(series, Path("artifacts"))
    for name in ("a.svg", "b.svg"):
        write_plot(found, tmp_path / name)
    plot = (tmp_path / "a.svg").read_text()
    assert plot == (tmp_path / "b.svg").read_text()
    assert "var(--" not in plot
    for text in ("accuracy, %", "size, MB", "p90, ms", "gate missed", "tflite", "onnx"):
        assert f">{text}<" in plot, text


def test_without_latency_there_is_no_panel_of_it(make: Make, tmp_path: Path) -> None:
    untimed = make("1/pixel8", lambda run: replace(run, files=tuple(replace(f, latency=None) for f in run.files)))
    write_plot(read_history([untimed], Path("artifacts")), tmp_path / "a.svg")
    assert "p90, ms" not in (tmp_path / "a.svg").read_text()


def test_the_page_stands_alone_and_escapes_what_bundles_say(make: Make, tmp_path: Path) -> None:
    first = make("1<b>/pixel8")
    found = read_history([first, make("2/pixel8", settings={"description": "<script>x</script>"})], Path("artifacts"))
    for name in ("a.html", "b.html"):
        write_page(found, tmp_path / name)
    page = (tmp_path / "a.html").read_text()
    assert page == (tmp_path / "b.html").read_text()
    assert "1&lt;b&gt;" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    with pytest.raises(InputError, match="can't be written"):
        write_page(found, tmp_path / "nowhere" / "a.html")


def test_the_command_prints_a_table_or_json_and_writes_both_forms(make: Make, tmp_path: Path) -> None:
    make("released/1/pixel8")
    make("released/2/pixel8", settings={"distill": {"epochs": 77}})
    outputs = ["--html", str(tmp_path / "a.html"), "--plot", str(tmp_path / "a.svg")]
    shown = CliRunner().invoke(app, ["history", str(tmp_path / "released"), *outputs])
    assert shown.exit_code == 0, shown.output
    assert "2: distill.epochs: 10 -> 77" in shown.output
    assert (tmp_path / "a.html").exists()
    assert (tmp_path / "a.svg").exists()
    told = json.loads(CliRunner().invoke(app, ["history", str(tmp_path / "released"), "--json"]).output)
    assert [version["label"] for version in told["series"][0]["versions"]] == ["1", "2"]
    make("released/2/rpi4", target="rpi4")
    several = CliRunner().invoke(app, ["history", str(tmp_path / "released"), "--plot", str(tmp_path / "b.svg")])
    assert several.exit_code == 2
    assert "an .svg holds one series, found tiny on pixel8, tiny on rpi4" in several.output
    assert CliRunner().invoke(app, ["history", str(tmp_path), "--plot", "x.png"]).exit_code == 2
