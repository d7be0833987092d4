"""Online, cached and no teacher on Rotten Tomatoes: time and accuracy over seeds, a light and a heavy teacher.

The heavy teacher is MiniLM; the light one is an assistant of two of its layers, distilled from it. Texts have no
augmentation, so there are no new views for mode mixed, and recipes refuse it.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.modes import Course, compare
from benchmarks.record import ROOT, asked, kept_or_scratch
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
SEEDS = 3
SHORT = ("data.limit=400", "teacher.epochs=1")


def courses(folder: Path, short: tuple[str, ...]) -> Iterator[Course]:
    recipe = load_recipe(RECIPE, (*SETTINGS, *short))
    context = RunContext(Store(folder / "shared"), seed=recipe.seed)
    tokenizer = teacher_tokenizer(recipe.teacher)
    data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, tokenizer, context)
    heavy = teach(data, recipe.teacher, context)
    cache = cache_teacher(data, heavy, recipe.distill, context)
    light = distill(data, heavy, cache, LIGHT, recipe.distill, context, role="assistant")
    for name, teacher in (("light", light), ("heavy", heavy)):
        yield Course(name, data, teacher, recipe, SEEDS, {"name": teacher.name})


def main() -> None:
    options = asked()
    quick = options.quick
    with kept_or_scratch(options.keep) as folder:
        compare("texts", courses(folder, SHORT if quick else ()), (RECIPE.stem, *SETTINGS), folder, quick)


if __name__ == "__main__":
    main()
