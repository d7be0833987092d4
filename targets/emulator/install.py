"""Gets what emulation needs into the cache folder: planned first, made beside, renamed when whole."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from targets.emulator import packages
from targets.emulator.cores import CORES
from targets.emulator.packages import Deb, Wheel
from targets.emulator.place import ROOM, Installed, checked, installed, write_guest, write_prefix
from targets.emulator.qemu import GET_QEMU, PROGRAM, find_qemu, run_guest
from targets.errors import TargetError
from targets.installation import Say, disk_for

# Imported once in the guest: it proves that they run, and leaves their byte code for every later start.
TRIAL = (
    "import ctypes, json, zipfile, numpy, onnxruntime, ai_edge_litert.interpreter\n"
    "from importlib.metadata import version\n"
    "print(json.dumps({name: version(name) for name in ('numpy', 'onnxruntime', 'ai-edge-litert')}))\n"
)


@dataclass(frozen=True)
class InstallPlan:
    """What is to be got. `python`: of the guest, such as 3.11."""

    folder: Path
    qemu: bool
    python: str
    packages: tuple[str, ...]
    debs: tuple[Deb, ...]
    wheels: tuple[Wheel, ...]

    @property
    def download(self) -> int:
        """Bytes, QEMU itself left out."""
        return sum(deb.bytes for deb in self.debs) + sum(wheel.bytes for wheel in self.wheels)

    @property
    def disk(self) -> int:
        """Bytes that are needed on the way, downloads included."""
        return disk_for(self.download)

    def rows(self) -> list[tuple[str, str, str]]:
        """(what, size in MB, from where), for who is asked."""
        debs, wheels = sum(deb.bytes for deb in self.debs), sum(wheel.bytes for wheel in self.wheels)
        names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in self.wheels)
        rows = [
            (f"Python {self.python} for arm64, {len(self.debs)} packages", f"{debs / 1e6:.1f}", "apt"),
            (f"aarch64 wheels: {names}", f"{wheels / 1e6:.1f}", "Python's package index"),
        ]
        return [("qemu-user, on this system", "", "apt"), *rows] if self.qemu else rows


def is_whole() -> bool:
    """Whether nothing is left to get."""
    try:
        find_qemu()
        installed()
    except TargetError:
        return False
    return True


def plan_install(say: Say = lambda _: None) -> InstallPlan:
    """What has to be got, with its size: asks the system's package index for arm64, nothing else.

    Raises TargetError where it can't be got here, or there is no space for it.
    """
    missing = shutil.which(PROGRAM) is None
    if missing and os.geteuid() != 0:
        raise TargetError(f"no QEMU: {PROGRAM} is not on the PATH, and only root can install it; {GET_QEMU}")
    if not missing:
        find_qemu()
    work = ROOM.make_work()
    (work / "apt").mkdir(exist_ok=True)
    say("reading the package index for arm64")
    packages.update_index(work / "apt")
    python, names = packages.guest_packages(work / "apt")
    plan = InstallPlan(
        ROOM.folder, missing, python, names, packages.needed_debs(work / "apt", names),
        packages.wheels_for(python),
    )  # fmt: skip
    ROOM.refuse_without_space(plan.folder, plan.disk, shutil.disk_usage(work).free)
    return plan


def install(plan: InstallPlan, say: Say = lambda _: None) -> None:
    """Carries out `plan`. What was got by a try that was stopped is used; an installation that was there stands until
    the new one is whole. Raises TargetError for what went wrong."""
    with ROOM.making() as work:
        _install(plan, work, say)
    checked.cache_clear()


def _install(plan: InstallPlan, work: Path, say: Say) -> None:
    if plan.qemu:
        say("installing qemu-user")
        packages.install_qemu()
        find_qemu.cache_clear()
    find_qemu()
    say(f"fetching {len(plan.debs)} packages")
    packages.fetch_debs(work / "apt", plan.packages)
    made = work / "whole"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    say("unpacking them")
    packages.unpack_debs(work / "apt", plan.debs, made / "root")
    say("fetching and unpacking the wheels")
    packages.install_wheels(plan.wheels, made / "site")
    for core in CORES.values():
        write_prefix(made, core)
    say("trying them out")
    python = f"root/usr/bin/python{plan.python}"
    write_guest(made, python, _try_out(Installed(made, made / python, {}), work))
    ROOM.put(made)


def _try_out(guest: Installed, work: Path) -> dict[str, str]:
    """The guest's versions of its packages, as it tells itself on the least of the cores."""
    core = CORES["cortex-a53"]
    said = run_guest(guest, core, ["-c", TRIAL], work, "the new installation", keep_bytecode=True)
    return {str(name): str(version) for name, version in json.loads(said).items()}
