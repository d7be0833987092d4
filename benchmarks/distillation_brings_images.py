"""What a teacher brings to a MobileNetV2 on Fashion-MNIST: distilled against naive at equal epochs, over seeds.

The strong teacher was trained on all training images, the weak one for one epoch on those that the students see: a
setting in which distillation is expected to bring little, shown for one seed.
"""

import statistics
from typing import Any

from benchmarks.fashion import RECIPE, SETTINGS, STRONG, STUDENTS, taught, teacher_of
from benchmarks.modes import gain
from benchmarks.record import Bar, asked, kept_or_scratch, write_result
from pipeline.context import RunContext
from pipeline.distill.cache import cache_teacher
from pipeline.distill.student import distill
from pipeline.store import Store

WEAK = ("teacher.epochs=1", "teacher.batch_size=64", *STUDENTS)
SEEDS = 3


def main() -> None:
    options = asked()
    quick = options.quick
    reached: dict[str, list[float]] = {"naive": [], "strong": [], "weak": []}
    with kept_or_scratch(options.keep) as folder:
        for seed in range(1 if quick else SEEDS):
            found = taught(folder, seed, quick=quick)
            reached["naive"].append(100 * found.naive.accuracy.value)
            reached["strong"].append(100 * found.student.accuracy.value)
            print(f"seed {seed}: naive {reached['naive'][-1]:.2f}, distilled {reached['strong'][-1]:.2f}", flush=True)
        context, recipe = RunContext(Store(folder)), found.recipe
        weak = teacher_of(context, *WEAK, quick=quick)
        cache = cache_teacher(found.data, weak, recipe.distill, context)
        student = distill(found.data, weak, cache, recipe.student, recipe.distill, context)
        reached["weak"].append(100 * student.accuracy.value)
    gains = {name: gain(reached[name], reached["naive"][: len(reached[name])]) for name in ("strong", "weak")}
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem,
        "settings": [*SETTINGS, *STUDENTS],
        "teachers": {
            "strong": {"settings": list(STRONG), "accuracy": 100 * found.teacher.accuracy.value},
            "weak": {"settings": list(WEAK), "accuracy": 100 * weak.accuracy.value},
        },
        "test_images": len(found.data.rows("test")),
        "accuracy": reached,
        "mean_accuracy": {name: statistics.mean(values) for name, values in reached.items()},
        "gain": {name: {"points": points, "noise": noise} for name, (points, noise) in gains.items()},
    }
    bars = [Bar("images: points that the strong teacher brings, mean of the seeds", gains["strong"][0], ">=", 0.7)]
    write_result("distillation-brings-images", figures, bars, quick)


if __name__ == "__main__":
    main()
