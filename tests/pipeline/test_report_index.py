"""`edgepress report`: the index over many bundles, whole and broken ones."""

import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.bundle_index import find_bundles
from pipeline.cli import app
from pipeline.errors import InputError
from pipeline.gate import decide
from pipeline.integrity import MANIFEST, REPORT, json_text
from pipeline.report.html import render_html
from pipeline.report.record import make_report
from pipeline.results import PreparedData
from pipeline.store import file_sha256
from targets.profile import Budgets, load_profile
from tests import releases
from tests.pipeline.report_pages import read

BUDGETS = Budgets.model_validate(
    {"latency_ms": {"p90": 2}, "size_mb": 1, "accuracy": {"max_drop": 11, "min_agreement": 0.9}}
)


@pytest.fixture(scope="module")
def artifacts(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two targets of a recipe, of which the TFLite file of each drops too far, and one that keeps its only budget."""
    root = tmp_path_factory.mktemp("made") / "artifacts"
    run = releases.release(root / ".store", digits)
    for recipe, target, budgets in (
        ("tiny", "pixel8", BUDGETS), ("tiny", "rpi4", BUDGETS), ("wide <b>", "rpi4", Budgets(size_mb=1)),
    ):  # fmt: skip
        report = make_report(run, releases.recipe(), load_profile(target), budgets) | {"recipe": recipe}
        write(root / recipe.replace(" ", "-").replace("<b>", "é") / target, report)
    return root


def write(folder: Path, report: dict) -> None:
    folder.mkdir(parents=True)
    (folder / REPORT).write_text(json_text(report))
    (folder / "report.html").write_text(render_html(report, decide(report)))
    files = {name: {"sha256": file_sha256(folder / name)} for name in (REPORT, "report.html")}
    (folder / MANIFEST).write_text(json.dumps({"schema": 1, "files": files}))


@pytest.fixture
def copied(artifacts: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(artifacts, tmp_path / "artifacts"))


def call(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["report", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_every_bundle_is_in_the_matrix_with_its_figures_and_its_link(copied: Path) -> None:
    code, output = call(copied)
    assert code == 0
    assert "2 of 2 budgets kept" in output
    reader = read((copied / "index.html").read_text())
    assert "✕ failed 1 of 3 bundles keep their budgets" in reader.text
    assert reader.headings == ["tiny", "wide <b>"]
    assert "target file Drop below the teacher Agreement of the files Size Latency p90" in reader.text
    row = "pixel8 ✕ not kept Google Pixel 8 int8-static.onnx 10.00 ✓ kept ≤ 11 points 98.33% ✓ kept ≥ 90% 0.400 MB ✓"
    assert row in reader.text
    assert "int8-static.tflite 11.67 ✕ not kept ≤ 11 points 0.400 MB ✓ kept ≤ 1 MB" in reader.text
    links = [value for name, value in reader.attributes if name == "href" and value.endswith("report.html")]
    assert links == ["tiny/pixel8/report.html", "tiny/rpi4/report.html", "wide-%C3%A9/rpi4/report.html"]


def test_the_page_goes_where_it_is_told_and_links_from_there(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    place = tmp_path / "pages" / "all.html"
    code, output = call(copied, "--out", place)
    assert (code, str(place) in output) == (0, True)
    links = re.findall(r'href="([^"#]*report\.html)"', place.read_text())
    assert links[0] == "../artifacts/tiny/pixel8/report.html"
    assert all((place.parent / link.replace("%C3%A9", "é")).is_file() for link in links)
    assert str(tmp_path) not in place.read_text()


def test_the_same_bundles_give_the_same_page_and_an_earlier_index_is_replaced(copied: Path) -> None:
    assert call(copied)[0] == 0
    first = (copied / "index.html").read_bytes()
    assert call(copied)[0] == 0
    assert (copied / "index.html").read_bytes() == first


def test_what_can_not_be_read_is_listed_with_the_reason(copied: Path) -> None:
    (copied / "tiny/rpi4" / "report.html").unlink()
    (copied / "half").mkdir()
    (copied / "half" / REPORT).write_text("{}")
    (copied / "words").mkdir()
    (copied / "words" / MANIFEST).write_text("no JSON <i>")
    hollow = copied / "hollow"
    hollow.mkdir()
    (hollow / REPORT).write_text(json.dumps({"schema": 1, "files": [{"shipped": True}]}))
    files = {REPORT: {"sha256": file_sha256(hollow / REPORT)}}
    (hollow / MANIFEST).write_text(json.dumps({"schema": 1, "files": files}))
    code, output = call(copied, "--json")
    told = json.loads(output)
    assert code == 0
    assert [bundle["bundle"] for bundle in told["bundles"]] == ["tiny/pixel8", "wide-é/rpi4"]
    reasons = {bundle["name"]: bundle["reason"] for bundle in told["unreadable"]}
    assert set(reasons) == {"half", "hollow", "tiny/rpi4", "words"}
    assert reasons["half"].startswith("half/manifest.json: no such file")
    assert "missing" in reasons["hollow"] or "incomplete" in reasons["hollow"]
    assert reasons["tiny/rpi4"].startswith("tiny/rpi4/report.html: missing from the bundle")
    assert reasons["words"].startswith("words/manifest.json: not valid JSON")
    reader = read((copied / "index.html").read_text())
    assert "4 can’t be read" in reader.text
    for name, reason in reasons.items():
        assert f"{name} {reason}" in reader.text
    assert str(copied) not in (copied / "index.html").read_text()


def test_a_changed_bundle_is_not_shown_as_if_it_were_proven(copied: Path) -> None:
    report = copied / "tiny/pixel8" / REPORT
    report.write_text(report.read_text().replace('"value": 400000', '"value": 100000'))
    (found,) = find_bundles(copied).unreadable
    assert found.name == "tiny/pixel8"
    assert found.reason.startswith("tiny/pixel8/report.json: changed since the bundle was written")


def test_hidden_folders_and_what_lies_in_bundles_are_not_looked_at(copied: Path) -> None:
    import shutil

    shutil.copytree(copied / "tiny/rpi4", copied / "tiny/.rpi4.part")
    assert len(find_bundles(copied).whole) == 3
    assert find_bundles(copied).unreadable == ()


def test_a_folder_without_bundles_is_refused(tmp_path: Path) -> None:
    for folder, told in (
        (tmp_path, "no bundle in it or below it; edgepress run writes them"),
        (tmp_path / "nowhere", "no such folder; expected a folder with bundles"),
    ):
        code, output = call(folder)
        assert (code, told in " ".join(output.split())) == (2, True)
    assert os.listdir(tmp_path) == []
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / REPORT).write_text("{}")
    with pytest.raises(InputError, match=r"none of its 1 bundle\(s\) can be read: half: half/manifest\.json: no such"):
        find_bundles(tmp_path)


def test_no_file_of_a_bundle_or_of_the_user_is_overwritten(copied: Path, tmp_path: Path) -> None:
    bundle = copied / "tiny/pixel8"
    (copied / "index.html").write_text("my own page")
    for arguments, told in (
        ((copied,), "another page stands there; give --out a place"),
        ((bundle,), "lies in a bundle, whose files are proven by its manifest"),
        ((copied, "--out", bundle / "golden" / "index.html"), "lies in a bundle"),
        ((copied, "--out", copied), "a folder; give --out a file"),
        ((copied, "--out", tmp_path / "no/where.html"), "no such folder"),
    ):
        code, output = call(*arguments)
        assert (code, told in " ".join(output.split())) == (2, True), output
    assert (copied / "index.html").read_text() == "my own page"
    assert sorted(os.listdir(bundle)) == [MANIFEST, "report.html", REPORT]
    assert call(bundle, "--out", tmp_path / "one.html")[0] == 0
