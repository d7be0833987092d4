"""Latencies from elsewhere in a bundle: with their origin, gated like any other, refused if of another model."""

import json
from pathlib import Path

import pytest

from pipeline.bundle import write_bundle
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.gate import check_bundle, decide
from pipeline.import_log import import_log
from pipeline.integrity import verify_bundle
from pipeline.report.record import make_report
from pipeline.results import PreparedData
from pipeline.store import file_sha256
from targets.errors import TargetError
from targets.profile import Budgets, load_profile
from tests import releases

NAME = "model.float32.onnx"


@pytest.fixture
def bundle(digits: PreparedData, context: RunContext, tmp_path: Path) -> Path:
    run = releases.real_release(tmp_path / "run", digits, context)
    profile, recipe = load_profile("pixel8"), releases.recipe(run.data.task)
    budgets = Budgets.model_validate({"latency_ms": {"p90": 5}, "size_mb": 100})
    report = make_report(run, recipe, profile, budgets)
    return write_bundle(run, recipe, profile, report, decide(report), tmp_path / "pixel8")


def log_of(folder: Path, ms: float, runs: int = 100, head: str = "") -> Path:
    """What an app wrote: as many inferences, all as long."""
    file = folder / "phone.txt"
    lines = [head, *[f"I edgepress: latency_us={round(1e3 * ms) + run}" for run in range(runs)]]
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize(("ms", "passed"), [(4.0, True), (6.0, False)])
def test_a_log_decides_the_latency_budget_and_its_origin_is_told(
    ms: float, passed: bool, bundle: Path, tmp_path: Path
) -> None:
    log = log_of(tmp_path, ms, head=f"I edgepress: sha256={file_sha256(bundle / NAME)} threads=2")
    verdict = import_log(bundle, log, "logcat", machine="Pixel 8, Android 14")
    assert verdict.passed is passed
    (check,) = (check for check in verdict.checks if check.name == "latency_ms.p90")
    assert (check.passed, check.source) == (passed, "device")
    assert check.value == pytest.approx(ms + 0.089)  # the 90th of 100 runs
    assert "not on the device" not in check.explanation
    assert check_bundle(bundle).passed is passed  # the manifest fits, and the report says the same
    (file,) = json.loads((bundle / "report.json").read_text())["files"]
    measured = file["measured"]
    assert measured["origin"] == {"format": "logcat", "file": "phone.txt", "sha256": file_sha256(log)}
    assert (measured["machine"], measured["source"], measured["runs"]) == ("Pixel 8, Android 14", "device", 100)
    assert measured["cold_start"] is None
    assert str(tmp_path) not in (bundle / "report.json").read_text()
    assert "Pixel 8, Android 14" in (bundle / "MODEL_CARD.md").read_text()
    assert "phone.txt" in (bundle / "report.html").read_text()
    assert verify_bundle(bundle)["clock_figures"] == ["MODEL_CARD.md", "report.json", "report.html"]


def test_the_same_log_gives_the_same_bytes_and_what_no_clock_touches_stays(bundle: Path, tmp_path: Path) -> None:
    before = json.loads((bundle / "manifest.json").read_text())["reproducible_sha256"]
    log = log_of(tmp_path, 4.0)
    import_log(bundle, log, "logcat", NAME)
    first = {file.name: file_sha256(file) for file in bundle.iterdir() if file.is_file()}
    import_log(bundle, log, "logcat", NAME)
    assert {file.name: file_sha256(file) for file in bundle.iterdir() if file.is_file()} == first
    assert json.loads((bundle / "manifest.json").read_text())["reproducible_sha256"] == before


def test_too_few_runs_do_not_pass(bundle: Path, tmp_path: Path) -> None:
    verdict = import_log(bundle, log_of(tmp_path, 4.0, runs=5), "logcat", NAME)
    assert not verdict.passed
    assert any("too few runs" in check.explanation for check in verdict.checks)


@pytest.mark.parametrize(
    ("head", "name", "told"),
    [
        ("I edgepress: model=other.onnx", None, r"a log of other\.onnx, the bundle ships model\.float32\.onnx"),
        ("I edgepress: model=other.onnx", NAME, r"a log of other\.onnx, --file says model\.float32\.onnx"),
        (f"I edgepress: model={NAME} sha256={'0' * 64}", None, r"another model\.float32\.onnx: its SHA-256 is 0000"),
        (f"I edgepress: sha256={'0' * 64}", None, r"SHA-256 000000000000\.\.\., which is none of"),
        ("", None, r"does not tell its model: say which with --file"),
        ("I edgepress: threads=4", NAME, r"made with 4 threads, .* ships with 2"),
    ],
)
def test_a_log_of_another_model_or_other_threads_is_refused_and_nothing_changes(
    head: str, name: str | None, told: str, bundle: Path, tmp_path: Path
) -> None:
    before = {file.name: file_sha256(file) for file in bundle.iterdir() if file.is_file()}
    with pytest.raises(InputError, match=told):
        import_log(bundle, log_of(tmp_path, 4.0, head=head), "logcat", name)
    assert {file.name: file_sha256(file) for file in bundle.iterdir() if file.is_file()} == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_no_log_no_bundle_and_another_form_are_told(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: can't be read: No such file"):
        import_log(bundle, tmp_path / "nowhere", "logcat", NAME)
    with pytest.raises(TargetError, match="not a log of the form ai-hub"):
        import_log(bundle, log_of(tmp_path, 4.0), "ai-hub", NAME)
    with pytest.raises(InputError, match="no such folder; expected a bundle"):
        import_log(tmp_path / "no", log_of(tmp_path, 4.0), "logcat", NAME)
    (bundle / NAME).write_bytes(b"changed")
    with pytest.raises(InputError, match="changed since the bundle was written"):
        import_log(bundle, log_of(tmp_path, 4.0), "logcat", NAME)
