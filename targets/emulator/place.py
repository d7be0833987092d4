"""Where the emulator's files lie, and proof that they are still what was installed.

<cache>/emulator/root/       an unpacked arm64 Python with its libraries
<cache>/emulator/site/       aarch64 wheels of numpy and both runtimes
<cache>/emulator/cores/<core>/  what QEMU's -L is given: links to root/, and proc/cpuinfo and sys/ of that core
<cache>/emulator/installed.json  versions, and the SHA-256 of every file
<cache>/plugin/              the compiled plugin
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from targets.emulator.cores import PROCESSORS, EmulatedCore
from targets.errors import TargetError

CACHE = "EDGEPRESS_CACHE"  # the environment's word for another cache folder
RECORD = "installed.json"
SCHEMA = 1
INSTALL = "edgepress targets install-emulator"
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


def cache_folder() -> Path:
    """Where edgepress keeps what it can get again: EDGEPRESS_CACHE, or edgepress in the user's cache folder."""
    if own := os.environ.get(CACHE):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "edgepress"


def emulator_folder() -> Path:
    return cache_folder() / "emulator"


def installed() -> Installed:
    """The installation in the cache folder, every file of which is as it was installed.

    Raises TargetError if there is none, or a file is missing or changed.
    """
    return checked(emulator_folder())


@cache  # a process reads the files once; they are some 200 MB
def checked(folder: Path) -> Installed:
    """The installation in `folder`: see `installed`."""
    if not (folder / RECORD).is_file():
        raise TargetError(f"the emulator is not installed: no {folder / RECORD}; run '{INSTALL}'")
    again = f"run '{INSTALL}' again"
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files, python, versions = dict(record["files"]), str(record["python"]), dict(record["versions"])
    except (ValueError, KeyError, TypeError):
        raise TargetError(f"{folder / RECORD}: not the record of an installation; {again}") from None
    if record.get("schema") != SCHEMA:
        raise TargetError(f"{folder}: installed by another edgepress (schema {record.get('schema')!r}); {again}")
    found = digests(folder)
    for name in sorted(set(files) | set(found)):
        if files.get(name) != found.get(name):
            what = "missing" if name not in found else "not of this installation" if name not in files else "changed"
            raise TargetError(f"{folder / name}: {what}, so what it computes can't be trusted; {again}")
    return Installed(folder, folder / python, versions)


def write_record(folder: Path, python: str, versions: dict[str, str]) -> None:
    """Makes what lies in `folder` an installation."""
    record = {"schema": SCHEMA, "python": python, "versions": versions, "files": digests(folder)}
    (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` by its name there, or where a link points; the record is left out."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in [*names, *(name for name in folders if os.path.islink(os.path.join(place, name)))]:
            path = Path(place, name)
            if path.is_symlink():
                content = f"-> {os.readlink(path)}"
            else:
                with path.open("rb") as stream:
                    content = hashlib.file_digest(stream, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = content
    found.pop(RECORD, None)
    return found


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
