"""What a teacher brings to students of Fashion-MNIST: distilled against naive at equal epochs, over seeds.

The strong teacher was trained on all training images, the weak one for one epoch on those that the students see: a
setting in which distillation is expected to bring little, shown for one seed.
"""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.fashion import FAMILIES, RECIPE, SETTINGS, STRONG, STUDENTS, taught, teacher_of
from benchmarks.modes import gain
from benchmarks.record import Bar, asked, kept_or_scratch, write_result
from pipeline.context import RunContext
from pipeline.distill.cache import cache_teacher
from pipeline.distill.student import distill
from pipeline.store import Store

WEAK = ("teacher.epochs=1", "teacher.batch_size=64", *STUDENTS)
SEEDS = 3


def one_family(name: str, folder: Path, quick: bool) -> dict[str, Any]:
    """Accuracy in percent by teacher and seed, of the students and of the teachers themselves."""
    reached: dict[str, list[float]] = {"naive": [], "strong": [], "weak": []}
    for seed in range(1 if quick else SEEDS):
        found = taught(folder, seed, *FAMILIES[name], quick=quick)
        reached["naive"].append(100 * found.naive.accuracy.value)
        reached["strong"].append(100 * found.student.accuracy.value)
        print(f"{name}, seed {seed}: {reached['naive'][-1]:.2f}, distilled {reached['strong'][-1]:.2f}", flush=True)
    context, recipe = RunContext(Store(folder)), found.recipe
    weak = teacher_of(context, *WEAK, quick=quick)
    cache = cache_teacher(found.data, weak, recipe.distill, context)
    student = distill(found.data, weak, cache, recipe.student, recipe.distill, context)
    reached["weak"].append(100 * student.accuracy.value)
    gains = {way: gain(reached[way], reached["naive"][: len(reached[way])]) for way in ("strong", "weak")}
    return {
        "settings": list(FAMILIES[name]), "accuracy": reached, "test_images": found.student.accuracy.total,
        "teachers": {"strong": 100 * found.teacher.accuracy.value, "weak": 100 * weak.accuracy.value},
        "mean_accuracy": {way: statistics.mean(values) for way, values in reached.items()},
        "gain": {way: {"points": points, "noise": noise} for way, (points, noise) in gains.items()},
    }  # fmt: skip


def main() -> None:
    options = asked()
    with kept_or_scratch(options.keep) as folder:
        families = {name: one_family(name, folder, options.quick) for name in FAMILIES}
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem,
        "settings": [*SETTINGS, *STUDENTS],
        "teachers": {"strong": list(STRONG), "weak": list(WEAK)},
        "families": families,
    }
    bars = [
        Bar(
            f"images, {name}: points that the strong teacher brings, mean of the seeds",
            found["gain"]["strong"]["points"],
            ">=",
            0.7,
        )
        for name, found in families.items()
    ]
    write_result("distillation-brings-images", figures, bars, options.quick)


if __name__ == "__main__":
    main()
