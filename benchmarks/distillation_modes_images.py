"""Online, cached, mixed and no teacher on Fashion-MNIST: time and accuracy over seeds, a light and a heavy teacher.

The teacher is one network that looks at few or many pixels: its cost grows with their number.
"""

from typing import Any

import torch

from benchmarks.modes import bars, one_seed, summary
from benchmarks.record import ROOT, Bar, quick_asked, scratch, write_result
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.recipe import load_recipe
from pipeline.store import Store
from pipeline.teacher import teach

RECIPE = ROOT / "recipes" / "fashion-mobilenet.yaml"
SETTINGS = (
    "data.limit=3000", "teacher.epochs=2", "teacher.batch_size=32", "student.width=0.5",
    "distill.batch_size=64", "distill.learning_rate=0.006", "distill.views=3",
)  # fmt: skip
TEACHERS = {"light": (32, 5), "heavy": (112, 3)}  # pixels, seeds
EPOCHS = 10
SHORT = ("data.limit=400", "teacher.epochs=1")


def main() -> None:
    quick = quick_asked()
    epochs = 2 if quick else EPOCHS
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem, "settings": list(SETTINGS), "epochs": epochs, "threads": torch.get_num_threads(),
    }  # fmt: skip
    asked: list[Bar] = []
    with scratch() as folder:
        for name, (pixels, seeds) in TEACHERS.items():
            sets = (*SETTINGS, f"teacher.input_size={pixels}", *(SHORT if quick else ()))
            recipe = load_recipe(RECIPE, sets)
            context = RunContext(Store(folder / "shared"), seed=recipe.seed)
            data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, None, context)
            teacher = teach(data, recipe.teacher, context)
            runs = [
                one_seed(data, teacher, recipe, epochs, seed, folder / name) for seed in range(1 if quick else seeds)
            ]
            found = summary(runs)
            teacher_figures = {"pixels": pixels, "macs": teacher.macs, "accuracy": teacher.accuracy.value}
            figures[name] = {"teacher": teacher_figures, "summary": found, "runs": runs}
            asked += bars(f"images, {name} teacher", found, name == "heavy")
    write_result("distillation-modes-images", figures, asked, quick)


if __name__ == "__main__":
    main()
