"""Many bundles at once: those in a folder, each with its verdict, and why others can't be read."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.gate import decide
from pipeline.gating.verdict import Verdict
from pipeline.integrity import MANIFEST, REPORT, read_json, verify_bundle


@dataclass(frozen=True)
class Listed:
    """A whole bundle; `name` is its folder below the one that was looked through."""

    name: str
    folder: Path
    recipe: str
    description: str
    task: str
    target: str
    device: str
    shipped: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Unreadable:
    name: str
    reason: str


@dataclass(frozen=True)
class Bundles:
    whole: tuple[Listed, ...]
    unreadable: tuple[Unreadable, ...]


def find_bundles(root: Path) -> Bundles:
    """Every bundle in `root` and the folders below it, hidden ones left out: each proven by its hashes and judged by
    its own report, or listed with the reason why it can't be.

    Raises InputError if there is no such folder, no bundle in it, or none that can be read.
    """
    if not root.is_dir():
        what = "a file" if root.exists() else "no such folder"
        raise InputError(f"{root}: {what}; expected a folder with bundles, such as artifacts")
    whole, unreadable = list[Listed](), list[Unreadable]()
    for folder in _folders(root):
        name = folder.relative_to(root).as_posix()
        try:
            whole.append(_listed(name, folder))
        except InputError as error:
            unreadable.append(Unreadable(name, str(error).replace(f"{root}{os.sep}", "")))
        except OSError as error:
            unreadable.append(Unreadable(name, f"can't be read: {error.strerror or error}"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            unreadable.append(Unreadable(name, f"{REPORT}: incomplete ({error!r}); make the bundle again"))
    if not whole and not unreadable:
        raise InputError(f"{root}: no bundle in it or below it; edgepress run writes them, into artifacts by default")
    if not whole:
        told = "; ".join(f"{found.name}: {found.reason}" for found in unreadable)
        raise InputError(f"{root}: none of its {len(unreadable)} bundle(s) can be read: {told}")
    return Bundles(tuple(whole), tuple(unreadable))


def _folders(root: Path) -> Iterator[Path]:
    """Folders that are bundles or were meant to be, in the order of their names; nothing below them."""
    for place, folders, files in os.walk(root):
        if MANIFEST in files or REPORT in files:
            folders.clear()
            yield Path(place)
        else:
            folders[:] = sorted(name for name in folders if not name.startswith("."))


def _listed(name: str, folder: Path) -> Listed:
    verify_bundle(folder)
    report: dict[str, Any] = read_json(folder / REPORT)
    if not (folder / "report.html").is_file():
        raise InputError(f"{folder / 'report.html'}: missing from the bundle; make the bundle again")
    return Listed(
        name=name,
        folder=folder,
        recipe=str(report["recipe"]),
        description=str(report["description"]),
        task=str(report["task"]),
        target=str(report["target"]["id"]),
        device=str(report["target"]["name"]),
        shipped=tuple(str(file["name"]) for file in report["files"] if file["shipped"]),
        verdict=decide(report),
    )
