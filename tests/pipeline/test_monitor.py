"""`edgepress monitor`: logs that an app wrote against a bundle's own reference."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.bundle import write_bundle
from pipeline.cli import app
from pipeline.context import RunContext
from pipeline.gate import decide
from pipeline.integrity import MANIFEST
from pipeline.monitoring.reference import REFERENCE, read_reference
from pipeline.report.record import make_report
from pipeline.results import PreparedData, RunResult
from pipeline.store import Store
from targets.profile import Budgets, load_profile
from tests import releases

FILE = "model.float32.onnx"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def run(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = tmp_path_factory.mktemp("monitor")
    times = releases.latency(folder / "times", 4.0)
    return releases.real_release(folder / "run", digits, RunContext(Store(folder / "store")), times)


def bundled(run: RunResult, folder: Path, target: str = "pixel8") -> Path:
    profile, recipe = load_profile(target), releases.recipe()
    report = make_report(run, recipe, profile, Budgets.model_validate({"latency_ms": {"p90": 10}}))
    return write_bundle(run, recipe, profile, report, decide(report), folder)


@pytest.fixture(scope="module")
def bundle(run: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(run, tmp_path_factory.mktemp("bundles") / "pixel8")


@pytest.fixture
def rows(run: RunResult) -> list[Row]:
    """The test set over and over, as the app would see it; in an order of its own, so that no part is like another."""
    scores = np.tile(run.files[0].accuracy.scores, (5, 1))
    random = np.random.default_rng(0)
    order = random.permutation(len(scores))
    return [
        {"label": run.data.labels[row.argmax()], "confidence": round(float(row.max()), 3), "ms": ms, "time": 1e9 + n}
        for n, (row, ms) in enumerate(zip(scores[order], random.lognormal(1, 0.1, len(order)).round(3), strict=True))
    ]


def written(file: Path, rows: list[Row]) -> Path:
    if file.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) + "\n")
    return file


def monitored(bundle: Path, log: Path, *arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["monitor", str(bundle), "--observed", str(log), *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def told(bundle: Path, log: Path, *arguments: object) -> dict[str, Any]:
    code, text = monitored(bundle, log, *arguments, "--json")
    answer = json.loads(text)
    assert code == (1 if answer["drifted"] else 0)
    assert isinstance(answer, dict)
    return answer


def drifted(answer: dict[str, Any]) -> list[str]:
    return [test["name"] for test in answer["tests"] if test["drifted"]]


def test_the_reference_counts_what_each_file_said_of_the_test_set(run: RunResult, bundle: Path, tmp_path: Path) -> None:
    scores = run.files[0].accuracy.scores
    labels, confidence = read_reference(bundle, FILE)
    assert labels.tolist() == [int((scores.argmax(1) == label).sum()) for label in range(10)]
    assert confidence.sum() == len(scores)
    best = scores.max(1)
    assert confidence[90] == int(((best >= 0.895) & (best < 0.905)).sum())
    content = json.loads((bundle / REFERENCE).read_text())
    assert sum(content["true"]) == content["samples"] == len(scores)
    assert REFERENCE in json.loads((bundle / MANIFEST).read_text())["files"]
    again = bundled(run, tmp_path / "again")
    assert (again / REFERENCE).read_bytes() == (bundle / REFERENCE).read_bytes()


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_the_test_set_itself_is_no_drift(bundle: Path, rows: list[Row], tmp_path: Path, name: str) -> None:
    answer = told(bundle, written(tmp_path / name, rows))
    assert (answer["drifted"], answer["distil_again"], answer["inferences"]) == (False, False, 300)
    assert answer["between"] == [1e9, 1e9 + 299]
    assert "too few" in answer["advice"][0]  # 60 test samples show little, which is said
    code, text = monitored(bundle, tmp_path / name)
    assert code == 0
    assert text.rstrip().endswith("NO DRIFT")
    assert "of 2001-09-09" in text


def change(rows: list[Row], **changes: Callable[[Row], object]) -> list[Row]:
    return [{**row, **{key: make(row) for key, make in changes.items()}} for row in rows]


def test_other_labels_are_a_drift(bundle: Path, rows: list[Row], tmp_path: Path) -> None:
    answer = told(bundle, written(tmp_path / "log.csv", change(rows, label=lambda row: "7")))
    assert drifted(answer) == ["labels"]
    assert answer["distil_again"]
    assert (answer["shifts"][0]["label"], answer["shifts"][0]["observed"]) == ("7", 1.0)
    assert "mix of answers" in answer["advice"][0]


def test_less_confidence_is_a_drift(bundle: Path, rows: list[Row], tmp_path: Path) -> None:
    log = written(tmp_path / "log.csv", change(rows, confidence=lambda row: round(0.4 * row["confidence"], 3)))
    answer = told(bundle, log)
    assert drifted(answer) == ["confidence"]
    assert "preprocessing" in answer["advice"][0]
    code, text = monitored(bundle, log)
    assert code == 1
    assert text.rstrip().endswith("DRIFT")


def test_a_late_drift_is_seen_in_the_newest_and_in_the_course(bundle: Path, rows: list[Row], tmp_path: Path) -> None:
    late = [*rows, *change(rows[:120], confidence=lambda row: 0.2, time=lambda row: row["time"] + 1000)]
    log = written(tmp_path / "log.jsonl", [*late[300:], *late[:300]])  # lines out of order: times decide
    answer = told(bundle, log, "--last", 120)
    assert "confidence" in drifted(answer)
    course = told(bundle, log)["course"]
    assert course[-1] == pytest.approx(0.2)
    assert course[0] > 0.3


def test_a_latency_over_its_budget_is_a_drift_that_distilling_does_not_mend(
    bundle: Path, rows: list[Row], tmp_path: Path
) -> None:
    answer = told(bundle, written(tmp_path / "log.csv", change(rows, ms=lambda row: 5 * row["ms"])))
    assert drifted(answer) == ["latency budget p90"]
    assert not answer["distil_again"]
    assert any("import-log" in line for line in answer["advice"])
    assert "latency" not in [test["name"] for test in answer["tests"]]  # the bundle's is the host's, not the phone's


def test_a_latency_measured_where_the_app_runs_is_compared(run: RunResult, rows: list[Row], tmp_path: Path) -> None:
    bundle = bundled(run, tmp_path / "host", "host")
    slower = told(bundle, written(tmp_path / "slow.csv", change(rows, ms=lambda row: 1.5 * row["ms"] + 2)))
    assert "latency" in drifted(slower)
    faster = told(bundle, written(tmp_path / "fast.csv", change(rows, ms=lambda row: 0.5 * row["ms"])))
    assert drifted(faster) == []


def test_an_earlier_log_may_be_the_reference(bundle: Path, rows: list[Row], tmp_path: Path) -> None:
    strange = change(rows, label=lambda row: "7", confidence=lambda row: 0.5)
    early, now = written(tmp_path / "may.csv", strange), written(tmp_path / "june.jsonl", strange)
    assert drifted(told(bundle, now)) == ["labels", "confidence"]
    answer = told(bundle, now, "--reference", early)
    assert (drifted(answer), answer["reference"]) == ([], "may.csv, 300 inferences")
    slower = written(tmp_path / "slow.csv", change(strange, ms=lambda row: 2 * row["ms"]))
    assert drifted(told(bundle, slower, "--reference", early)) == ["latency"]


def test_figures_stand_by_version_of_the_app(bundle: Path, rows: list[Row], tmp_path: Path) -> None:
    versions = [{**row, "app_version": "2.0" if n % 3 else "2.1"} for n, row in enumerate(rows)]
    answer = told(bundle, written(tmp_path / "log.csv", versions))
    assert {found["version"]: found["inferences"] for found in answer["versions"]} == {"2.1": 100, "2.0": 200}
    assert "2.1" in monitored(bundle, tmp_path / "log.csv")[1]


def test_lines_of_another_file_are_left_out(bundle: Path, rows: list[Row], tmp_path: Path) -> None:
    named = [{**row, "file": FILE} for row in rows]
    assert told(bundle, written(tmp_path / "log.csv", named), "--file", FILE)["inferences"] == 300
    code, text = monitored(bundle, written(tmp_path / "log.csv", change(named, file=lambda row: "other.tflite")))
    assert code == 2
    assert "line 2: file 'other.tflite' is none of the bundle's" in text
    code, text = monitored(bundle, tmp_path / "log.csv", "--file", "other.tflite")
    assert code == 2
    assert f"but {FILE}: name one of these" in text


WRONG: dict[str, tuple[str, str]] = {
    "label": ("dog,0.9,4,1", "line 4: label 'dog' is none of the bundle's labels.txt"),
    "confidence": ("7,90,4,1", "line 4: confidence 90, expected 0 to 1"),
    "no number": ("7,high,4,1", "line 4: confidence 'high' is no number"),
    "nan": ("7,nan,4,1", "line 4: confidence 'nan' is no number"),
    "no time": ("7,0.9,0,1", "line 4: ms 0, expected the milliseconds"),
    "empty": ("7,,4,1", "line 4: no confidence"),
    "short": ("7,0.9", "line 4: 2 fields, expected 4"),
    "day": ("7,0.9,4,yesterday", "line 4: time 'yesterday', expected ISO 8601"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_line_is_named(bundle: Path, rows: list[Row], tmp_path: Path, case: str) -> None:
    line, message = WRONG[case]
    lines = written(tmp_path / "log.csv", rows).read_text().splitlines()
    lines[3] = line
    (tmp_path / "log.csv").write_text("\n".join(lines))
    code, text = monitored(bundle, tmp_path / "log.csv")
    assert code == 2
    assert f"1 line is wrong: {message}" in text


def test_of_many_wrong_lines_the_first_are_named_and_all_counted(bundle: Path, rows: list[Row], tmp_path: Path) -> None:
    code, text = monitored(bundle, written(tmp_path / "log.jsonl", change(rows, label=lambda row: "dog")))
    assert code == 2
    assert "300 lines are wrong: line 1: label 'dog'" in text
    assert text.rstrip().endswith("and 295 more")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", "label,score,ms\n7,0.9,4\n", "line 1: no column confidence; found label, score, ms"),
        ("log.csv", "", "line 1: no column label, confidence, ms; found nothing"),
        ("log.csv", "label,confidence,ms\n" + 99 * "7,0.9,4\n", "holds 99 inferences"),
        ("log.jsonl", '{"label": "7", "confidence": 0.9, "ms": 4}\n{"label": "7", "conf', "line 2: no JSON"),
        ("log.jsonl", "[1]\n", "line 1: found list, expected a JSON object"),
        ("log.jsonl", '{"label": "7", "confidence": true, "ms": 4}\n', "line 1: confidence True is no number"),
        ("log.txt", "7", "expected .csv"),
        ("log.csv", None, "can't be read"),
    ],
)
def test_a_log_that_is_none_is_one_message(
    bundle: Path, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    code, text = monitored(bundle, tmp_path / name)
    assert code == 2
    assert message in text


def test_a_changed_bundle_is_refused_and_one_without_a_reference_takes_a_log(
    run: RunResult, rows: list[Row], tmp_path: Path
) -> None:
    bundle, log = bundled(run, tmp_path / "pixel8"), written(tmp_path / "log.csv", rows)
    manifest = json.loads((bundle / MANIFEST).read_text())
    del manifest["files"][REFERENCE]
    (bundle / REFERENCE).unlink()
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    code, text = monitored(bundle, log)
    assert code == 2
    assert "give an earlier log from the field with --reference" in text
    assert told(bundle, log, "--reference", log)["drifted"] is False
    (bundle / "labels.txt").write_text("changed")
    code, text = monitored(bundle, log)
    assert code == 2
    assert "labels.txt: changed since the bundle was written" in text
