"""The index over many bundles: for each recipe a matrix of targets by budgets, each with the way to its report."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.bundle_index import Bundles, Listed
from pipeline.errors import InputError
from pipeline.integrity import MANIFEST
from pipeline.report import budgets
from pipeline.report.page import render
from pipeline.store import write_atomic

MARK = '<meta name="generator" content="edgepress report">'  # by which an earlier index is known


def place_of_index(root: Path, out: Path | None) -> Path:
    """Where the index of `root` goes: `out`, else index.html in `root`. Raises InputError for a place within a bundle,
    which would no longer be what its manifest says, for a folder, and where index.html is not an earlier index."""
    place = root / "index.html" if out is None else out
    if place.is_dir():
        raise InputError(f"{place}: a folder; give --out a file, such as {place / 'index.html'}")
    bundle = next((folder for folder in place.absolute().parents if (folder / MANIFEST).is_file()), None)
    if bundle is not None:
        raise InputError(f"{place}: lies in a bundle, whose files are proven by its manifest; give --out another place")
    if not place.parent.is_dir():
        raise InputError(f"{place}: no such folder {place.parent}; make it, or give --out another place")
    if out is None and place.is_file() and MARK not in place.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{place}: another page stands there; give --out a place for the index")
    return place


def write_index(found: Bundles, title: str, place: Path) -> None:
    """Writes the index as one HTML file that needs no other, at the `place` from which its links go out. The same
    bundles give the same bytes. Raises InputError if it can't be written."""
    try:
        write_atomic(place, index(found, title, place))
    except OSError as error:
        raise InputError(f"{place}: can't be written: {error.strerror}; give --out another place") from None


def index(found: Bundles, title: str, place: Path) -> str:
    recipes: dict[str, list[Listed]] = {}
    for bundle in sorted(found.whole, key=lambda bundle: (bundle.recipe, bundle.target, bundle.name)):
        recipes.setdefault(bundle.recipe, []).append(bundle)
    return render(
        "index.html.j2",
        title=title,
        found=found,
        passed=sum(bundle.verdict.passed for bundle in found.whole),
        recipes=[_matrix(name, bundles, place) for name, bundles in recipes.items()],
    )


def _matrix(name: str, bundles: list[Listed], place: Path) -> dict[str, Any]:
    """Targets of one recipe down, budgets across."""
    rows = {bundle.name: budgets.rows(bundle.verdict.checks, bundle.shipped) for bundle in bundles}
    keys = {row.key: row.name for made in rows.values() for row in made}
    told = {bundle.target for bundle in bundles}
    return {
        "name": name,
        "description": bundles[0].description,
        "columns": {key: keys[key] for key in budgets.in_order(keys)},
        "targets": [
            {
                "bundle": bundle,
                "link": _link(bundle.folder / "report.html", place),
                "rows": {row.key: row for row in rows[bundle.name]},
                "folder": bundle.name if len(told) < len(bundles) else "",  # where a target stands twice
            }
            for bundle in bundles
        ],
    }


def _link(page: Path, place: Path) -> str:
    return quote(Path(os.path.relpath(page, place.parent)).as_posix())
