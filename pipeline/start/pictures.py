"""A folder of pictures, looked at before a run: classes, sizes, and what can't be read."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.images import UNREADABLE, ImageFolder, decoded, labelled_images
from pipeline.errors import InputError
from pipeline.start.look import Finding, class_findings, some

DECODED = 1000  # pictures that are decoded whole, evenly spread; of all others the header is read
SQUASHED = 1.5  # width to height, or height to width, from which a square is another picture


@dataclass(frozen=True)
class Pictures:
    """`train` and `test`: readable pictures by class, `test` None where the folder brings no test set. `side`: median
    of the shorter sides, in pixels; `smallest` and `largest` of them."""

    root: Path
    test_root: Path | None
    train: dict[str, int]
    test: dict[str, int] | None
    side: int
    smallest: int
    largest: int
    findings: tuple[Finding, ...]

    @property
    def samples(self) -> int:
        return sum(self.train.values())


def count_pictures(root: Path, own_test: Path | None = None) -> int:
    """How many pictures there are to look at. Raises what `labelled_images` raises."""
    train, test = labelled_images(root, own_test)
    return len(train.files) + (len(test.files) if test else 0)


def look_at_pictures(
    root: Path, own_test: Path | None = None, advance: Callable[[int], None] = lambda _: None
) -> Pictures:
    """Reads the header of every picture below `root`, and decodes up to `DECODED` of them.

    Raises InputError for folders that are no classes of pictures, one class alone, and where no picture can be read.
    """
    train, test = labelled_images(root, own_test)
    parts = [train, *([test] if test else [])]
    files = [file for part in parts for file, _ in part.files]
    whole = set(np.linspace(0, len(files) - 1, min(DECODED, len(files))).astype(int).tolist())

    def look(place: int) -> tuple[int, int] | str:
        found = _size(files[place], place in whole)
        advance(1)
        return found

    with ThreadPoolExecutor(8) as pool:  # decoding releases the interpreter's lock
        found = dict(zip(files, pool.map(look, range(len(files))), strict=True))
    sizes = np.array([size for size in found.values() if not isinstance(size, str)])
    bad = [f"{file} ({reason})" for file, reason in found.items() if isinstance(reason, str)]
    if not len(sizes):
        raise InputError(f"{root}: none of its {len(files):,} pictures can be read, for example {bad[0]}")
    sides = sizes.min(axis=1)
    counts = [_counted(part, found) for part in parts]
    findings = [
        *_unreadable(bad),
        *class_findings(counts[0], counts[1] if test else None),
        *_shapes(sizes),
        *_left(len(files), len(whole)),
    ]
    return Pictures(
        root, own_test, counts[0], counts[1] if test else None, int(np.median(sides)), int(sides.min()),
        int(sides.max()), tuple(findings),
    )  # fmt: skip


def _size(file: Path, whole: bool) -> tuple[int, int] | str:
    """Width and height, or why it can't be read."""
    try:
        with Image.open(file) as image:
            return decoded(image).size if whole else image.size
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return str(reason).replace(f" '{file}'", "").replace(repr(str(file)), "").strip()


def _counted(part: ImageFolder, found: dict[Path, tuple[int, int] | str]) -> dict[str, int]:
    readable = Counter(name for file, name in part.files if not isinstance(found[file], str))
    return {name: readable[name] for name in sorted({name for _, name in part.files})}


def _unreadable(bad: Sequence[str]) -> list[Finding]:
    if not bad:
        return []
    many = "picture that can't be read" if len(bad) == 1 else "pictures that can't be read"
    return [Finding(f"{len(bad):,} {many}: {some(bad)}; repair or remove, a run stops at the first", True)]


def _shapes(sizes: np.ndarray) -> list[Finding]:
    ratios = sizes.max(axis=1) / sizes.min(axis=1)
    squashed = float((ratios >= SQUASHED).mean())
    if squashed < 0.5:
        return []
    return [
        Finding(
            f"{squashed:.0%} of the pictures are {SQUASHED:g} times as long as wide or more, and become square "
            "unevenly scaled, in training as in the app: crop them first if shape matters"
        )
    ]


def _left(files: int, whole: int) -> list[Finding]:
    if whole == files:
        return []
    return [Finding(f"{whole:,} of {files:,} pictures were decoded whole, of the others only the header was read")]
