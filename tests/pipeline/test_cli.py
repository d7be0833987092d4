"""The command line answers at once, shows examples, and turns every wrong input into one message and exit code 2."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from targets.profile import PROFILES, profile_names

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "recipes/digits-mobilenet.yaml")
COMMANDS = [
    "init",
    "history",
    "monitor",
    "run",
    "plan",
    "gate",
    "keygen",
    "sign",
    "compare",
    "report",
    "predict",
    "validate",
    "bench",
    "search",
    "doctor",
    "targets list",
    "targets show",
    "targets check",
    "targets install-emulator",
    "targets install-browser",
]
HEAVY = ["torch", "timm", "transformers", "onnx", "onnxruntime", "numpy", "pydantic", "matplotlib", "pandas", "optuna"]


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example(command: str) -> None:
    code, text = call(*command.split(), "--help")
    assert code == 0
    assert f"Example: edgepress {command}" in " ".join(text.split())


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from pipeline.cli import app;"
        "CliRunner().invoke(app, ['--help']); print([m for m in sys.argv[1:] if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script, *HEAVY], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_planning_needs_no_training_library() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from pipeline.cli import app;"
        "result = CliRunner().invoke(app, ['plan', sys.argv[1]]); assert result.exit_code == 0, result.output;"
        "print([m for m in ('torch', 'timm', 'transformers', 'onnxruntime') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script, DIGITS]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_version_is_the_packages() -> None:
    from pipeline import __version__

    assert call("--version") == (0, f"{__version__}\n")


def test_targets_list_names_every_profile() -> None:
    code, text = call("targets", "list", "--json")
    assert code == 0
    assert [row["target"] for row in json.loads(text)] == profile_names()


def test_targets_show_prints_a_profile_that_can_be_read_back(tmp_path: Path) -> None:
    code, text = call("targets", "show", "rpi4")
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert code == 0
    assert call("targets", "check", str(file))[0] == 0


def test_plan_as_json_names_every_stage() -> None:
    code, text = call("plan", DIGITS, "--json")
    assert code == 0
    assert {"data", "teacher", "distill", "export", "quantize", "validate", "gate"} <= {
        row["stage"] for row in json.loads(text)
    }


def test_doctor_finds_what_the_main_job_needs() -> None:
    code, text = call("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(text)}
    assert code == 0
    assert findings["torch"]["ok"]
    assert all(finding["advice"] for finding in findings.values() if not finding["ok"])


def test_doctor_says_how_to_get_an_extra() -> None:
    _, text = call("doctor", "--json")
    extra = next(finding for finding in json.loads(text) if finding["name"] == "tensorflow-cpu")
    assert extra["ok"] or "edgepress[tensorflow]" in extra["advice"]


WRONG = {
    "unknown key": (["--set", "distill.temprature=3"], "did you mean 'temperature'"),
    "wrong type": (["--set", "distill.epochs=many"], "distill.epochs"),
    "out of range": (["--set", "prune.macs=3"], "prune.macs"),
    "unknown student": (["--set", "student.family=mobilenetv9"], "unknown student family"),
    "unknown target": (["--target", "pixel88"], "did you mean 'pixel8'"),
    "unknown source": (["--set", "data.source=mnist"], "mnist"),
    "unknown teacher": (["--set", "teacher.model=efficientnet_lite_zero"], "efficientnet_lite_zero"),
    "missing weights": (["--set", "teacher.weights=/nowhere/w.pth"], "/nowhere/w.pth"),
    "banned operator": (["--set", "student.family=mobilenetv3_small"], "hard-swish"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_message_and_exit_code_2(case: str, tmp_path: Path) -> None:
    arguments, message = WRONG[case]
    out = tmp_path / "out"
    code, text = call("run", DIGITS, "--quiet", "--out", str(out), *arguments)
    assert (code, "Traceback" in text) == (2, False)
    assert message in text
    assert not list(out.glob("digits-mobilenet/*"))


def test_a_scheme_that_is_none_is_refused(tmp_path: Path) -> None:
    profile = yaml.safe_load((PROFILES / "rpi4.yaml").read_text())
    profile["quantization"]["image"]["scheme"] = "int7"
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(profile))
    code, text = call("run", DIGITS, "--target", str(file))
    assert code == 2
    assert "quantization.image.scheme" in text
    assert "int8-static" in text


def test_a_missing_recipe_is_one_message() -> None:
    code, text = call("run", "nowhere.yaml")
    assert code == 2
    assert "nowhere.yaml: no such file" in text


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"):
        code, text = call("run", DIGITS, "--quiet", "--out", str(tmp_path))
    assert code == 2
    assert "another run writes here" in text


def test_an_output_folder_that_can_not_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, text = call("run", DIGITS, "--quiet", "--out", str(tmp_path / "file" / "out"))
    assert code == 2
    assert "give --out another folder" in text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "inputs.npy"))

    monkeypatch.setattr("pipeline.store.write_atomic", refuse)
    code, text = call("run", DIGITS, "--quiet", "--out", str(tmp_path), "--set", "data.limit=200")
    assert code == 2
    assert os.strerror(number) in text


def test_stopping_a_run_says_that_it_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.run.prepare", stop)
    code, text = call("run", DIGITS, "--quiet", "--out", str(tmp_path))
    assert code == 2
    assert "the same command goes on from there" in text


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite", "model.txt"])
def test_bench_refuses_a_file_that_is_no_model(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"not a model at all")
    code, text = call("bench", str(file))
    assert code == 2
    assert str(file) in text


@pytest.mark.parametrize("command", ["gate", "validate"])
def test_a_folder_that_is_no_bundle_is_one_message(tmp_path: Path, command: str) -> None:
    code, text = call(command, str(tmp_path))
    assert code == 2
    assert "manifest.json" in text
