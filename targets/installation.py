"""Rooms of the cache folder: what edgepress gets from elsewhere, made beside, renamed when whole, and proven by the
hash of every file before it is used.

<cache>/<name>/installed.json   facts of the installation, and the SHA-256 of every file
<cache>/<name>.partial/         where it is made; what was fetched stays there until it is whole
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from targets.errors import TargetError

CACHE = "EDGEPRESS_CACHE"  # the environment's word for another cache folder
RECORD = "installed.json"
UNPACKED = 4.5  # bytes on disk at the most, for a byte downloaded, while both are there

Say = Callable[[str], None]


def cache_folder() -> Path:
    """Where edgepress keeps what it can get again: EDGEPRESS_CACHE, or edgepress in the user's cache folder."""
    if own := os.environ.get(CACHE):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "edgepress"


def disk_for(download: int) -> int:
    """Bytes that getting `download` bytes needs on the way, those included."""
    return round(download * (1 + UNPACKED))


@dataclass(frozen=True)
class Room:
    """One installation: `name` of its folder, `what` it is in words, and the `command` that gets it."""

    name: str
    what: str
    command: str

    @property
    def folder(self) -> Path:
        return cache_folder() / self.name

    @property
    def work(self) -> Path:
        """Where it is made until it is whole."""
        return cache_folder() / f"{self.name}.partial"

    def read(self, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
        """(the facts, SHA-256 by file) of the installation in `folder`; its files are not looked at. Raises TargetError
        if there is none."""
        if not (folder / RECORD).is_file():
            raise TargetError(f"{self.what}: not installed: no {folder / RECORD}; run '{self.command}'")
        try:
            record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return record, {str(name): str(digest) for name, digest in record.pop("files").items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise TargetError(
                f"{folder / RECORD}: not the record of an installation; run '{self.command}' again"
            ) from None

    def prove(self, folder: Path, files: dict[str, str]) -> dict[str, str]:
        """The SHA-256 of every file in `folder`, each as in `files`. Raises TargetError that names the first which is
        missing, changed or more."""
        found = digests(folder)
        for name in sorted(set(files) | set(found)):
            if files.get(name) != found.get(name):
                how = "missing" if name not in found else "not of this installation" if name not in files else "changed"
                raise TargetError(
                    f"{folder / name}: {how}, so what it computes can't be trusted; run '{self.command}' again"
                )
        return found

    def make_work(self) -> Path:
        """The work folder, made if it is not there. Raises TargetError if it can't be."""
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TargetError(
                f"{self.work}: can't be made: {error.strerror}; set {CACHE} to a folder of your own"
            ) from None
        return self.work

    def refuse_without_space(self, folder: Path, disk: int, free: int) -> None:
        """Raises TargetError if `free` bytes are not enough for the `disk` bytes that `folder` needs on the way."""
        if free < disk:
            raise TargetError(
                f"{folder}: {free / 1e6:.0f} MB free, {disk / 1e6:.0f} MB needed on the way to {self.what}; make "
                f"room, or set {CACHE} to a folder with more"
            )

    @contextmanager
    def making(self) -> Iterator[Path]:
        """The work folder, for this process alone. Raises TargetError if another holds it, or the disk is full."""
        work = self.make_work()
        try:
            with FileLock(work.with_suffix(".lock"), timeout=0):
                yield work
        except Timeout:
            raise TargetError(f"{self.folder}: another process is installing {self.what}; wait for it") from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise TargetError(f"{self.folder}: no space left; make room and run the command again") from None

    def put(self, made: Path) -> None:
        """Puts `made`, a whole installation in the work folder, in the place of the one before."""
        old = self.work / "old"
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(old)
        made.rename(self.folder)
        shutil.rmtree(self.work, ignore_errors=True)


def write_record(folder: Path, facts: dict[str, Any]) -> None:
    """Makes what lies in `folder` an installation: `facts`, and the SHA-256 of every file."""
    record = {**facts, "files": digests(folder)}
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
