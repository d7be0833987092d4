"""Where the emulator's files lie, and proof that they are still what was installed.

<cache>/emulator/root/       an unpacked arm64 Python with its libraries
<cache>/emulator/site/       aarch64 wheels of numpy and both runtimes
<cache>/emulator/cores/<core>/  what QEMU's -L is given: links to root/, and proc/cpuinfo and sys/ of that core
<cache>/plugin/              the compiled plugin
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from targets.emulator.cores import PROCESSORS, EmulatedCore
from targets.errors import TargetError
from targets.installation import RECORD, Room, write_record

ROOM = Room("emulator", "the emulator", "edgepress targets install-emulator")
SCHEMA = 1
_SHARED = ("bin", "etc", "lib", "lib64", "sbin", "usr")


@dataclass(frozen=True)
class Installed:
    """A whole installation. `python`: the guest's, below `root`. `versions` of the guest's packages by name."""

    folder: Path
    python: Path
    versions: dict[str, str]

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def prefix(self, core: EmulatedCore) -> Path:
        """What -L is given for `core`."""
        return self.folder / "cores" / core.name


def installed() -> Installed:
    """The installation in the cache folder, every file of which is as it was installed.

    Raises TargetError if there is none, or a file is missing or changed.
    """
    return checked(ROOM.folder)


@cache  # a process reads the files once; they are some 200 MB
def checked(folder: Path) -> Installed:
    """The installation in `folder`: see `installed`."""
    facts, files = ROOM.read(folder)
    if facts.get("schema") != SCHEMA:
        raise TargetError(
            f"{folder}: installed by another edgepress (schema {facts.get('schema')!r}); run '{ROOM.command}' again"
        )
    try:
        python, versions = str(facts["python"]), dict(facts["versions"])
    except (ValueError, KeyError, TypeError):
        raise TargetError(f"{folder / RECORD}: not the record of an installation; run '{ROOM.command}' again") from None
    ROOM.prove(folder, files)
    return Installed(folder, folder / python, versions)


def write_guest(folder: Path, python: str, versions: dict[str, str]) -> None:
    """Makes what lies in `folder` an installation."""
    write_record(folder, {"schema": SCHEMA, "python": python, "versions": versions})


def write_prefix(folder: Path, core: EmulatedCore) -> None:
    """Writes what -L is given for `core` below the installation in `folder`."""
    prefix = folder / "cores" / core.name
    processors = prefix / "sys/devices/system/cpu"
    processors.mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (processors / name).write_text(f"0-{PROCESSORS - 1}\n")
    (processors / "kernel_max").write_text(f"{PROCESSORS - 1}\n")
    (prefix / "proc").mkdir()
    (prefix / "proc/cpuinfo").write_text(core.cpuinfo)
    for name in _SHARED:
        if (folder / "root" / name).exists():
            (prefix / name).symlink_to(f"../../root/{name}")
