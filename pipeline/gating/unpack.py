"""Archives and trees that others made, laid out in a folder: plain files alone, and none outside of it."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline.errors import InputError

MOST_BYTES = 4 * 10**9  # unpacked; no bundle is so large
_CHUNK = 1 << 20
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


class Room:
    """A folder that files are laid into, up to `MOST_BYTES` in all. `origin`: what they come from, for messages."""

    def __init__(self, folder: Path, origin: str) -> None:
        self.folder, self.origin, self.left = folder, origin, MOST_BYTES

    def place(self, name: str, content: IO[bytes]) -> None:
        """Writes `content` to the file `name` below the folder. Raises InputError if the name leads out of it, if there
        is such a file, and if there is no room left."""
        parts = PurePosixPath(name).parts
        unsafe = not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]
        if unsafe or not name.isprintable():
            raise InputError(f"{self.origin}: holds the file {name!r}, which leads out of its folder; nothing was read")
        file = self.folder.joinpath(*parts)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as stream:
                while chunk := content.read(_CHUNK):
                    self.left -= len(chunk)
                    if self.left < 0:
                        raise InputError(f"{self.origin}: unpacks to more than {MOST_BYTES:,} bytes, no bundle does")
                    stream.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise InputError(f"{self.origin}: holds {name!r} twice; pack the bundle again") from None

    def refusal(self, name: str, what: str) -> InputError:
        return InputError(f"{self.origin}: {name!r} is {what}; a bundle holds plain files alone, pack it again")


def is_archive(file: Path) -> bool:
    return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)


def unpack(file: Path, folder: Path) -> None:
    """Lays the files of a zip or tar archive (gzip, bzip2 and xz too) into `folder`. Raises InputError for a damaged
    one, for names that lead out of the folder, for links and devices, and for one that unpacks to too much."""
    room = Room(folder, str(file))
    try:
        if zipfile.is_zipfile(file):
            _unzip(file, room)
        else:
            _untar(file, room)
    except _DAMAGED as error:
        raise InputError(f"{file}: damaged, or no archive that can be read ({error}); pack the bundle again") from None


def _unzip(file: Path, room: Room) -> None:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise room.refusal(entry.filename, "a link")
            if entry.flag_bits & 1:
                raise room.refusal(entry.filename, "encrypted")
            with archive.open(entry) as content:
                room.place(entry.filename, content)


def _untar(file: Path, room: Room) -> None:
    with tarfile.open(file) as archive:
        for entry in archive:
            if entry.isdir():
                continue
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise room.refusal(entry.name, "a link or a device")
            room.place(entry.name, content)
