"""Trials that cost nothing, for tests of the search; run as a module, it is one of several processes that share one."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.recipe import Recipe
from pipeline.results import EpochRecord
from pipeline.search.best import Judged, run_search
from pipeline.search.space import Space
from pipeline.search.study import Search
from pipeline.settings.search import Hyperparameter

EPOCHS = 3
SPACE: Space = {
    "distill.temperature": Hyperparameter(low=1, high=8, log=True),
    "student.width": Hyperparameter(choices=(0.35, 0.5, 0.75)),
}
LIMITS = {"size_mb": 1.2}


@dataclass(frozen=True)
class Made:
    fingerprint: str
    file: Path


def made_once(context: RunContext, log: Path) -> Made:
    """What all trials share, which takes its time; each making leaves a line in `log`."""

    def make(folder: Path, key: str, meter: Meter) -> Made:
        with log.open("a") as stream:
            stream.write("made\n")
        time.sleep(0.3)
        (folder / "answers").write_text("of the teacher")
        return Made(key, folder / "answers")

    return context.stage("teacher", {}, Made, make)


def train(
    context: RunContext,
    inputs: dict[str, object],
    reached: float,
    wait: float,
    told: Callable[[int], None] = lambda epoch: None,
) -> tuple[float, ...]:
    """The curve of a training that takes `wait` seconds and tells of its epochs, `told` too; in a stage, so that epochs
    made before a kill are not made again."""
    curve = tuple(reached * (epoch + 1) / EPOCHS for epoch in range(EPOCHS))

    def make(folder: Path, key: str, meter: Meter) -> Made:
        (folder / "resume").mkdir(exist_ok=True)
        for epoch, value in enumerate(curve):
            checkpoint = folder / "resume" / str(epoch)
            if not checkpoint.exists():
                time.sleep(wait / EPOCHS)
                checkpoint.touch()
                told(epoch)
                meter.epoch("training", EpochRecord(epoch, 1.0, value))
        (folder / "student").touch()
        return Made(key, folder / "student")

    context.stage("student", inputs, Made, make)
    return curve


def accuracy(recipe: Recipe) -> float:
    """Best at temperature 2, and the wider the better."""
    assert isinstance(recipe.distill.temperature, float)
    return 0.8 - 0.05 * abs(recipe.distill.temperature - 2) + 0.1 * recipe.student.width


def judge(recipe: Recipe, context: RunContext, log: Path | None = None, wait: float = 0.0) -> Judged:
    """A student of width w costs 2w MB."""
    reached = accuracy(recipe)
    if log is not None:
        made_once(context, log)
    if recipe.distill.temperature > 7.5:  # type: ignore[operator]
        raise InputError("training diverged")
    curve = train(context, {"student": recipe.student, "distill": recipe.distill}, reached, wait)
    size = 2 * recipe.student.width
    return Judged(reached, {"size_mb": size}, {"size_mb": size / LIMITS["size_mb"] - 1}, curve)


def search_in(folder: Path, total: int, seed: int = 0) -> Search:
    content = {
        "schema": 1, "name": "tiny", "task": "image-classification", "data": {"source": "tests"}, "seed": seed,
        "teacher": {"model": "big_net"}, "student": {"family": "mobilenetv2"},
        "distill": {"epochs": EPOCHS, "temperature": 6.0},
    }  # fmt: skip
    return Search(Recipe.model_validate(content), SPACE, "study", folder / "search", folder / ".store", total)


def wait_for_others(folder: Path, number: int) -> None:
    """Until `number` processes are here."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < number:
        time.sleep(0.01)


def mortal(context: RunContext, life: list[int]) -> RunContext:
    """Kills the process, as nothing can be caught, when it has heard of as many epochs as `life` says."""

    def hear(stage: str, phase: str, record: EpochRecord) -> None:
        assert context.observer is not None
        context.observer(stage, phase, record)
        life[0] -= 1
        if life[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return replace(context, observer=hear)


if __name__ == "__main__":
    place, trials, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    wait_for_others(place / "here", int(sys.argv[4]))
    ended, epochs_to_live = list[int](), [int(sys.argv[5])]
    run_search(
        search_in(place, trials),
        lambda recipe, context: judge(recipe, mortal(context, epochs_to_live), place / "log", seconds),
        lambda known, last: ended.append(last.number),
    )
    print(*ended)
