"""In which order to prune and to distil: a student that starts as its teacher, thinned to a quarter of its
multiply-accumulates before it is distilled or after, all at once or little by little; every way trains for as many
epochs in all. Fashion-MNIST, 6,000 training images, 64 px."""

import statistics
from typing import Any

from benchmarks.fashion import RECIPE
from benchmarks.record import Bar, asked, kept_or_scratch, write_result
from pipeline.context import RunContext
from pipeline.recipe import load_recipe
from pipeline.run import train
from pipeline.store import Store

SETTINGS = (
    "image.size=64", "data.limit=6000", "teacher.batch_size=64", "student.family=efficientnet_lite0", "student.width=1",
    "student.start=layers", "distill.batch_size=64", "distill.learning_rate=0.003", "distill.compare_naive=false",
)  # fmt: skip
GOALS = ("macs=0.25",)
EPOCHS, RECOVERY = 8, 6
AFTER = (f"distill.epochs={EPOCHS - RECOVERY}", f"prune.recovery_epochs={RECOVERY}", "prune.learning_rate=0.003")
WAYS = {
    "before": ("prune.when=before", f"distill.epochs={EPOCHS}"),
    "after, one shot": AFTER,
    "after, gradual": (*AFTER, "prune.schedule=gradual"),
}
DEFAULT = "before"  # of a student that starts as its teacher
SHORT = ("data.limit=400", "teacher.epochs=1")
SEEDS = 2


def main() -> None:
    options = asked()
    short = SHORT if options.quick else ()
    found: dict[str, dict[str, list[float]]] = {goal: {way: [] for way in WAYS} for goal in GOALS}
    with kept_or_scratch(options.keep) as folder:
        for seed in range(1 if options.quick else SEEDS):
            for goal, ways in found.items():
                for way, accuracies in ways.items():
                    recipe = load_recipe(RECIPE, (*SETTINGS, *short, *WAYS[way], f"prune.{goal}"))
                    networks = train(recipe, RunContext(Store(folder), seed=seed))
                    accuracies.append(100 * networks.student.accuracy.value)
                    print(f"{goal}, {way}, seed {seed}: {accuracies[-1]:.2f}", flush=True)
    means = {goal: {way: statistics.mean(each) for way, each in ways.items()} for goal, ways in found.items()}
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem, "settings": list(SETTINGS), "ways": {way: list(sets) for way, sets in WAYS.items()},
        "teacher_accuracy": 100 * networks.teacher.accuracy.value, "accuracy": found, "mean_accuracy": means,
    }  # fmt: skip
    bars = [
        Bar(f"{goal}: points of the default order below the best one", max(ways.values()) - ways[DEFAULT], "<=", 0.5)
        for goal, ways in means.items()
    ]
    write_result("compression-order", figures, bars, options.quick)


if __name__ == "__main__":
    main()
