"""Other tools' environments: what they are asked to hold, how they are called, what is kept of their failures."""

import sys
from pathlib import Path

import pytest

from benchmarks import environments
from benchmarks.environments import (
    PEERS,
    Environment,
    Failed,
    ask_peers,
    environment,
    last_line,
    named,
    quantize,
    settings_of,
)


def test_every_peer_has_a_script_that_says_its_settings_and_exact_versions() -> None:
    for name in PEERS:
        assert settings_of(name)
        lines = (environments.FOLDER / f"{name}.in").read_text().splitlines()
        assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_packages_are_read_from_requirements_with_extras_and_comments() -> None:
    text = "# why\nonnxruntime==1.31.1\noptimum-onnx[onnxruntime]==0.1.0  # the quantizer\n\nTorch == 2.14.1\n"
    assert named(text) == ["onnxruntime", "optimum-onnx", "torch"]


def test_the_last_line_that_says_something_is_kept() -> None:
    assert last_line("Traceback\n  ...\nValueError: no\n\n  \n") == "ValueError: no"
    assert last_line("\n") == ""


def test_a_tool_that_is_not_installed_is_left_out_of_a_run_that_installs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRESS_PEERS", str(tmp_path))
    with pytest.raises(Failed, match="not installed"):
        environment("nncf", install=False)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """This interpreter as a peer whose script is not yet written."""
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    return Environment("json", Path(sys.executable), {})


def test_a_peer_makes_one_file_for_each_preset(
    tool: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the folder may be named from here; the script runs elsewhere
    (tmp_path / "json.py").write_text(
        "import json, pathlib, sys\n"  # the library's own, not this file
        "model, calibration, out = map(pathlib.Path, sys.argv[1:])\n"
        "(out / 'b.onnx').write_text(json.dumps([model.name, calibration.name]))\n"
        "(out / 'a.onnx').touch()\n"
        "(out / 'log.txt').touch()\n"
    )
    Path("model.onnx").touch()
    files = quantize(tool, Path("model.onnx"), Path("calibration.npz"), Path("out"))
    assert list(files) == ["a", "b"]
    assert files["b"].read_text() == '["student.onnx", "calibration.npz"]'


def test_a_peer_can_not_write_over_the_student(tool: Environment, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("ours")
    (tmp_path / "json.py").write_text(
        "import pathlib, sys\n"
        "pathlib.Path(sys.argv[1]).write_text('simplified')\n"
        "pathlib.Path(sys.argv[3], 'made.onnx').touch()\n"
    )
    quantize(tool, tmp_path / "model.onnx", tmp_path / "calibration.npz", tmp_path / "out")
    assert (tmp_path / "model.onnx").read_text() == "ours"


def test_a_peer_that_fails_is_told_by_its_last_line(tool: Environment, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('no kernel\\nfor Clip\\n')\n")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(Failed, match=r"^for Clip$"):
        quantize(tool, tmp_path / "model.onnx", Path("calibration.npz"), tmp_path / "out")


def test_a_peer_that_makes_nothing_has_failed(tool: Environment, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(Failed, match="without a file"):
        quantize(tool, tmp_path / "model.onnx", Path("calibration.npz"), tmp_path / "out")


def test_who_fails_is_told_with_the_step_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handed = {}

    def installed(name: str, install: bool) -> Environment:
        if name == "olive":
            raise Failed("no such version")
        return Environment(name, Path(sys.executable), {name: "1.0"})

    def quantized(peer: Environment, model: Path, calibration: Path, out: Path) -> dict[str, Path]:
        handed[peer.name] = model.name
        if peer.name == "nncf":
            raise Failed("KeyError: 'Clip'")
        return {"minmax": out / "minmax", "entropy": out / "entropy"}

    monkeypatch.setattr(environments, "environment", installed)
    monkeypatch.setattr(environments, "quantize", quantized)
    floats = {"onnx": Path("float.onnx"), "tflite": Path("float.tflite")}
    found = ask_peers(floats, Path("calibration.npz"), tmp_path, install=True)
    assert found.failed == {"olive": "installation: no such version", "nncf": "quantization: KeyError: 'Clip'"}
    assert set(found.told) == set(PEERS) - {"olive"}
    assert {"optimum, minmax", "optimum, entropy"} <= set(found.files["onnx"])
    assert not any(name.startswith(("olive", "nncf")) for name in found.files["onnx"])
    assert "onnx2tf, minmax" in found.files["tflite"]
    assert handed["onnx2tf"] == "float.onnx"
    assert handed["ai-edge-quantizer"] == "float.tflite"
