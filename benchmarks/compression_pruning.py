"""Pruning a student of Fashion-MNIST to half its latency on this computer: what it costs in accuracy, and how much of
the gain that was asked for is there, in float32 files and in INT8 ones. The student is as wide as its teacher, from
whose layers it starts."""

from pathlib import Path
from typing import Any

from benchmarks.fashion import RECIPE, STRONG
from benchmarks.recipes import report_of
from benchmarks.record import Bar, asked, kept_or_scratch, write_result

SHARE = 0.5
SETTINGS = (
    *STRONG, "image.size=64", "student.family=efficientnet_lite0", "student.width=1", "student.start=layers",
    "distill.batch_size=64", "distill.views=2", "distill.epochs=2", "distill.learning_rate=0.001",
    "distill.compare_naive=false", f"prune.latency={SHARE}", "prune.recovery_epochs=6", "prune.learning_rate=0.003",
)  # fmt: skip
WAYS = {"float32": ("quantize.scheme=float32",), "INT8": ()}  # which the target's profile has
SHORT = ("data.limit=400", "teacher.epochs=1", "distill.epochs=1", "prune.latency=0.9", "prune.recovery_epochs=4")


def pruned(sets: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """What the report of a release says of pruning and of its files. Raises Refused where the goal can't be reached."""
    report = report_of(RECIPE, "host", sets, folder)
    told = report["pruning"]
    files = {
        file["name"]: {
            "share_of_latency": file["measured"]["beside_unpruned"]["share"]["value"],
            "accuracy": 100 * file["accuracy"]["value"],
            "bytes": file["size"]["value"],
        }
        for file in report["files"]
        if file["shipped"]
    }
    return {
        "asked": told["goal"]["asked"]["value"], "predicted": told["goal"]["predicted"]["value"],
        "accuracy": {side: 100 * found["value"] for side, found in told["accuracy"].items()},
        "macs": {side: told["macs"][side]["value"] for side in ("before", "after")},
        "parameters": {side: told["parameters"][side]["value"] for side in ("before", "after")}, "files": files,
    }  # fmt: skip


def bars_of(name: str, found: dict[str, Any]) -> list[Bar]:
    asked_gain = 1 - found["asked"]
    bars = [Bar(f"{name}: points lost by pruning to half the latency, after recovery", found["points_lost"], "<=", 1.5)]
    for file, measured in found["files"].items():
        gain = (1 - measured["share_of_latency"]) / asked_gain
        bars.append(Bar(f"{file}: measured gain in latency against the asked one", gain, ">=", 0.8))
    return bars


def main() -> None:
    options = asked()
    short = SHORT if options.quick else ()
    with kept_or_scratch(options.keep) as folder:
        ways = {}
        for name, sets in WAYS.items():
            ways[name] = pruned((*SETTINGS, *short, *sets), folder)
            ways[name]["points_lost"] = ways[name]["accuracy"]["before"] - ways[name]["accuracy"]["after"]
            print(name, ways[name], flush=True)
    figures = {"recipe": RECIPE.stem, "settings": list(SETTINGS), "target": "host",
               "ways": {name: {"settings": list(sets), **ways[name]} for name, sets in WAYS.items()}}  # fmt: skip
    bars = [bar for name, way in ways.items() for bar in bars_of(name, way)]
    write_result("compression-pruning", figures, bars, options.quick)


if __name__ == "__main__":
    main()
