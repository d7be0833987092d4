"""`edgepress search`: from a recipe and one target to a better recipe, a table and a picture."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.plan import make_plan
from pipeline.progress import Reporter
from pipeline.recipe import load_recipe
from pipeline.search.best import run_search
from pipeline.search.front.command import search_front
from pipeline.search.front.result import FoundFront
from pipeline.search.ground import Ground, ground_of, search_of, time_left
from pipeline.search.plot import write_plot
from pipeline.search.result import (
    Trial,
    best_trial,
    closest_trial,
    count_states,
    describe,
    name,
    trials_of,
    write_best,
    write_trials,
)
from pipeline.search.space import default_space, left_out, outermost, with_values
from pipeline.search.trial import judge


@dataclass(frozen=True)
class Found:
    """What a search came to. `best`: of the trials that keep to the budgets; None if none does."""

    target: str
    trials: tuple[Trial, ...]
    best: Trial | None
    limits: dict[str, float]
    folder: Path

    def lines(self) -> list[str]:
        """For people: the best trial and its files, or the closest one and what it missed."""
        counts = ", ".join(f"{count} {state}" for state, count in count_states(self.trials).items())
        if self.best is None:
            closest = closest_trial(self.trials)
            assert closest is not None, "a search in which no trial was judged is an error"
            missed = " and ".join(name(key) for key in closest.missed)
            return [
                f"no trial keeps to the budgets of {self.target} ({counts}); closest is trial {closest.number}, which "
                f"misses {missed}: {describe(closest, self.limits)}",
                f"loosen that budget, or let the search reach smaller students ({self.folder / 'trials.csv'})",
            ]
        return [
            f"best of {trials_of(self.trials)} ({counts}): trial {self.best.number}, "
            f"{describe(self.best, self.limits)}",
            *(f"  {key}: {value}" for key, value in self.best.values.items()),
            f"{self.folder / 'best.yaml'}: a recipe for edgepress run (trials.csv and search.svg beside)",
        ]

    def as_json(self) -> dict[str, Any]:
        closest = None if self.best else closest_trial(self.trials)
        return {
            "target": self.target,
            "budgets": self.limits,
            "best": _as_json(self.best),
            "closest": _as_json(closest),
            "recipe": str(self.folder / "best.yaml") if self.best else None,
            "trials": [_as_json(trial) for trial in self.trials],
        }


def _as_json(trial: Trial | None) -> dict[str, Any] | None:
    return None if trial is None else {**dataclasses.asdict(trial), "feasible": trial.feasible}


def search(
    file: Path, target: str | None, overrides: tuple[str, ...], out: Path, reporter: Reporter, *, latency: bool
) -> Found | FoundFront:
    """Searches the recipe in `file` for `target` (None: the first that it names) and writes what it found into
    `out/<recipe>/search/<target>/`. Several processes may do so at once.

    Raises InputError or TargetError for what is wrong with the recipe, and if no trial came to an end.
    """
    recipe = load_recipe(file, overrides)
    named = target or next(iter(recipe.targets), None)
    plan = make_plan(recipe, (named,) if named else ())
    ground = ground_of(file, overrides, recipe, str(named), plan.targets[0], out, reporter, latency)
    return search_front(ground) if recipe.search.objective == "front" else _search_best(ground)


def _search_best(ground: Ground) -> Found:
    recipe, folder, budgets = ground.recipe, ground.folder, ground.limits
    space = recipe.search.space or default_space(recipe)
    for key, parameter in space.items():
        for value in outermost(key, parameter):
            make_plan(with_values(recipe, {key: value}, left_out(space, {key: value})), (ground.named,))
    searched = search_of(ground, space, judge, {})
    started, ended_here = time.monotonic(), 0

    def write(trials: Sequence[Trial]) -> None:
        write_trials(trials, folder)
        write_best(trials, budgets, ground.file, ground.overrides, ground.named, folder)

    def tell(trials: Sequence[Trial], ended: Trial) -> None:
        nonlocal ended_here
        ended_here += 1
        write(trials)
        best, seconds = best_trial(trials), time.monotonic() - started
        standing = f"best {best.accuracy:.2%} (trial {best.number})" if best else "none within the budgets yet"
        left = time_left(trials, recipe.search, seconds, ended_here)
        ground.context.reporter.say(f"trial {ended.number}: {describe(ended, budgets)}; {standing}; {left}")

    trials = run_search(searched, partial(judge, target=ground.named, latency=ground.latency), tell)
    write(trials)
    judged = [trial for trial in trials if trial.state == "done"]
    if not judged:
        failed = next((trial for trial in trials if trial.state == "failed"), None)
        reason = f"trial {failed.number} {describe(failed, budgets)}" if failed else "there was no time for one"
        raise InputError(f"no trial came to an end: {reason}")
    write_plot(trials, budgets, f"{recipe.name} for {folder.name}", folder)
    return Found(folder.name, tuple(trials), best_trial(trials), budgets, folder)
