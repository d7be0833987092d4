"""A student distilled online, from the cache and in mode mixed, and trained without a teacher, in turn."""

import json
import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import Bar, write_result
from pipeline.context import RunContext
from pipeline.distill.cache import cache_teacher
from pipeline.distill.student import distill, train_naive
from pipeline.recipe import Recipe
from pipeline.results import EpochRecord, NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings, Refresh
from pipeline.store import Store

EPOCHS = 10
PAIRS = 15  # short trainings, cached and on labels, whose epochs are compared
FRESH = Refresh(fraction=0.5)  # of mode mixed


@dataclass
class Clock:
    """Hears of epochs; `seconds` are those of every epoch but the first, whose start nobody tells."""

    marks: list[float] = field(default_factory=list)

    def __call__(self, stage: str, phase: str, record: EpochRecord) -> None:
        self.marks.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def gain(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """How much larger the mean of `ours` is, and two standard errors of that difference (0 for a single run)."""
    difference = statistics.mean(ours) - statistics.mean(theirs)
    if min(len(ours), len(theirs)) < 2:
        return difference, 0.0
    error = math.sqrt(sum(statistics.variance(values) / len(values) for values in (ours, theirs)))
    return difference, 2 * error


@dataclass(frozen=True)
class Course:
    """One teacher and what is learned from it, with `seeds` seeds; `told` goes into the figures."""

    name: str
    data: PreparedData
    teacher: NetworkResult
    recipe: Recipe
    seeds: int
    told: dict[str, Any]


def settings_of(recipe: Recipe, epochs: int) -> dict[str, DistillSettings]:
    """Ways to train by name. Without augmentation there is no mode mixed: it would ask the same again."""
    base = recipe.distill.model_copy(update={"epochs": epochs})
    fresh = {"mode": "online", "views": epochs}  # who asks in every step asks about a new view in every epoch
    ways = {"naive": base, "cached": base, "online": base.model_copy(update=fresh)}
    if base.augmentation.varies:
        ways["mixed"] = base.model_copy(update={"mode": "mixed", "views": 1, "refresh": FRESH})
    return ways


def one_seed(course: Course, epochs: int, seed: int, folder: Path) -> dict[str, dict[str, Any]]:
    """What each way cost and reached; each has a store of its own. Every second seed takes them the other way round."""
    found: dict[str, dict[str, Any]] = {}
    data, teacher, student = course.data, course.teacher, course.recipe.student
    ways = list(settings_of(course.recipe, epochs).items())
    for way, settings in ways[:: 1 if seed % 2 == 0 else -1]:
        clock, store = Clock(), folder / f"{way}-{seed}"
        shutil.rmtree(store, ignore_errors=True)  # of a run that was cut off
        context = RunContext(Store(store), seed=seed, observer=clock)
        building, cache = 0.0, None
        if way in ("cached", "mixed"):
            building, cache = timed(lambda s=settings, c=context: cache_teacher(data, teacher, s, c))
        if way == "naive":
            training, result = timed(lambda s=settings, c=context: train_naive(data, teacher, student, s, c))
        else:
            training, result = timed(lambda s=settings, c=context, k=cache: distill(data, teacher, k, student, s, c))
        found[way] = {
            "total_seconds": building + training,
            "cache_seconds": building,
            "epoch_seconds": statistics.median(clock.seconds) if clock.seconds else training,
            "accuracy": result.accuracy.value,
        }
        print(f"{course.name} teacher, seed {seed}, {way}: {building + training:.0f} s", flush=True)
    return found


def cached_epoch_against_labels(course: Course, folder: Path) -> float:
    """The median over `PAIRS` of the time of a cached epoch against that of one on labels, from short trainings that
    take turns: whatever else the machine does meets both."""
    settings = course.recipe.distill.model_copy(update={"epochs": 3})
    shutil.rmtree(folder / "epochs", ignore_errors=True)
    context = RunContext(Store(folder / "epochs"))
    cache = cache_teacher(course.data, course.teacher, settings, context)
    ratios = []
    for seed in range(PAIRS):
        seconds = []
        for way in ("cached", "naive")[:: 1 if seed % 2 == 0 else -1]:
            clock = Clock()
            seeded = RunContext(context.store, seed=seed, observer=clock)
            if way == "naive":
                train_naive(course.data, course.teacher, course.recipe.student, settings, seeded)
            else:
                distill(course.data, course.teacher, cache, course.recipe.student, settings, seeded)
            seconds.append((way, min(clock.seconds)))
        by_way = dict(seconds)
        ratios.append(by_way["cached"] / by_way["naive"])
    return statistics.median(ratios)


def once(file: Path, measure: Callable[[], Any]) -> Any:
    """What `measure` gave, now or in a run before that kept its folder."""
    if not file.exists():
        found = measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())


def compare(kind: str, courses: Iterator[Course], settings: tuple[str, ...], folder: Path, quick: bool) -> None:
    """Goes through the courses and writes the result `distillation-modes-<kind>`; the one named heavy is held to what
    a heavy teacher's cache must save. A seed that `folder` has measured whole is not measured again."""
    epochs = 2 if quick else EPOCHS
    figures: dict[str, Any] = {"settings": list(settings), "epochs": epochs, "threads": torch.get_num_threads()}
    asked: list[Bar] = []
    for course in courses:
        seeds = 1 if quick else course.seeds
        place = folder / course.name
        runs = [
            once(place / f"seed-{seed}.json", lambda s=seed, c=course, p=place: one_seed(c, epochs, s, p))  # type: ignore[misc]
            for seed in range(seeds)
        ]
        found = summary(runs)
        found["cached"]["epoch_against_labels"] = once(
            place / "epochs.json",
            lambda c=course, p=place: cached_epoch_against_labels(c, p),  # type: ignore[misc]
        )
        about = {**course.told, "macs": course.teacher.macs, "accuracy": course.teacher.accuracy.value}
        figures[course.name] = {"teacher": about, "summary": found, "runs": runs}
        asked += bars(f"{kind}, {course.name} teacher", found, course.name == "heavy")
    write_result(f"distillation-modes-{kind}", figures, asked, quick)


def summary(runs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Medians over the seeds of each way's figures, and ratios within each seed."""

    def middle(figure: Callable[[dict[str, dict[str, Any]]], float]) -> float:
        return statistics.median(figure(run) for run in runs)

    found: dict[str, Any] = {
        way: {
            "total_seconds": middle(lambda run, w=way: run[w]["total_seconds"]),
            "epoch_seconds": middle(lambda run, w=way: run[w]["epoch_seconds"]),
            "teacher_share": middle(lambda run, w=way: 1 - run["naive"]["total_seconds"] / run[w]["total_seconds"]),
            "mean_accuracy": statistics.mean(run[way]["accuracy"] for run in runs),
        }
        for way in runs[0]
    }
    found["online_against_cached_total"] = middle(
        lambda run: run["online"]["total_seconds"] / run["cached"]["total_seconds"]
    )
    found["teacher_against_student_step"] = middle(
        lambda run: (run["online"]["epoch_seconds"] - run["naive"]["epoch_seconds"]) / run["naive"]["epoch_seconds"]
    )
    return found


def bars(name: str, found: dict[str, Any], heavy: bool) -> list[Bar]:
    asked = [Bar(f"{name}: a cached epoch against one on labels", found["cached"]["epoch_against_labels"], "<=", 1.05)]
    if "mixed" in found:
        lost = 100 * (found["online"]["mean_accuracy"] - found["mixed"]["mean_accuracy"])
        asked.append(Bar(f"{name}: points that mixed loses to online, mean of the seeds", lost, "<=", 0.2))
    if heavy:
        asked.append(Bar(f"{name}: online against cached, whole time", found["online_against_cached_total"], ">=", 2.0))
    return asked
