"""What a CI reads of the gate: JUnit by a parser of others, a summary in Markdown, JSON; and nothing that harms it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.gate import decide
from pipeline.gating.reasons import explain_verdict
from pipeline.integrity import verify_bundle
from pipeline.report.job_summary import job_summary
from pipeline.report.junit import junit_xml
from pipeline.results import PreparedData
from tests.packed import ROOMY, STRICT, pack, report_of


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["gate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def bundle(digits: PreparedData, tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    return lambda budgets: pack(tmp_path / "tiny/pixel8", report_of(tmp_path / "run", digits, budgets))


def test_junit_has_a_case_for_each_budget_and_a_failure_for_each_miss(bundle: Any, tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser", reason="the parser is not installed")
    file = tmp_path / "reports/pixel8.xml"
    code, text = call(bundle(STRICT), "--junit", file, "--json")
    checks = json.loads(text)["checks"]
    assert code == 1
    found = {(suite.name, case.name): case for suite in junitparser.JUnitXml.fromfile(str(file)) for case in suite}
    assert set(found) == {(check["file"], check["name"]) for check in checks}
    for check in checks:
        case = found[check["file"], check["name"]]
        assert case.classname == f"edgepress.tiny.pixel8.{check['file']}"
        if check["passed"]:
            assert case.is_passed
            continue
        (failure,) = case.result
        assert isinstance(failure, junitparser.Failure)
        assert failure.message == check["explanation"]
        assert failure.type == "missed"
        assert "measured: " in failure.text
        assert "allowed: at " in failure.text
        assert f"lost in: {check['stage']}" in failure.text
    whole = junitparser.JUnitXml.fromfile(str(file))
    assert (whole.tests, whole.failures, whole.errors) == (len(checks), sum(not c["passed"] for c in checks), 0)
    size = found["model.int8-static.onnx", "size_mb"].result[0].text
    assert "measured: 0.400 MB (counted)\nallowed: at most 0.250 MB\nlost in: distill" in size


def test_junit_of_a_pass_has_no_failure_and_no_time(digits: PreparedData, tmp_path: Path) -> None:
    report = report_of(tmp_path, digits, ROOMY)
    verdict = decide(report)
    text = junit_xml(report, verdict, explain_verdict(verdict, report))
    root = ElementTree.fromstring(text)
    assert root.attrib["failures"] == "0"
    assert not list(root.iter("failure"))
    assert "Least room: " in text
    assert "time" not in {name for element in root.iter() for name in element.attrib}
    assert text == junit_xml(report, verdict, explain_verdict(verdict, report))
    for suite in root:  # the order that the schema wants
        tags = [child.tag for child in suite]
        assert tags == sorted(tags, key=("properties", "testcase", "system-out").index)


def test_an_undecided_budget_is_a_failure_of_its_own_kind(digits: PreparedData, tmp_path: Path) -> None:
    report = report_of(tmp_path, digits, {"latency_ms": {"p90": 10}}, timed=False)
    root = ElementTree.fromstring(junit_xml(report, decide(report)))
    kinds = {failure.attrib["type"] for failure in root.iter("failure")}
    assert kinds == {"undecided"}
    assert "measured: not measured" in (next(root.iter("failure")).text or "")


def test_names_of_the_users_break_neither_xml_nor_markdown(digits: PreparedData, tmp_path: Path) -> None:
    report = report_of(tmp_path, digits, STRICT)
    evil = 'a|b <script>alert(1)</script> @someone `code` \x00\x1b[31m "quoted" & ]]> \ud7ff'
    report["recipe"] = evil
    report["target"]["name"] = evil
    for file in report["files"]:
        if file["format"] == "tflite" and file["shipped"]:
            file["name"] = evil
    report["agreements"] = []
    verdict = decide(report)
    root = ElementTree.fromstring(junit_xml(report, verdict, explain_verdict(verdict, report)))
    assert any("<script>" in suite.attrib["name"] for suite in root)
    assert not any("\x00" in suite.attrib["name"] for suite in root)
    text = job_summary(report, verdict, explain_verdict(verdict, report))
    assert "<script>" not in text
    assert "@someone" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}


def test_the_summary_is_appended(bundle: Any, tmp_path: Path) -> None:
    """Other steps of a job write there too."""
    file = tmp_path / "summary.md"
    file.write_text("What another step wrote.\n")
    code, _ = call(bundle(STRICT), "--markdown", file, "--explain")
    text = file.read_text()
    assert code == 1
    assert text.startswith("What another step wrote.\n### tiny for Google Pixel 8: failed, ")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    marks = [line.split(" | ")[0] for line in lines[2:]]
    assert marks == sorted(marks, key=lambda mark: "✅" in mark)  # what was missed comes first
    assert any("| 0.400 MB (counted) | at most 0.250 MB | distill |" in line for line in lines)
    assert "- try `quantize.correct_biases` in the recipe:" in text
    call(tmp_path / "tiny/pixel8", "--markdown", file)
    assert file.read_text().count("### tiny") == 2


def test_json_goes_to_a_file_beside_the_table(bundle: Any, tmp_path: Path) -> None:
    code, text = call(bundle(ROOMY), "--json-file", tmp_path / "out/gate.json", "--explain")
    answer = json.loads((tmp_path / "out/gate.json").read_text())
    assert code == 0
    assert "PASSED" in text
    assert answer["passed"] is True
    assert answer["reasons"] == []
    assert answer["least_room"] in " ".join(text.split())
    for option in (("--json",), ("--json-file", "-")):
        _, printed = call(tmp_path / "tiny/pixel8", "--explain", *option)
        assert json.loads(printed) == answer


def test_explain_tells_each_miss_on_the_screen(bundle: Any) -> None:
    code, text = call(bundle(STRICT), "--explain")
    assert code == 1
    assert "  teacher 96.67% -> student 93.33% (distill lost 3.33)" in text
    assert "  try quantize.correct_biases (recipe): " in text
    assert "Least room" not in text


@pytest.mark.parametrize("option", ["--junit", "--markdown", "--json-file"])
def test_no_file_is_written_into_the_bundle_or_over_a_folder(bundle: Any, tmp_path: Path, option: str) -> None:
    folder = bundle(ROOMY)
    code, text = call(folder, option, folder / "golden/gate.out")
    assert (code, "lies in the bundle" in " ".join(text.split())) == (2, True)
    code, text = call(folder, option, tmp_path)
    assert (code, "is a folder" in " ".join(text.split())) == (2, True)
    verify_bundle(folder)


def test_wrong_input_writes_no_file(bundle: Any, tmp_path: Path) -> None:
    folder = bundle(ROOMY)
    (folder / "labels.txt").write_text("other\n")
    code, _ = call(folder, "--junit", tmp_path / "gate.xml", "--markdown", tmp_path / "gate.md")
    assert code == 2
    assert not list(tmp_path.glob("gate.*"))
