"""QEMU found and judged, and what is said of how a guest ended."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from targets.emulator import qemu
from targets.emulator.cores import CORES
from targets.emulator.qemu import Qemu, explain_ending, find_qemu, read_version
from targets.errors import TargetError
from tests.targets.emulator.elf import EXIT, UDOT, program

A53 = CORES["cortex-a53"]
CPUS = frozenset({"cortex-a53", "cortex-a76", "max"})
needs_qemu = pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="no qemu-aarch64 here")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called qemu-aarch64, the only one on the PATH; the test writes what it says."""
    find_qemu.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "qemu-aarch64"
    file.touch(mode=0o755)
    return file


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    find_qemu.cache_clear()


def test_no_qemu_is_told_with_how_to_get_it(stand_in: Path) -> None:
    stand_in.unlink()
    with pytest.raises(TargetError, match=r"no QEMU.*apt-get install qemu-user"):
        find_qemu()


def test_an_old_qemu_is_refused(stand_in: Path) -> None:
    stand_in.write_text("#!/bin/sh\necho 'qemu-aarch64 version 5.2.0 (Debian 1:5.2+dfsg-11)'\n")
    with pytest.raises(TargetError, match=r"QEMU 5\.2, expected 7\.2 or newer"):
        find_qemu()


def test_a_program_that_is_not_qemu_is_told(stand_in: Path) -> None:
    stand_in.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(TargetError, match="says 'hello', expected QEMU's version"):
        find_qemu()
    stand_in.write_text("no program")
    with pytest.raises(TargetError, match="can't be run"):
        find_qemu()


def test_what_qemu_says_of_itself_is_read(stand_in: Path) -> None:
    stand_in.write_text(
        "#!/bin/sh\n"
        "case $1 in\n"
        "--version) echo 'qemu-aarch64 version 8.0.1';;\n"
        "--help) echo '-cpu model';;\n"
        "-cpu) echo 'Available CPUs:'; echo '  cortex-a53'; echo '  cortex-a55';;\n"
        "esac\n"
    )
    found = find_qemu()
    assert (found.label, found.plugins) == ("QEMU 8.0", False)
    assert found.cpu(CORES["cortex-a55"]) == "cortex-a55"
    with pytest.raises(TargetError, match="built without plugins"):
        found.refuse_counting()


def test_versions_are_read() -> None:
    assert read_version("qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright", "q") == (7, 2)
    assert read_version("qemu-aarch64 version 10.0.2", "q") == (10, 0)


def test_a_core_of_the_same_instruction_sets_stands_in() -> None:
    seven = Qemu("q", (7, 2), True, CPUS)
    assert seven.cpu(CORES["cortex-a55"]) == "cortex-a76"
    with pytest.raises(TargetError, match=r"QEMU 7\.2 has no cortex-a72"):
        seven.cpu(CORES["cortex-a72"])


def test_counting_needs_the_plugin_interface_that_the_plugin_was_written_for() -> None:
    Qemu("q", (7, 2), True, CPUS).refuse_counting()
    with pytest.raises(TargetError, match=r"QEMU 9\.2 has another plugin interface.*7\.2 to 8\.1"):
        Qemu("q", (9, 2), True, CPUS).refuse_counting()


def test_endings_are_explained() -> None:
    ill = explain_ending("m.tflite", A53, -signal.SIGILL, "qemu: uncaught target signal 4 (Illegal instruction)")
    assert "an instruction that the emulated cortex-a53 does not have (SIGILL)" in ill
    assert "proc/cpuinfo" in ill
    crash = explain_ending("m.onnx", A53, 128 + signal.SIGSEGV, "bad thing\nqemu: uncaught target signal 11\n")
    assert "m.onnx: the process emulated on cortex-a53 crashed (SIGSEGV; bad thing)" in crash
    failed = explain_ending("m.onnx", A53, 1, "Traceback\nValueError:  wrong\n  shape\n")
    assert failed == "m.onnx: emulated on cortex-a53 it failed (exit code 1): shape"
    assert "it said nothing" in explain_ending("m.onnx", A53, 3, "")
    assert "\n" not in ill + crash


@needs_qemu
def test_a_core_refuses_instructions_that_it_lacks(tmp_path: Path) -> None:
    """The dot product is the Cortex-A76's, not the A53's."""
    file = program(tmp_path / "dot", [UDOT, *EXIT])
    found = find_qemu()

    def ending(core: str) -> int:
        command = [found.program, "-cpu", found.cpu(CORES[core]), str(file)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    assert ending("cortex-a76") == ending("cortex-a55") == 0
    assert "SIGILL" in explain_ending("dot", A53, ending("cortex-a53"), "")
    assert found.version >= qemu.OLDEST
