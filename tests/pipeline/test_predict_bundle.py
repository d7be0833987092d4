"""Predicted latencies put into a bundle: beside what was measured, proven by its hashes, or not at all."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.bundle import write_bundle
from pipeline.cli import app
from pipeline.context import RunContext
from pipeline.emulated.predict_bundle import predict_bundle
from pipeline.errors import InputError
from pipeline.gate import decide
from pipeline.integrity import REPORT, read_json, verify_bundle
from pipeline.report.record import make_report
from pipeline.results import PreparedData
from targets.profile import Budgets, load_profile
from tests import releases
from tests.pipeline.report_pages import predicted

FILE = "model.float32.onnx"


@pytest.fixture
def bundle(digits: PreparedData, tmp_path: Path, context: RunContext) -> Path:
    run = releases.real_release(tmp_path / "work", digits, context, releases.latency(tmp_path / "latency", 1.5))
    recipe, profile = releases.recipe(), load_profile("rpi4")
    report = make_report(run, recipe, profile, Budgets())
    return write_bundle(run, recipe, profile, report, decide(report), tmp_path / "bundle")


@pytest.fixture
def foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file takes 4 ms."""
    monkeypatch.setattr("pipeline.emulated.predict_bundle.predict_file", lambda file, *_: predicted(file.name))


@pytest.mark.usefixtures("foretold")
def test_a_prediction_is_kept_in_the_report_and_shown(bundle: Path) -> None:
    before = read_json(bundle / REPORT)
    digest = read_json(bundle / "manifest.json")["reproducible_sha256"]
    predict_bundle(bundle)
    verify_bundle(bundle)
    after = read_json(bundle / REPORT)
    told = after["files"][0].pop("predicted")
    assert before["files"][0].pop("predicted") is None
    assert before == after
    assert told["latency"] == {"value": 4, "low": 2, "high": 8, "unit": "ms", "source": "predicted"}
    assert (told["core"], told["borrowed"]) == ("cortex-a76", True)
    assert "cortex-a76, borrowed" in (bundle / "report.html").read_text()
    assert read_json(bundle / "manifest.json")["reproducible_sha256"] == digest


@pytest.mark.usefixtures("foretold")
def test_the_command_prints_what_was_predicted(bundle: Path) -> None:
    shown = CliRunner().invoke(app, ["predict", str(bundle), "--quiet"])
    assert shown.exit_code == 0, shown.output
    assert "4 ms" in shown.output
    assert "2 to 8 ms (90%)" in shown.output
    told = json.loads(CliRunner().invoke(app, ["predict", str(bundle), "--json"]).stdout)
    assert (told["predicted"][0]["ms"], told["refused"]) == (4, {})


def test_a_bundle_of_which_nothing_can_be_predicted_stays_as_it_was(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("no emulator here")

    monkeypatch.setattr("pipeline.emulated.predict_bundle.predict_file", refuse)
    before = (bundle / REPORT).read_bytes()
    with pytest.raises(InputError, match=r"^no emulator here$"):
        predict_bundle(bundle)
    assert (bundle / REPORT).read_bytes() == before
    verify_bundle(bundle)
    (bundle / "labels.txt").write_text("other\n")
    done = CliRunner().invoke(app, ["predict", str(bundle)])
    assert (done.exit_code, "changed since the bundle was written" in done.output) == (2, True)
