"""INT8 against float32 on this host, one thread, 224 px, for every convolutional family in both runtimes.

Time does not depend on what a network has learned, so the students are barely trained. The two files of one student
and runtime are timed in turn; each figure is the median over the rounds of the ratio within a round.
"""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, Bar, quick_asked, scratch, write_result
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.feeds import feeds
from pipeline.files import make_files, static_scheme
from pipeline.plan import make_plan
from pipeline.recipe import load_recipe
from pipeline.results import ExportedFile, PreparedData
from pipeline.run import train
from pipeline.settings.student import DEFAULT_FAMILIES
from pipeline.store import Store
from pipeline.student import STUDENTS
from targets.profile import Measure
from targets.runners.host import measure
from targets.runtimes.base import RuntimeOptions, open_model

RECIPE = ROOT / "recipes" / "digits-mobilenet.yaml"  # few images: at 224 px many would take gigabytes
TARGET = "host"  # whose files are made for the processor that runs them here
SETTINGS = (
    "image.size=224", "data.limit=300", "teacher.weights=none", "teacher.epochs=0", "teacher.input_size=32",
    "student.width=1", "student.adapt=auto", "distill.epochs=1", "distill.views=1", "distill.batch_size=16",
    "distill.compare_naive=false", "calibration.samples=32",
)  # fmt: skip
DEFAULT = DEFAULT_FAMILIES["image-classification"]
ROUNDS = 9
RUNS = Measure(warmup=10, min_runs=60, max_runs=60, min_seconds=0)
WANTED = {"litert": 2.0, "onnxruntime": 1.7}


def files_of(family: str, folder: Path) -> tuple[PreparedData, dict[str, list[ExportedFile]]]:
    """The float32 and the INT8 file of a student for each runtime of the target."""
    recipe = load_recipe(RECIPE, (*SETTINGS, f"student.family={family}"))
    plan = make_plan(recipe, (TARGET,))
    recipe, (target,) = plan.recipe, plan.targets
    context = RunContext(Store(folder), seed=recipe.seed)
    networks = train(recipe, context, plan.targets)
    made = make_files(recipe, target, networks, static_scheme(recipe, target, networks, context), context)
    return networks.data, {plan.runtime.name: group for plan, group in zip(target.files, made, strict=True)}


def ratio(data: PreparedData, files: list[ExportedFile], options: RuntimeOptions, rounds: int, folder: Path) -> Any:
    """Milliseconds of both files, and how many times faster the second is."""
    specs = [open_model(file.file, options).inputs for file in files]
    rows = data.rows("test")[:8]
    samples = [[feeds(spec, data, int(row)) for row in rows] for spec in specs]
    times: list[list[float]] = [[], []]
    for turn in range(rounds):
        for place in (0, 1)[:: 1 if turn % 2 == 0 else -1]:
            found = measure(files[place].file, options, samples[place], RUNS, folder)
            times[place].append(statistics.median(found.samples_ms.tolist()))
    ratios = [a / b for a, b in zip(*times, strict=True)]
    return {
        "float32_ms": times[0], "int8_ms": times[1], "times_faster": statistics.median(ratios), "ratios": ratios,
        "bytes": [file.bytes for file in files],
    }  # fmt: skip


def main() -> None:
    quick = quick_asked()
    convolutional = [family.name for family in STUDENTS.values() if family.task == "image-classification"]
    figures: dict[str, Any] = {"settings": list(SETTINGS), "target": TARGET, "default": DEFAULT, "families": {}}
    refused: dict[str, str] = {}
    with scratch() as folder:
        for family in [DEFAULT] if quick else convolutional:
            try:
                data, files = files_of(family, folder)
            except InputError as error:
                refused[family] = str(error)
                continue
            figures["families"][family] = {
                runtime: ratio(data, both, RuntimeOptions(runtime, 1), 1 if quick else ROUNDS, folder)
                for runtime, both in files.items()
            }
            print(family, {r: f["times_faster"] for r, f in figures["families"][family].items()}, flush=True)
    figures["refused"] = refused
    found = figures["families"][DEFAULT]
    bars = [
        Bar(f"{DEFAULT}, 224 px, one thread, {runtime}: times that INT8 is faster", got["times_faster"], ">=",
            WANTED[runtime])
        for runtime, got in found.items()
    ]  # fmt: skip
    write_result("compression-speed", figures, bars, quick)


if __name__ == "__main__":
    main()
