"""Peak memory of building the teacher's cache and of training from it, with data and with ten times as much."""

from pathlib import Path
from typing import Any

from benchmarks.memory import peak_mb
from benchmarks.record import ROOT, Bar, quick_asked, scratch, write_result

RECIPE = ROOT / "recipes" / "fashion-mobilenet.yaml"
SETTINGS = (
    "teacher.epochs=0", "teacher.weights=none", "teacher.input_size=32", "student.width=0.35", "distill.views=1",
    "distill.epochs=1",
)  # fmt: skip
IMAGES = (6000, 60000)
SHORT = (200, 2000)


def work(store: Path, limit: int, part: str) -> None:
    """One process: what was made before is found in the store."""
    from pipeline.context import RunContext
    from pipeline.data.prepare import prepare
    from pipeline.distill.cache import cache_teacher
    from pipeline.distill.student import distill
    from pipeline.recipe import load_recipe
    from pipeline.store import Store
    from pipeline.teacher import teach

    recipe = load_recipe(RECIPE, (*SETTINGS, f"data.limit={limit}"))
    context = RunContext(Store(store), seed=recipe.seed)
    data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, None, context)
    teacher = teach(data, recipe.teacher, context)
    if part != "before":
        cache = cache_teacher(data, teacher, recipe.distill, context)
        if part == "training":
            distill(data, teacher, cache, recipe.student, recipe.distill, context)


def main() -> None:
    quick = quick_asked()
    found: dict[str, dict[str, Any]] = {}
    images = SHORT if quick else IMAGES
    with scratch() as folder:
        for limit in images:
            store = folder / str(limit)
            peak_mb(work, store, limit, "before")
            found[str(limit)] = {part: peak_mb(work, store, limit, part) for part in ("cache", "training")}
    few, many = (found[str(limit)] for limit in images)
    growth = {part: 100 * (many[part]["RssAnon"] / few[part]["RssAnon"] - 1) for part in few}
    figures = {"settings": list(SETTINGS), "images": found, "growth_percent": growth}
    names = {"cache": "building the cache", "training": "training from the cache"}
    bars = [
        Bar(f"{names[part]}: percent more peak memory for ten times the data", growth[part], "<=", 5) for part in names
    ]
    write_result("distillation-memory", figures, bars, quick)


if __name__ == "__main__":
    main()
