"""Online, cached, mixed and no teacher on Fashion-MNIST: time and accuracy over seeds, a light and a heavy teacher.

The teacher is one network that looks at few or many pixels: its cost grows with their number.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.modes import Course, compare
from benchmarks.record import ROOT, asked, kept_or_scratch
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.recipe import load_recipe
from pipeline.store import Store
from pipeline.teacher import teach
from pipeline.teachers.inference import for_inference

RECIPE = ROOT / "recipes" / "fashion-mobilenet.yaml"
SETTINGS = (
    "data.limit=4000", "teacher.epochs=2", "teacher.batch_size=32", "student.family=mobilenetv4_conv_small",
    "student.width=0.35", "distill.batch_size=32", "distill.learning_rate=0.004", "distill.views=2",
    "distill.regularization={ema: 0.99}",
)  # fmt: skip
TEACHERS = {"light": (32, 3), "heavy": (112, 3)}  # pixels, seeds
SHORT = ("data.limit=400", "teacher.epochs=1")


def courses(folder: Path, short: tuple[str, ...]) -> Iterator[Course]:
    for name, (pixels, seeds) in TEACHERS.items():
        recipe = load_recipe(RECIPE, (*SETTINGS, f"teacher.input_size={pixels}", *short))
        context = RunContext(Store(folder / "shared"), seed=recipe.seed)
        data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, None, context)
        teacher = for_inference(data, teach(data, recipe.teacher, context), context)
        yield Course(name, data, teacher, recipe, seeds, {"pixels": pixels})


def main() -> None:
    options = asked()
    quick = options.quick
    with kept_or_scratch(options.keep) as folder:
        compare("images", courses(folder, SHORT if quick else ()), (RECIPE.stem, *SETTINGS), folder, quick)


if __name__ == "__main__":
    main()
