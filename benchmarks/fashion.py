"""Students of a strong teacher on Fashion-MNIST, which several benchmarks take: from one kept folder, each is trained
once."""

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.record import ROOT
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.distill.cache import cache_teacher
from pipeline.distill.cache_results import CacheResult
from pipeline.distill.student import distill, train_naive
from pipeline.recipe import Recipe, load_recipe
from pipeline.results import NetworkResult, PreparedData
from pipeline.store import Store
from pipeline.teacher import teach
from pipeline.teachers.inference import for_inference

RECIPE = ROOT / "recipes" / "fashion-mobilenet.yaml"
SETTINGS = ("distill.views=4", "distill.epochs=16", "distill.batch_size=64", "distill.learning_rate=0.006")
STUDENTS = ("data.limit=6000",)  # the images that students learn from
STRONG = ("teacher.epochs=3", "teacher.batch_size=64")  # on all 60,000
FAMILIES: dict[str, tuple[str, ...]] = {
    "mobilenetv2": (),
    "mobilenetv4": ("student.family=mobilenetv4_conv_small",),
}  # of half the width
SHORT = ("data.limit=400", "teacher.epochs=1", "distill.epochs=1")


def recipe_of(*sets: str, quick: bool = False) -> Recipe:
    return load_recipe(RECIPE, (*SETTINGS, *sets, *(SHORT if quick else ())))


def data_of(recipe: Recipe, context: RunContext) -> PreparedData:
    return prepare(recipe.data, recipe.task, recipe.image, recipe.text, None, context)


def teacher_of(context: RunContext, *sets: str, quick: bool = False) -> NetworkResult:
    recipe = recipe_of(*sets, quick=quick)
    data = data_of(recipe, context)
    return for_inference(data, teach(data, recipe.teacher, context), context)


@dataclass(frozen=True)
class Taught:
    """A student of one seed, and its naive twin."""

    recipe: Recipe
    context: RunContext
    data: PreparedData
    teacher: NetworkResult
    cache: CacheResult
    student: NetworkResult
    naive: NetworkResult


def taught(folder: Path, seed: int, *sets: str, quick: bool = False) -> Taught:
    """The recipe's student with `sets`, of the strong teacher."""
    shared = RunContext(Store(folder))
    teacher = teacher_of(shared, *STRONG, quick=quick)
    recipe = recipe_of(*STUDENTS, *sets, quick=quick)
    data, context = data_of(recipe, shared), replace(shared, seed=seed)
    cache = cache_teacher(data, teacher, recipe.distill, context)
    student = distill(data, teacher, cache, recipe.student, recipe.distill, context)
    naive = train_naive(data, teacher, recipe.student, recipe.distill, context)
    return Taught(recipe, context, data, teacher, cache, student, naive)
