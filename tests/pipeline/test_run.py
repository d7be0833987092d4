"""The main job end to end on a few hundred digits: bundles, reuse, resuming, and tampering."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.store import file_sha256

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "data.limit=300", "teacher.epochs=1", "distill.epochs=2", "distill.views=2", "distill.compare_naive=true",
    "prune.macs=0.8", "prune.recovery_epochs=1", "calibration.samples=16", "budgets={}",
)  # fmt: skip
RUN = (
    "run", str(ROOT / "recipes/digits-mobilenet.yaml"), "--target", "pixel8", "--target", "coral_dev",
    "--json", "--no-latency", *(word for setting in SETTINGS for word in ("--set", setting)),
)  # fmt: skip


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *arguments]


def call(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command(*arguments), cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def digests(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): file_sha256(f) for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one run, started from another folder than the project's."""
    out = tmp_path_factory.mktemp("run")
    ended = call(*RUN, "--out", str(out), cwd=out)
    assert ended.returncode in (0, 1), ended.stderr
    answer = json.loads(ended.stdout)
    assert [Path(release["bundle"]).name for release in answer] == ["pixel8", "coral_dev"]
    return out


def test_each_target_gets_both_formats_in_its_own_scheme(made: Path) -> None:
    bundles = made / "digits-mobilenet"
    assert {f.name for f in bundles.glob("pixel8/model.*")} == {"model.int8-static.onnx", "model.int8-static.tflite"}
    assert {f.name for f in bundles.glob("coral_dev/model.*")} >= {"model.int8-static-io8.tflite"}
    for name in ("labels.txt", "preprocess.json", "report.json", "report.html", "MODEL_CARD.md", "manifest.json"):
        assert (bundles / "pixel8" / name).stat().st_size > 0
    assert (bundles / "pixel8/labels.txt").read_text().split() == list("0123456789")


def test_targets_share_one_teacher_and_one_student(made: Path) -> None:
    for stage in ("teacher", "teacher-cache", "student", "naive", "prune"):
        folders = [folder for folder in (made / ".store").glob(f"{stage}/*") if folder.is_dir()]
        assert len(folders) == 1, stage


def test_no_file_of_a_bundle_names_this_machines_folders(made: Path) -> None:
    for file in (made / "digits-mobilenet").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert str(made).encode() not in content, file
            assert str(ROOT).encode() not in content, file


def test_a_second_run_makes_nothing_and_the_same_bytes(made: Path) -> None:
    before = digests(made / "digits-mobilenet")
    results = sorted((made / ".store").rglob("result.json"))
    times = [result.stat().st_mtime_ns for result in results]
    ended = call(*RUN, "--out", str(made))
    assert ended.returncode in (0, 1), ended.stderr
    assert sorted((made / ".store").rglob("result.json")) == results
    assert [result.stat().st_mtime_ns for result in results] == times
    assert digests(made / "digits-mobilenet") == before


def test_golden_outputs_repeat(made: Path) -> None:
    ended = call("validate", str(made / "digits-mobilenet/coral_dev"), "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert all(result["passed"] for result in json.loads(ended.stdout))


def test_gate_decides_from_the_bundle_alone(made: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "elsewhere"
    shutil.copytree(made / "digits-mobilenet/pixel8", bundle)
    assert call("gate", str(bundle), "--json").returncode in (0, 1)


def test_a_changed_byte_is_refused(made: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(made / "digits-mobilenet/pixel8", bundle)
    model = bundle / "model.int8-static.tflite"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    for name in ("gate", "validate"):
        ended = call(name, str(bundle))
        assert ended.returncode == 2
        assert "model.int8-static.tflite" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_missed_budget_is_exit_code_1_and_names_the_stage(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / ".store", tmp_path / ".store")
    ended = call(*RUN, "--out", str(tmp_path), "--set", "budgets={accuracy: {min: 1.0}}")
    answer = json.loads(ended.stdout)
    assert ended.returncode == 1
    failed = [check for release in answer for check in release["checks"] if not check["passed"]]
    assert failed
    assert all(check["explanation"] for check in failed)


@pytest.mark.parametrize("stage", ["teacher", "student", "export"])
def test_a_killed_run_resumes_to_the_same_bytes(made: Path, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "out"
    # The other stages' results are taken over, so that only this one is made anew.
    shutil.copytree(made / ".store", out / ".store")
    shutil.rmtree(out / ".store" / stage)
    process = subprocess.Popen(
        command(*RUN, "--out", str(out)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list((out / ".store" / stage).glob("*.partial")):
        time.sleep(0.01)
    time.sleep(0.5)
    process.kill()
    process.wait()
    assert list((out / ".store" / stage).glob("*.partial")), "the kill came too late"
    ended = call(*RUN, "--out", str(out))
    assert ended.returncode in (0, 1), ended.stderr
    assert digests(out / "digits-mobilenet") == digests(made / "digits-mobilenet")
