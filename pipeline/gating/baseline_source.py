"""Where a baseline comes from: a bundle's folder, its report.json, an archive of it, or a git ref."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import InputError
from pipeline.gating.git_tree import lay_out
from pipeline.gating.unpack import is_archive, unpack
from pipeline.integrity import MANIFEST, REPORT, pointer_sha256, read_json, verify_bundle

GIT = "git:"
DEPTH = 3  # folders that a bundle may lie down in what is given: artifacts/<recipe>/<target>


@dataclass(frozen=True)
class Baseline:
    """An earlier release. `folder`: its bundle, whose files are proven; None of a report alone, which nothing proves.
    `pointers`: files that Git LFS has not brought: their SHA-256 is known, their content is not."""

    report: dict[str, Any]
    folder: Path | None
    pointers: tuple[str, ...] = ()


@contextmanager
def open_baseline(name: str, bundle: Path) -> Iterator[Baseline]:
    """The baseline `name` for `bundle`: a bundle's folder, a report.json, a zip or tar archive of a bundle, or
    `git:REF[:PATH]`, which is one of these in a commit. Of several bundles, the one of the same recipe and target.

    What is unpacked is gone at the end of the block. Raises InputError for what is none of these, damaged or changed.
    """
    with TemporaryDirectory(prefix="edgepress-baseline-") as scratch:
        place = Path(name)
        if name.startswith(GIT):
            committed = Path(scratch, "git")
            committed.mkdir()
            place = lay_out(name.removeprefix(GIT), bundle, committed)
        if place.is_file() and is_archive(place):
            unpacked = Path(scratch, "archive")
            unpacked.mkdir()
            unpack(place, unpacked)
            place = unpacked
        if place.is_file():
            yield Baseline(read_json(place), None)
            return
        if not place.is_dir():
            raise InputError(
                f"{name}: no such file or folder; a baseline is a bundle's folder, its report.json, a zip or tar "
                "archive of it, or git:REF[:PATH]"
            )
        folder = _bundle_in(place, name, bundle)
        manifest = verify_bundle(folder, pointers=True)
        pointers = tuple(file for file in manifest["files"] if pointer_sha256(folder / file) is not None)
        yield Baseline(read_json(folder / REPORT), folder, pointers)


def _bundle_in(place: Path, name: str, bundle: Path) -> Path:
    """The one bundle in the folder `place`, or of several the one that `bundle` is a later release of."""
    if (place / MANIFEST).exists():
        return place
    found = []
    for depth in range(1, DEPTH + 1):
        files = (file.relative_to(place) for file in sorted(place.glob("*/" * depth + MANIFEST)))
        found += [place / file.parent for file in files if not any(part.startswith(".") for part in file.parts)]
    if len(found) > 1:
        mine = _identity(bundle)
        found = [folder for folder in found if _identity(folder) == mine]
        if len(found) != 1:
            raise InputError(f"{name}: holds {len(found)} bundles of {' for '.join(mine)}, expected one: name it")
    return found[0] if found else place  # which has no manifest, and verifying it says so


def _identity(folder: Path) -> tuple[str, str]:
    """Recipe and target."""
    report = read_json(folder / REPORT)
    target = report.get("target")
    return str(report.get("recipe")), str(target.get("id") if isinstance(target, dict) else None)
