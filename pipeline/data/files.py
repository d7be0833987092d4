"""Files of data: hashed, streamed into .npy, and what goes wrong with them told to the user."""

import errno
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.store import file_sha256

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turns an OSError of the block into an InputError that names the path and what to do."""
    try:
        yield
    except OSError as error:
        path = error.filename or place
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            text = f"{path}: no space left to write ({reason}); free some, or choose another folder with --out"
        elif error.errno in _FORBIDDEN:
            text = f"{path}: not allowed ({reason}); change its permissions or choose another path"
        else:
            text = f"{path}: can't be used ({reason})"
        raise InputError(text) from None


def existing(path: Path | None, key: str) -> Path:
    """`path` if it is there. Raises InputError that names the setting `key`."""
    if path is None:
        raise InputError(f"'data.{key}' is missing")
    with storage_errors(path):
        if not path.exists():
            raise InputError(f"data.{key}: {path}: no such file or folder")
    return path


def files_sha256(root: Path, files: Sequence[Path]) -> str:
    """SHA-256 over the names below `root` and the bytes of `files`, in the order of the names."""
    total = hashlib.sha256()
    for file in sorted(files):
        with storage_errors(file):
            total.update(f"{file.relative_to(root).as_posix()}\0{file_sha256(file)}\n".encode())
    return total.hexdigest()


def write_npy(file: Path, shape: tuple[int, ...], dtype: type, chunks: Iterable[np.ndarray]) -> None:
    """An .npy of `shape` from `chunks` along the first axis, in the memory of one chunk.

    Written as a stream and not through a memory map: on a full disk a write is an error that can be told, a
    page of a map that has no place is a killed process.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        rows = 0
        for chunk in chunks:
            stream.write(np.ascontiguousarray(chunk, dtype=dtype).data)
            rows += len(chunk)
    if rows != shape[0]:
        raise ValueError(f"{file.name}: {rows} rows written, {shape[0]} announced")
