"""Files of data: hashed, streamed, and what goes wrong with them."""

import errno
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.files import existing, files_sha256, storage_errors, write_npy
from pipeline.errors import InputError


def test_an_array_is_written_in_the_memory_of_a_chunk(tmp_path: Path) -> None:
    def chunks() -> Iterator[np.ndarray]:
        for number in range(64):
            yield np.full((4, 256, 256, 3), number, dtype=np.uint8)  # 0.8 MB

    tracemalloc.start()
    write_npy(tmp_path / "images.npy", (256, 256, 256, 3), np.uint8, chunks())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6
    read = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert read.shape == (256, 256, 256, 3)
    np.testing.assert_array_equal(read[:, 5, 7, 1], np.repeat(np.arange(64), 4))


def test_too_few_rows_are_not_taken_for_whole(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 rows written, 4 announced"):
        write_npy(tmp_path / "rows.npy", (4, 2), np.int32, [np.zeros((3, 2), np.int32)])


def test_a_full_disk_is_told_with_path_and_remedy() -> None:
    full = Path("/dev/full")  # every write to it fails as on a full disk
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(InputError, match=r"/dev/full: no space left to write .*--out"), storage_errors(full):
        write_npy(full, (100_000,), np.int32, [np.zeros(100_000, np.int32)])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EACCES, "not allowed"),
        (errno.EROFS, "not allowed"),
        (errno.EDQUOT, "no space"),
        (errno.EIO, "can't be used"),
    ],
)
def test_storage_problems_name_the_path(number: int, text: str) -> None:
    with pytest.raises(InputError, match=f"/some/place: {text}"), storage_errors(Path("/some/place")):
        raise OSError(number, "as the system says")


def test_a_missing_path_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.path: .*nowhere: no such file or folder"):
        existing(tmp_path / "nowhere", "path")
    with pytest.raises(InputError, match=r"'data\.test_path' is missing"):
        existing(None, "test_path")


def test_the_hash_of_files_is_of_names_and_content_and_not_of_the_place(tmp_path: Path) -> None:
    def made(root: str, content: dict[str, bytes]) -> str:
        for name, data in content.items():
            (tmp_path / root / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / name).write_bytes(data)
        return files_sha256(tmp_path / root, [tmp_path / root / name for name in content])

    base = made("one", {"a/x": b"1", "b/y": b"2"})
    assert made("two", {"b/y": b"2", "a/x": b"1"}) == base
    assert made("three", {"a/x": b"1", "b/z": b"2"}) != base
    assert made("four", {"a/x": b"2", "b/y": b"1"}) != base
    assert made("five", {"a/x": b"1"}) != base
