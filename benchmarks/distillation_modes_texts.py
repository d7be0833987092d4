"""Online, cached, mixed and no teacher on Rotten Tomatoes: time and accuracy over seeds, a light and a heavy teacher.

The heavy teacher is MiniLM; the light one is an assistant of two of its layers, distilled from it.
"""

from typing import Any

import torch

from benchmarks.modes import bars, one_seed, summary
from benchmarks.record import ROOT, Bar, quick_asked, scratch, write_result
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.distill.cache import cache_teacher
from pipeline.distill.student import distill
from pipeline.recipe import load_recipe
from pipeline.settings.student import StudentSettings
from pipeline.store import Store
from pipeline.teacher import teach, teacher_tokenizer

RECIPE = ROOT / "recipes" / "sentiment-tinybert.yaml"
SETTINGS = (
    "data.limit=4000", "student.layers=2", "student.hidden=128", "student.heads=4", "student.feed_forward=512",
    "distill.learning_rate=0.0003",
)  # fmt: skip
LIGHT = StudentSettings(family="tinybert", layers=2, start="layers")
EPOCHS, SEEDS = 10, 3
SHORT = ("data.limit=400", "teacher.epochs=1")


def main() -> None:
    quick = quick_asked()
    epochs, seeds = (2, 1) if quick else (EPOCHS, SEEDS)
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem, "settings": list(SETTINGS), "epochs": epochs, "seeds": seeds,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    asked: list[Bar] = []
    recipe = load_recipe(RECIPE, (*SETTINGS, *(SHORT if quick else ())))
    with scratch() as folder:
        context = RunContext(Store(folder / "shared"), seed=recipe.seed)
        tokenizer = teacher_tokenizer(recipe.teacher)
        data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, tokenizer, context)
        heavy = teach(data, recipe.teacher, context)
        cache = cache_teacher(data, heavy, recipe.distill, context)
        light = distill(data, heavy, cache, LIGHT, recipe.distill, context, role="assistant")
        for name, teacher in (("light", light), ("heavy", heavy)):
            runs = [one_seed(data, teacher, recipe, epochs, seed, folder / name) for seed in range(seeds)]
            found = summary(runs)
            teacher_figures = {"name": teacher.name, "macs": teacher.macs, "accuracy": teacher.accuracy.value}
            figures[name] = {"teacher": teacher_figures, "summary": found, "runs": runs}
            asked += bars(f"texts, {name} teacher", found, name == "heavy")
    write_result("distillation-modes-texts", figures, asked, quick)


if __name__ == "__main__":
    main()
