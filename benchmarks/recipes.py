"""A ready recipe from nothing, as a user runs it, read from the bundles' own report.json."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, edgepress, kept_or_scratch
from pipeline.recipe import load_recipe

RECIPES = ROOT / "recipes"
# Where it counts how files compute, not how well their student knows its task: less of what takes long.
LESS = {
    "fashion-mobilenet": ("data.limit=6000",),
    "sentiment-tinybert": ("data.limit=4000", "distill.compare_naive=false"),
}
LEAST = ("teacher.epochs=1", "distill.epochs=1", "distill.compare_naive=false", "data.limit=500")  # to see that it runs


class Refused(SystemExit):
    """A run that ended without bundles; holds what it said."""


def words(option: str, values: Iterable[Path | str]) -> list[str]:
    return [word for value in values for word in (option, str(value))]


def report_of(recipe: Path, target: str, sets: tuple[str, ...], folder: Path, *options: str) -> dict[str, Any]:
    """report.json of a release of `recipe` with `sets` for one target, whatever its gate said. Raises Refused."""
    named = ("--target", target, *words("--set", sets), "--out", str(folder))
    ended = edgepress("run", f"recipes/{recipe.name}", *named, *options)
    if ended.code not in (0, 1):
        raise Refused(ended.output)
    report: dict[str, Any] = json.loads((folder / recipe.stem / target / "report.json").read_text())
    return report


def bundles_of(targets: dict[str, list[Path | str]], folder: Path, quick: bool) -> list[tuple[Path, Path]]:
    """(recipe, bundle) of every ready recipe for the targets of its task, names or profiles; of one recipe alone for a
    quick look."""
    bundles = []
    for recipe in (RECIPES / "digits-mobilenet.yaml",) if quick else sorted(RECIPES.glob("*.yaml")):
        named = targets[load_recipe(recipe).task]
        sets = LEAST if quick else LESS.get(recipe.stem, ())
        chosen = (*words("--target", named), *words("--set", sets))
        ended = edgepress("run", str(recipe), *chosen, "--no-latency", "--out", str(folder))
        if ended.code not in (0, 1):
            raise Refused(ended.output)
        bundles += [(recipe, folder / recipe.stem / Path(target).stem) for target in named]
    return bundles


def run_recipe(name: str, settings: tuple[str, ...] = (), keep: Path | None = None) -> dict[str, Any]:
    """A run in an empty store, and one more that should find everything made. `keep` is a folder that stays."""
    with kept_or_scratch(keep) as out:
        arguments = ("run", f"recipes/{name}.yaml", *words("--set", settings), "--out", str(out))
        first = edgepress(*arguments)
        if first.code not in (0, 1):
            raise Refused(first.output)
        again = edgepress(*arguments)
        reports = [json.loads(file.read_text()) for file in sorted((out / name).glob("*/report.json"))]
        return {
            "exit_code": first.code,
            "seconds": first.seconds,
            "peak_memory_mb": first.peak_mb,
            "second_run_seconds": again.seconds,
            "networks": {
                role: network and {key: network[key] for key in ("name", "accuracy", "parameters", "macs")}
                for role, network in reports[0]["networks"].items()
            },
            "teacher_onnx_bytes": reports[0]["teacher_onnx_size"]["value"],
            "targets": {report["target"]["id"]: shipped(report) for report in reports},
        }


def shipped(report: dict[str, Any]) -> dict[str, Any]:
    """What a target's shipped files reached."""
    files = {}
    for file in report["files"]:
        if file["shipped"]:
            files[file["name"]] = {
                "accuracy": file["accuracy"],
                "bytes": file["size"]["value"],
                "times_smaller": file["times_smaller_than_teacher"]["value"],
                "points_lost_to_teacher": file["attribution"]["total"]["points_lost"],
                "latency_ms": {name: value["value"] for name, value in file["measured"]["latency"].items()},
                "latency_source": file["measured"]["source"],
                "times_faster_than_float32": (file["measured"]["times_faster_than_float32"] or {}).get("value"),
            }
    return {"files": files, "agreement": {" ".join(a["files"]): a["value"] for a in report["agreements"]}}


def int8_files(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [file for target in result["targets"].values() for name, file in target["files"].items() if ".int8" in name]


def int8_agreements(result: dict[str, Any]) -> list[float]:
    return [
        share for target in result["targets"].values() for pair, share in target["agreement"].items() if ".int8" in pair
    ]
