"""Getting the emulator, with stand-ins for apt, uv and QEMU that need no network: planned, whole or not there."""

import importlib.util
from pathlib import Path

import pytest

from targets.emulator import install as module
from targets.emulator import packages
from targets.emulator.install import InstallPlan, install, is_whole, plan_install
from targets.emulator.packages import Deb, Wheel, read_uris, wheels_for
from targets.emulator.place import ROOM, checked, installed
from targets.emulator.qemu import find_qemu
from targets.errors import TargetError

PROGRAMS = {
    "apt-cache": "echo python3-minimal; echo '  PreDepends: python3.11-minimal'; echo '  Depends: dpkg'",
    "apt-get": """
for word in "$@"; do case "$word" in
Dir::Cache::archives=*) archives=${word#*=} ;;
--print-uris) echo "'http://host/libc6_2.36%2b1_arm64.deb' libc6_2.36+1_arm64.deb 2324660 SHA256:00"
              echo "'http://host/zlib1g_1.2_arm64.deb' zlib1g_1%3a1.2_arm64.deb 82744 " ;;
--download-only) echo fetched >> "$archives/fetched"
                 touch "$archives/libc6_2.36+1_arm64.deb" "$archives/zlib1g_1%3a1.2_arm64.deb" ;;
esac; done""",
    "dpkg-deb": 'mkdir -p "$3/usr/bin" && echo python > "$3/usr/bin/python3.11" && test -f "$2"',
    "uv": """
while [ "$1" != --target ]; do shift; done
if [ -e "$0.broken" ]; then cat "$0.broken" >&2; exit 1; fi
mkdir -p "$2" && cp "$4" "$2/wheels.txt" """,
    "qemu-aarch64": """
case "$1" in
--version) echo 'qemu-aarch64 version 7.2.22' ;;
--help) echo '-plugin' ;;
-cpu) echo '  cortex-a53' ;;
*) echo '{"numpy": "2.4.6"}' ;;
esac""",
}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else found(name))
    find_qemu.cache_clear()
    checked.cache_clear()
    yield folder
    find_qemu.cache_clear()
    checked.cache_clear()


def test_the_plan_says_what_it_costs_before_anything_is_fetched(programs: Path) -> None:
    plan = plan_install()
    wheels = sum(wheel.bytes for wheel in wheels_for("3.11"))
    assert plan.download == 2324660 + 82744 + wheels
    assert plan.rows()[0] == ("Python 3.11 for arm64, 2 packages", "2.4", "apt")
    assert "onnxruntime" in plan.rows()[1][0]
    assert not plan.qemu
    assert not is_whole()
    assert list(ROOM.work.glob("apt/archives/*.deb")) == []


def test_an_installation_is_whole_and_leaves_nothing_beside(programs: Path) -> None:
    said: list[str] = []
    install(plan_install(), said.append)
    assert is_whole()
    assert installed().versions == {"numpy": "2.4.6"}
    assert (installed().folder / "cores/cortex-a76/proc/cpuinfo").exists()
    assert not ROOM.work.exists()
    listed = (installed().site / "wheels.txt").read_text().splitlines()
    assert listed == [f"{w.name}=={w.version} --hash=sha256:{w.sha256}" for w in wheels_for("3.11")]
    assert said[-1] == "trying them out"


def test_a_try_that_fails_leaves_the_old_one_and_what_was_fetched(programs: Path) -> None:
    install(plan_install())
    old = (ROOM.folder / "installed.json").read_bytes()
    (programs / "uv.broken").write_text("  x Failed to download numpy\n  Hash mismatch for numpy==2.4.6\n")
    with pytest.raises(TargetError, match=r"SHA-256 is not the one listed.*run the command again"):
        install(plan_install())
    assert (ROOM.folder / "installed.json").read_bytes() == old
    fetched = ROOM.work / "apt/archives/libc6_2.36+1_arm64.deb"
    assert fetched.exists()
    (programs / "uv.broken").write_text("error: No space left on device (os error 28)\n")
    with pytest.raises(TargetError, match="no space left"):
        install(plan_install())
    (programs / "uv.broken").unlink()
    install(plan_install())
    assert is_whole()


def test_a_guest_that_does_not_start_is_no_installation(programs: Path) -> None:
    text = (programs / "qemu-aarch64").read_text().replace("""echo '{"numpy": "2.4.6"}'""", "kill -ILL $$")
    (programs / "qemu-aarch64").write_text(text)
    with pytest.raises(TargetError, match=r"the new installation: .*SIGILL"):
        install(plan_install())
    assert not ROOM.folder.exists()


def test_too_little_space_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    wheel = Wheel("numpy", "2.4.6", "3.11", "00", 40_000_000)
    plan = InstallPlan(tmp_path / "emulator", False, "3.11", (), (Deb("a.deb", 10_000_000),), (wheel,))
    ROOM.refuse_without_space(plan.folder, plan.disk, plan.disk)
    with pytest.raises(TargetError, match=r"100 MB free, 275 MB needed on the way to the emulator; .*EDGEPRESS_CACHE"):
        ROOM.refuse_without_space(plan.folder, plan.disk, 100_000_000)


def test_without_qemu_only_root_can_go_on(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs / "qemu-aarch64").unlink()
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    with pytest.raises(TargetError, match=r"only root can install it; Debian: apt-get install qemu-user"):
        plan_install()


def test_a_system_without_apt_is_told(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("apt-get", "dpkg-deb"):
        (programs / name).unlink()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(TargetError, match=r"no apt-get with dpkg-deb.*Debian 12 or 13"):
        plan_install()


def test_sources_without_a_python_for_arm64_are_told(programs: Path) -> None:
    (programs / "apt-cache").write_text("#!/bin/sh\necho 'N: Unable to locate package'\n")
    with pytest.raises(TargetError, match="no Python for arm64"):
        plan_install()
    (programs / "apt-cache").write_text("#!/bin/sh\necho '  Depends: python3.9-minimal'\n")
    with pytest.raises(TargetError, match=r"have Python 3\.9 for arm64.*wheels are for 3\.11"):
        plan_install()


def test_what_apt_says_reaches_the_user(programs: Path) -> None:
    (programs / "apt-get").write_text(
        "#!/bin/sh\necho 'W: noise' >&2\necho 'E: Could not resolve host' >&2\nexit 100\n"
    )
    with pytest.raises(TargetError, match=r"index for arm64 can't be fetched: E: Could not resolve host; check"):
        plan_install()


def test_neither_pip_nor_uv_is_told(programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (programs / "uv").unlink()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(TargetError, match="neither pip nor uv"):
        packages.install_wheels(wheels_for("3.11"), tmp_path / "site")


def test_apts_answer_is_read() -> None:
    text = "'http://h/a%2bb_1_arm64.deb' a+b_1_arm64.deb 12 MD5Sum:0\nW: noise\n'http://h/c' c_2%3a1_all.deb 34 \n"
    assert read_uris(text) == (Deb("a+b_1_arm64.deb", 12), Deb("c_2%3a1_all.deb", 34))


def test_each_listed_python_has_the_same_wheels_and_real_hashes() -> None:
    for python in ("3.11", "3.12", "3.13"):
        wheels = wheels_for(python)
        assert [wheel.name for wheel in wheels] == ["ai-edge-litert", "numpy", "onnxruntime"]
        assert all(len(wheel.sha256) == 64 and wheel.bytes > 10**7 for wheel in wheels)
