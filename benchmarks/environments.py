"""Other tools, each in an environment of its own, made by uv from `peers/<name>.in` and asked by `peers/<name>.py`.

A peer's script is called with the float model, an .npz file with `images`, uint8 [N, S, S, 3] RGB, and a folder, into
which it writes one model file for each of the tool's presets that it tries.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.record import ROOT

FOLDER = Path(__file__).parent / "peers"
SECONDS = 3600  # that an installation or a quantization may take

Format = Literal["onnx", "tflite"]


@dataclass(frozen=True)
class Peer:
    """The format of the float file that the tool is handed, and of what it makes."""

    takes: Format
    makes: Format


PEERS = {
    "optimum": Peer("onnx", "onnx"),
    "olive": Peer("onnx", "onnx"),
    "neural-compressor": Peer("onnx", "onnx"),
    "nncf": Peer("onnx", "onnx"),
    "ai-edge-quantizer": Peer("tflite", "tflite"),
    "onnx2tf": Peer("onnx", "tflite"),
    "tensorflow": Peer("onnx", "tflite"),
}


class Failed(Exception):
    """A command that did not do what it was asked for: the last line that it said."""


@dataclass
class Asked:
    """What came of asking the peers: files by format and name, versions, and who failed why."""

    files: dict[Format, dict[str, Path]] = field(default_factory=lambda: {"onnx": {}, "tflite": {}})
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Environment:
    """An installed peer. `versions`: what its requirements name, as installed."""

    name: str
    python: Path
    versions: dict[str, str]


def ask_peers(floats: Mapping[Format, Path], calibration: Path, folder: Path, install: bool) -> Asked:
    """Has every peer quantize the student, whose float files are `floats`."""
    found = Asked()
    for name, peer in PEERS.items():
        step = "installation"
        try:
            tool = environment(name, install)
            found.told[name] = {"versions": tool.versions, "settings": settings_of(name)}
            step = "quantization"
            for preset, file in quantize(tool, floats[peer.takes], calibration, folder / name).items():
                found.files[peer.makes][f"{name}, {preset}"] = file
        except Failed as error:
            found.failed[name] = f"{step}: {error}"
        print(f"{name}: {found.failed.get(name, 'done')}", flush=True)
    return found


def environments_folder() -> Path:
    """Where environments are kept from one run to the next: .peers, or what EDGEPRESS_PEERS names."""
    return Path(os.environ.get("EDGEPRESS_PEERS", ROOT / ".peers")).absolute()


def environment(name: str, install: bool) -> Environment:
    """The environment of the peer `name`, made if `install` says so. Raises Failed if it can't be had."""
    wanted, folder = FOLDER / f"{name}.in", environments_folder() / name
    python, installed = folder / "bin" / "python", folder / "requirements.in"  # the latter is written last
    if not installed.is_file() or installed.read_bytes() != wanted.read_bytes():
        if not install:
            raise Failed("not installed")
        shutil.rmtree(folder, ignore_errors=True)
        _run([_uv(), "venv", "--quiet", "--python", sys.executable, str(folder)], folder.parent)
        _run([_uv(), "pip", "install", "--quiet", "--python", str(python), "-r", str(wanted)], folder.parent)
        shutil.copy(wanted, installed)
    listed = _run([_uv(), "pip", "freeze", "--python", str(python)], folder.parent).splitlines()
    found = dict(line.split("==") for line in listed if "==" in line)
    return Environment(name, python, {package: found[package] for package in named(wanted.read_text())})


def named(requirements: str) -> list[str]:
    """The packages that lines like `name[extra]==1.0  # why` ask for."""
    lines = (line.split("#")[0].strip() for line in requirements.splitlines())
    return [line.split("==")[0].split("[")[0].strip().lower() for line in lines if line]


def settings_of(name: str) -> str:
    """What the peer's script says of the settings that it chose."""
    return " ".join((ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or "").split())


def quantize(peer: Environment, model: Path, calibration: Path, out: Path) -> dict[str, Path]:
    """The files that the peer makes of `model`, by the name of its preset. Raises Failed if it makes none."""
    work = out / "work"
    work.mkdir(parents=True)
    # Some tools write over the file that they are handed.
    handed = Path(shutil.copy(model, work / f"student{model.suffix}"))
    # -I: a script named after the package that it imports must not find itself.
    script = [str(peer.python), "-I", str(FOLDER / f"{peer.name}.py")]
    _run([*script, *(str(path.absolute()) for path in (handed, calibration, out))], work, peer.python.parent)
    shutil.rmtree(work)
    files = {file.stem: file for file in sorted(out.iterdir()) if file.suffix in (".onnx", ".tflite")}
    if not files:
        raise Failed("ended without an error and without a file")
    return files


def _run(command: list[str], folder: Path, programs: Path | None = None) -> str:
    """What the command says, run in `folder`, with `programs` first on its path. Raises Failed."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        ended = subprocess.run(
            command, cwd=folder, env=_surroundings(programs), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(str(error)) from None
    if ended.returncode:
        raise Failed(last_line(ended.stderr) or last_line(ended.stdout) or f"ended with {ended.returncode}")
    return ended.stdout


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _surroundings(programs: Path | None) -> dict[str, str]:
    """Nothing of this environment, no GPU, nothing told to anyone; pip's index and certificate for uv, which does not
    read its settings."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    if "PIP_CERT" in kept:
        kept.setdefault("SSL_CERT_FILE", kept["PIP_CERT"])
    if "PIP_INDEX_URL" in kept:
        kept.setdefault("UV_DEFAULT_INDEX", kept["PIP_INDEX_URL"])
    if programs is not None:
        kept["PATH"] = f"{programs}{os.pathsep}{kept.get('PATH', os.defpath)}"
    silent = {"OLIVE_DISABLE_TELEMETRY": "1", "NNCF_CI": "1", "HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    return {**kept, **silent, "CUDA_VISIBLE_DEVICES": ""}


def _uv() -> str:
    """The project's own uv, which `make setup` lays down, or one on the path. Raises Failed if there is none."""
    own = ROOT / ".uv" / "bin" / "uv"
    found = str(own) if own.is_file() else shutil.which("uv")
    if found is None:
        raise Failed("no uv: run `make setup`")
    return found
