"""A student distilled online, from the cache and in mode mixed, and trained without a teacher: time and accuracy.

The four trainings of one student take turns in one process, seed by seed, each in a store of its own, for a light and
a heavy teacher. The teachers are as they come: fine-tuning them is not what is timed.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, Bar, quick_asked, scratch, write_result
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.distill.cache import cache_teacher
from pipeline.distill.student import distill, train_naive
from pipeline.recipe import Recipe, load_recipe
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings import DistillSettings
from pipeline.store import Store
from pipeline.teacher import teach

RECIPE = ROOT / "recipes" / "digits-mobilenet.yaml"
SETTINGS = ("student.width=0.35", "distill.batch_size=64", "distill.learning_rate=0.006", "distill.views=4")
LIGHT, HEAVY = 32, 128  # pixels that the teacher looks at: its cost grows with their number
EPOCHS, SEEDS = 10, 3
SHORT = ("data.limit=600", "teacher.epochs=1")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def modes(recipe: Recipe, epochs: int) -> dict[str, DistillSettings]:
    base = recipe.distill.model_copy(update={"epochs": epochs})
    return {
        "cached": base,
        "online": base.model_copy(update={"mode": "online"}),
        "mixed": base.model_copy(update={"mode": "mixed", "views": 1}),
    }


def one_seed(
    data: PreparedData, teacher: NetworkResult, recipe: Recipe, epochs: int, seed: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Seconds of training and of building the cache, and test accuracy, of each mode and of the naive student."""
    found: dict[str, dict[str, float]] = {}
    for mode, settings in modes(recipe, epochs).items():
        context = RunContext(Store(folder / f"{mode}-{seed}"), seed=seed)
        building, cache = 0.0, None
        if mode != "online":
            building, cache = timed(lambda s=settings, c=context: cache_teacher(data, teacher, s, c))
        training, student = timed(
            lambda s=settings, c=context, k=cache: distill(data, teacher, k, recipe.student, s, c)
        )
        found[mode] = {"cache_seconds": building, "training_seconds": training, "accuracy": student.accuracy.value}
    context = RunContext(Store(folder / f"naive-{seed}"), seed=seed)
    plain = modes(recipe, epochs)["cached"]
    training, student = timed(lambda: train_naive(data, teacher, recipe.student, plain, context))
    found["naive"] = {"cache_seconds": 0.0, "training_seconds": training, "accuracy": student.accuracy.value}
    return found


def main() -> None:
    quick = quick_asked()
    epochs, seeds = (1, 1) if quick else (EPOCHS, SEEDS)
    figures: dict[str, Any] = {"recipe": RECIPE.stem, "settings": list(SETTINGS), "epochs": epochs, "seeds": seeds}
    bars = []
    with scratch() as folder:
        for name, pixels in (("light", LIGHT), ("heavy", HEAVY)):
            sets = (*SETTINGS, f"teacher.input_size={pixels}", *(SHORT if quick else ()))
            recipe = load_recipe(RECIPE, sets)
            context = RunContext(Store(folder / "shared"), seed=recipe.seed)
            data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, None, context)
            teacher = teach(data, recipe.teacher, context)
            runs = [one_seed(data, teacher, recipe, epochs, seed, folder / name) for seed in range(seeds)]
            figures[name] = {"teacher_macs": teacher.macs, "teacher_accuracy": teacher.accuracy.value, "runs": runs}
            epoch = statistics.median(r["cached"]["training_seconds"] / r["naive"]["training_seconds"] for r in runs)
            bars.append(Bar(f"{name} teacher: a cached epoch against one on labels", epoch, "<=", 1.05))
            if name == "heavy":
                whole = statistics.median(
                    r["online"]["training_seconds"] / (r["cached"]["training_seconds"] + r["cached"]["cache_seconds"])
                    for r in runs
                )
                bars.append(Bar(f"{name} teacher: online against cached, cache included", whole, ">=", 2.0))
            lost = statistics.mean(100 * (r["online"]["accuracy"] - r["mixed"]["accuracy"]) for r in runs)
            bars.append(Bar(f"{name} teacher: points that mixed loses to online", lost, "<=", 0.2))
    write_result("distillation-modes", figures, bars, quick)


main()
