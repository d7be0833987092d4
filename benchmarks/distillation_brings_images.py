"""What a teacher brings to a MobileNetV2 on Fashion-MNIST: distilled against naive at equal epochs, over seeds.

The strong teacher was trained on all training images, the weak one for one epoch on those that the students see: a
setting in which distillation is expected to bring little, shown for one seed.
"""

import statistics
from typing import Any

from benchmarks.modes import gain
from benchmarks.record import ROOT, Bar, asked, kept_or_scratch, write_result
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.distill.cache import cache_teacher
from pipeline.distill.student import distill, train_naive
from pipeline.recipe import load_recipe
from pipeline.results import NetworkResult, PreparedData
from pipeline.store import Store
from pipeline.teacher import teach
from pipeline.teachers.inference import for_inference

RECIPE = ROOT / "recipes" / "fashion-mobilenet.yaml"
SETTINGS = ("distill.views=4", "distill.epochs=8", "distill.batch_size=64", "distill.learning_rate=0.006")
STUDENTS = ("data.limit=12000",)
TEACHERS = {
    "strong": ("teacher.epochs=3", "teacher.batch_size=64"),
    "weak": ("teacher.epochs=1", "teacher.batch_size=64", *STUDENTS),
}
SEEDS = 3
SHORT = ("data.limit=400", "teacher.epochs=1", "distill.epochs=1")


def main() -> None:
    options = asked()
    quick = options.quick
    seeds = 1 if quick else SEEDS
    short = SHORT if quick else ()
    with kept_or_scratch(options.keep) as folder:
        context = RunContext(Store(folder))

        def data_of(*sets: str) -> PreparedData:
            recipe = load_recipe(RECIPE, (*SETTINGS, *sets, *short))
            return prepare(recipe.data, recipe.task, recipe.image, recipe.text, None, context)

        def teacher_of(*sets: str) -> NetworkResult:
            recipe = load_recipe(RECIPE, (*SETTINGS, *sets, *short))
            teacher = teach(data_of(*sets), recipe.teacher, context)
            return for_inference(data_of(*sets), teacher, context)

        teachers = {name: teacher_of(*sets) for name, sets in TEACHERS.items()}
        data, recipe = data_of(*STUDENTS), load_recipe(RECIPE, (*SETTINGS, *STUDENTS, *short))
        reached: dict[str, list[float]] = {"naive": [], **{name: [] for name in teachers}}
        for seed in range(seeds):
            seeded = RunContext(context.store, seed=seed)
            naive = train_naive(data, teachers["strong"], recipe.student, recipe.distill, seeded)
            reached["naive"].append(100 * naive.accuracy.value)
            for name, teacher in teachers.items():
                if name == "weak" and seed > 0:
                    continue
                cache = cache_teacher(data, teacher, recipe.distill, seeded)
                student = distill(data, teacher, cache, recipe.student, recipe.distill, seeded)
                reached[name].append(100 * student.accuracy.value)
    gains = {name: gain(reached[name], reached["naive"][: len(reached[name])]) for name in teachers}
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem,
        "settings": [*SETTINGS, *STUDENTS],
        "teachers": {
            name: {"settings": list(TEACHERS[name]), "accuracy": 100 * teacher.accuracy.value}
            for name, teacher in teachers.items()
        },
        "test_images": len(data.rows("test")),
        "accuracy": reached,
        "mean_accuracy": {name: statistics.mean(values) for name, values in reached.items()},
        "gain": {name: {"points": points, "noise": noise} for name, (points, noise) in gains.items()},
    }
    bars = [Bar("images: points that the strong teacher brings, mean of the seeds", gains["strong"][0], ">=", 0.7)]
    write_result("distillation-brings-images", figures, bars, quick)


if __name__ == "__main__":
    main()
