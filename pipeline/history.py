"""Past bundles of a recipe, version after version: what each reached, and what had changed since the one before."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.comparison import Difference, accuracy_difference
from pipeline.errors import InputError
from pipeline.gate import decide
from pipeline.gating.baseline import p90_interval
from pipeline.integrity import MANIFEST, REPORT, read_json, verify_bundle
from targets.strict import read_yaml


@dataclass(frozen=True)
class Latency:
    """p90 in ms with its 95% interval, and where it was measured; figures of another `place` do not compare."""

    p90: float
    low: float | None
    high: float | None
    source: str
    place: tuple[str, str, int]


@dataclass(frozen=True)
class FileFigures:
    """A file that ships. `difference`: of its accuracy to that of the version before, in points, None for the first of
    its format and where the test samples are others."""

    name: str
    format: str
    accuracy: float
    low: float
    high: float
    difference: Difference | None
    size: int
    latency: Latency | None


@dataclass(frozen=True)
class Change:
    """A setting, version or figure of the data that is not as in the version before; None: not there."""

    what: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Version:
    label: str
    folder: str
    passed: bool
    files: tuple[FileFigures, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Series:
    """The versions of one recipe for one target, oldest first."""

    recipe: str
    target: str
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class History:
    series: tuple[Series, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    folder: Path
    manifest: dict[str, Any]
    report: dict[str, Any]
    passed: bool


def read_history(places: Sequence[Path], under: Path, by_time: bool = False) -> History:
    """The bundles below `places`, folders in the order given, or of the recipes whose files `places` are, below
    `under`.

    Versions stand in the order of their folders' names, numbers in them as numbers, or of their manifests' times with
    `by_time`. A bundle that was changed since it was written is left out, and noted. Raises InputError where none is
    found.
    """
    found, notes = list[_Found](), list[str]()
    for place in places:
        recipe = _recipe_name(place)
        for folder in _bundles(under if recipe else place, by_time):
            try:
                bundle = _read(folder)
            except InputError as error:
                notes.append(f"left out: {error}")
                continue
            if recipe in (None, bundle.report["recipe"]):
                found.append(bundle)
    if not found:
        wanted = ", ".join(map(str, places))
        looked = f" below {under}" if any(map(_recipe_name, places)) else ""
        told = f": {notes[0]}" if notes else "; expected folders that hold bundles which edgepress run wrote"
        raise InputError(f"{wanted}: no bundles found{looked}{told}")
    groups: dict[tuple[str, str], list[_Found]] = {}
    for bundle in found:
        groups.setdefault((bundle.report["recipe"], bundle.report["target"]["id"]), []).append(bundle)
    try:
        return History(tuple(_series(*key, group) for key, group in groups.items()), tuple(notes))
    except (KeyError, TypeError) as error:
        raise InputError(f"a report is incomplete ({error!r}); make its bundle again") from None


def _recipe_name(place: Path) -> str | None:
    """The name in a recipe's file; None for a folder. Raises InputError for what is neither."""
    if place.is_dir():
        return None
    if place.suffix not in (".yaml", ".yml"):
        raise InputError(f"{place}: no such folder; expected a folder of bundles, or a recipe")
    name = read_yaml(place).get("name")
    if not isinstance(name, str):
        raise InputError(f"{place}: no recipe: it has no name")
    return name


def _bundles(root: Path, by_time: bool) -> list[Path]:
    """Folders with a manifest at or below `root`, but for hidden ones, oldest first."""
    found = list(_below(root))
    if by_time:
        return sorted(found, key=lambda folder: ((folder / MANIFEST).stat().st_mtime, str(folder)))
    return sorted(found, key=lambda folder: _natural(folder.relative_to(root).as_posix()))


def _below(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if MANIFEST in files:
            folders.clear()  # nothing inside a bundle is one
            yield Path(folder)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts v2 before v10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _read(folder: Path) -> _Found:
    manifest = verify_bundle(folder)
    report = read_json(folder / REPORT)
    return _Found(folder, manifest, report, decide(report).passed)


def _series(recipe: str, target: str, bundles: Sequence[_Found]) -> Series:
    labels = _labels([bundle.folder for bundle in bundles], {recipe, target})
    versions = []
    for place, (label, bundle) in enumerate(zip(labels, bundles, strict=True)):
        before = bundles[place - 1] if place else None
        versions.append(
            Version(label, str(bundle.folder), bundle.passed, _files(bundle, before), _changes(bundle, before))
        )
    return Series(recipe, target, tuple(versions))


def _labels(folders: Sequence[Path], common: set[str]) -> list[str]:
    """What tells the folders apart: their paths without what all share, and without recipe's and target's names."""
    places = [folder.resolve() for folder in folders]
    paths = [place.parts for place in places]
    if len(paths) == 1:
        return [next((part for part in reversed(paths[0]) if part not in common), folders[0].name)]
    shared = len(Path(os.path.commonpath(places)).parts)
    rest = [path[shared:] for path in paths]
    short = ["/".join(part for part in path if part not in common) for path in rest]
    if all(short) and len(set(short)) == len(short):
        return short
    return ["/".join(path) or folder.name for path, folder in zip(rest, folders, strict=True)]


def _files(bundle: _Found, before: _Found | None) -> tuple[FileFigures, ...]:
    earlier = {}
    if before is not None and _judged_by(bundle) == _judged_by(before):
        earlier = {file["format"]: file for file in before.report["files"] if file["shipped"]}
    figures = []
    for file in (file for file in bundle.report["files"] if file["shipped"]):
        accuracy, other = file["accuracy"], earlier.get(file["format"])
        difference = None if other is None else accuracy_difference(accuracy, other["accuracy"])
        figures.append(
            FileFigures(
                file["name"],
                file["format"],
                accuracy["value"],
                accuracy["low"],
                accuracy["high"],
                difference,
                file["size"]["value"],
                _latency(file["measured"]),
            )
        )
    return tuple(figures)


def _judged_by(bundle: _Found) -> tuple[object, ...]:
    """What makes two bundles' test samples the same."""
    data, seeds = bundle.report["data"], bundle.report["provenance"]["seeds"]
    return data["content_sha256"], data["counts"].get("test"), seeds["split"]


def _latency(measured: dict[str, Any] | None) -> Latency | None:
    if measured is None:
        return None
    interval = p90_interval(measured)
    return Latency(
        measured["latency"]["p90"]["value"],
        interval.low,
        interval.high,
        measured["source"],
        (measured["machine"], measured["source"], measured["threads"]),
    )


def _changes(bundle: _Found, before: _Found | None) -> tuple[Change, ...]:
    if before is None:
        return ()
    told, earlier = _told(bundle), _told(before)
    names = [*told, *(name for name in earlier if name not in told)]
    return tuple(
        Change(name, earlier.get(name), told.get(name)) for name in names if told.get(name) != earlier.get(name)
    )


def _told(bundle: _Found) -> dict[str, str]:
    """All that may change between versions, by name: settings of recipe and profile, data, packages, machine."""
    manifest, report = bundle.manifest, bundle.report
    data = report["data"]
    return {
        **_flat("recipe", manifest["recipe"]),
        **_flat("profile", manifest["profile"]),
        "data.content": data["content_sha256"][:12],
        **{f"data.{split}": f"{sum(counts.values()):,} samples" for split, counts in data["counts"].items()},
        "data.labels": ", ".join(data["labels"]),
        "files": ", ".join(sorted(file["name"] for file in report["files"] if file["shipped"])),
        "edgepress": str(manifest["edgepress"]),
        "python": str(manifest["python"]),
        **{f"package {name}": version for name, version in manifest["versions"].items()},
        "host": report["host"]["cpu"],
        "latency measured on": ", ".join(sorted({place for file in report["files"] if (place := _place(file))})),
    }


def _place(file: dict[str, Any]) -> str | None:
    measured = file["measured"]
    return f"{measured['machine']} ({measured['source']})" if measured and file["shipped"] else None


def _flat(name: str, value: Any) -> dict[str, str]:
    """Settings by their dotted names, as text."""
    if not isinstance(value, Mapping):
        return {name: str(value)}
    return {key: text for part, inner in value.items() for key, text in _flat(f"{name}.{part}", inner).items()}
