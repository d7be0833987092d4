"""Students of MiniLM on Rotten Tomatoes, which several benchmarks take: from one kept folder, each is trained once."""

from dataclasses import replace
from pathlib import Path

from benchmarks.record import ROOT
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.distill.chain import guide_of
from pipeline.distill.student import distill, train_naive
from pipeline.recipe import load_recipe
from pipeline.results import NetworkResult
from pipeline.store import Store
from pipeline.teacher import teach, teacher_tokenizer

RECIPE = ROOT / "recipes" / "sentiment-tinybert.yaml"
TEACHER = ("teacher.epochs=2", "teacher.learning_rate=0.00007", "teacher.regularization.ema=0.99")
FULL = ("student.layers=4", "distill.epochs=4")
NARROW = (
    *FULL, "student.hidden=312", "student.heads=12", "student.feed_forward=1200", "distill.learning_rate=0.0003",
)  # fmt: skip
SHORT = ("data.limit=300", "teacher.epochs=1", "distill.epochs=1")


def student_of(sets: tuple[str, ...], naive: bool, seed: int, folder: Path) -> tuple[NetworkResult, NetworkResult]:
    """The teacher, trained to its strength, and a student of it, or on labels alone; `sets` are the student's settings
    of the recipe."""
    recipe = load_recipe(RECIPE, (*TEACHER, *sets))
    shared = RunContext(Store(folder), seed=recipe.seed, compute=recipe.compute)
    data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, teacher_tokenizer(recipe.teacher), shared)
    teacher = teach(data, recipe.teacher, shared)
    seeded = replace(shared, seed=seed)
    if naive:
        return teacher, train_naive(data, teacher, recipe.student, recipe.distill, seeded)
    guide, cache = guide_of(data, teacher, recipe.distill, seeded)
    return teacher, distill(data, guide, cache, recipe.student, recipe.distill, seeded)
