"""Bundles of a few small files, put together without a run: for tests of what reads bundles."""

import copy
import json
from pathlib import Path
from typing import Any

from pipeline.integrity import MANIFEST, REPORT, bundle_files, json_text
from pipeline.report.record import make_report
from pipeline.results import PreparedData
from pipeline.store import file_sha256
from targets.profile import Budgets, load_profile
from tests import releases

ROOMY = {"size_mb": 2, "latency_ms": {"p90": 10}, "accuracy": {"min": 0.7, "max_drop": 20, "min_agreement": 0.8}}
STRICT = {"size_mb": 0.25, "latency_ms": {"p90": 1}, "accuracy": {"min": 0.9, "max_drop": 5, "min_agreement": 0.99}}


_made: dict[str, dict[str, Any]] = {}  # reports take longer to make than to copy


def report_of(folder: Path, data: PreparedData, budgets: dict[str, Any], **release: Any) -> dict[str, Any]:
    """The report of `tests.releases.release`, of files that are none."""
    key = repr((data.fingerprint, sorted(release.items())))
    if key not in _made:
        run = releases.release(folder, data, **release)
        _made[key] = make_report(run, releases.recipe(), load_profile("pixel8"), Budgets())
    return {**copy.deepcopy(_made[key]), "budgets": Budgets.model_validate(budgets).model_dump(mode="json")}


def pack(folder: Path, report: dict[str, Any], **more: str) -> Path:
    """A bundle of `report`, of bytes in the place of each file that ships, and of `more` files by name."""
    folder.mkdir(parents=True)
    (folder / REPORT).write_text(json_text(report))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in report["data"]["labels"]))
    (folder / "golden").mkdir()
    (folder / "golden/samples.json").write_text("{}\n")
    for file in report["files"]:
        if file["shipped"]:
            (folder / file["name"]).write_bytes(b"no real model " + file["name"].encode())
    for name, text in more.items():
        (folder / name).write_text(text)
    return seal(folder)


def seal(folder: Path) -> Path:
    """Writes the manifest of what `folder` holds now."""
    files = {name: {"sha256": file_sha256(folder / name)} for name in bundle_files(folder)}
    report = json.loads((folder / REPORT).read_text())
    manifest = {"schema": 1, "files": files, "profile": report["provenance"]["profile"]}
    (folder / MANIFEST).write_text(json_text(manifest))
    return folder
