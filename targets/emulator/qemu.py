"""QEMU's user mode: found, judged, and run on an aarch64 program."""

import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from targets.emulator.cores import EmulatedCore
from targets.emulator.place import Installed
from targets.errors import TargetError

PROGRAM = "qemu-aarch64"
OLDEST = (7, 2)
PLUGINS_UNTIL = (8, 1)  # the last with version 1 of the plugin interface, as `count.c` uses it
GET_QEMU = "Debian: apt-get install qemu-user"


@dataclass(frozen=True)
class Qemu:
    """`plugins`: whether it is built to load any; static builds are not. `cpus`: what -cpu takes."""

    program: str
    version: tuple[int, int]
    plugins: bool
    cpus: frozenset[str]

    @property
    def label(self) -> str:
        return f"QEMU {self.version[0]}.{self.version[1]}"

    def cpu(self, core: EmulatedCore) -> str:
        """The -cpu for `core`. Raises TargetError if this QEMU has none."""
        for name in filter(None, (core.name, core.stand_in)):
            if name in self.cpus:
                return name
        raise TargetError(f"{self.label} has no {core.name} (it has {', '.join(sorted(self.cpus))}): get a newer one")

    def refuse_counting(self) -> None:
        """Raises TargetError if this QEMU can't count instructions."""
        if not self.plugins:
            raise TargetError(
                f"{self.program} is built without plugins (static builds are), so it can't count instructions; "
                "install a dynamically linked one, such as Debian 12's qemu-user"
            )
        if self.version > PLUGINS_UNTIL:
            raise TargetError(
                f"{self.label} has another plugin interface than the counting plugin, which needs QEMU "
                f"{_dotted(OLDEST)} to {_dotted(PLUGINS_UNTIL)}; use Debian 12's qemu-user for counts"
            )


@cache
def find_qemu() -> Qemu:
    """The system's qemu-aarch64. Raises TargetError if there is none, or it is too old."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise TargetError(f"no QEMU: {PROGRAM} is not on the PATH; {GET_QEMU}")
    version = read_version(_ask(program, "--version"), program)
    if version < OLDEST:
        raise TargetError(
            f"{program} is QEMU {_dotted(version)}, expected {_dotted(OLDEST)} or newer: older ones lack cores and "
            "instructions that the runtimes use; install a newer one"
        )
    plugins = "-plugin" in _ask(program, "--help")
    return Qemu(program, version, plugins, frozenset(_ask(program, "-cpu", "help").split()))


def read_version(text: str, program: str) -> tuple[int, int]:
    """(major, minor) from what `--version` says. Raises TargetError if it says none."""
    found = re.search(r"version (\d+)\.(\d+)", text)
    if not found:
        said = text.strip().splitlines()[0] if text.strip() else "nothing"
        raise TargetError(f"{program} --version says '{said}', expected QEMU's version; {GET_QEMU}")
    return int(found[1]), int(found[2])


def _ask(program: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(f"{program} can't be run: {error}; {GET_QEMU}") from None
    return done.stdout + done.stderr


def run_guest(
    installed: Installed,
    core: EmulatedCore,
    arguments: Sequence[str],
    folder: Path,
    what: str,
    *,
    paths: Sequence[Path] = (),
    plugin: Path | None = None,
    keep_bytecode: bool = False,
) -> str:
    """Runs the emulated Python with `arguments` in `folder` and returns what it printed; `paths` go before the guest's
    own packages. With `plugin`, that writes its counts to `folder`/counts.txt.

    Raises TargetError, about `what`, for how the guest ended.
    """
    qemu = find_qemu()
    # The same random bytes and hashes in every run, so that counts repeat.
    command = [qemu.program, "-L", str(installed.prefix(core)), "-cpu", qemu.cpu(core), "-seed", "1"]
    if plugin is not None:
        qemu.refuse_counting()
        # A link in the working folder: QEMU takes a comma in the path for the next argument.
        (folder / "count.so").symlink_to(plugin)
        command += ["-plugin", "./count.so,out=counts.txt"]
    environment = {
        "PYTHONPATH": ":".join(map(str, (*paths, installed.site))),
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "" if keep_bytecode else "1",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
    }
    # In `folder`, where a crashed guest's core file goes too.
    done = subprocess.run(
        [*command, str(installed.python), "-P", *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise TargetError(explain_ending(what, core, done.returncode, done.stderr))
    return done.stdout


def explain_ending(what: str, core: EmulatedCore, code: int, stderr: str) -> str:
    """How an emulated process that failed ended, and what to do, in one line."""
    lines = [" ".join(line.split()) for line in stderr.splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if not line.startswith("qemu:")), "it said nothing")
    number = -code if code < 0 else code - 128 if code > 128 else 0
    if number == signal.SIGILL:
        return (
            f"{what}: an instruction that the emulated {core.name} does not have (SIGILL): its file or the runtime "
            f"needs a newer core, or {core.name}'s proc/cpuinfo below -L is not its own; install the emulator again, "
            "or name another core"
        )
    if number:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return (
            f"{what}: the process emulated on {core.name} crashed ({name}; {said}): if the host runs the file, "
            "install the emulator again; if it crashes still, the runtime's aarch64 build does"
        )
    return f"{what}: emulated on {core.name} it failed (exit code {code}): {said}"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
