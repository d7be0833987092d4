"""`edgepress search`: from a recipe and one target to a better recipe, a table and a picture."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.latency import refuse_other_places
from pipeline.plan import make_plan
from pipeline.progress import SILENT, Reporter
from pipeline.recipe import load_recipe
from pipeline.run import teach_all
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
from pipeline.search.space import default_space, outermost, with_values
from pipeline.search.study import Search, run_search
from pipeline.search.trial import judge, limits
from pipeline.settings.search import SearchSettings
from pipeline.store import Store
from targets.machine import describe_machine


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
) -> Found:
    """Searches the recipe in `file` for `target` (None: the first that it names) and writes what it found into
    `out/<recipe>/search/<target>/`. Several processes may do so at once.

    Raises InputError or TargetError for what is wrong with the recipe, and if no trial came to an end.
    """
    recipe = load_recipe(file, overrides)
    named = target or next(iter(recipe.targets), None)
    plan = make_plan(recipe, (named,) if named else ())
    profile, budgets = plan.targets[0].profile, limits(plan.targets[0].budgets, latency)
    if latency:
        refuse_other_places(profile.measure)
    space = recipe.search.space or default_space(recipe)
    for key, parameter in space.items():
        for value in outermost(key, parameter):
            make_plan(with_values(recipe, {key: value}), (str(named),))
    context = RunContext(Store(out / ".store"), reporter, recipe.seed, recipe.threads)
    data, _, teacher = teach_all(recipe, context)
    parts = {"student", "distill", "prune", "quantize", "calibration", "text", "image"}
    settings = recipe.model_dump(mode="json", include=parts)
    same = {
        "recipe": settings, "space": space, "profile": profile, "budgets": plan.targets[0].budgets,
        "seed": recipe.seed, "latency": describe_machine().label if latency else None,
        "data": data.fingerprint, "teacher": teacher.fingerprint,
    }  # fmt: skip
    study = f"{profile.id}-{context.store.key('search', same, judge)[:24]}"
    parent = out / recipe.name / "search"
    folder = parent / profile.id
    folder.mkdir(parents=True, exist_ok=True)
    started, ended_here = time.monotonic(), 0

    def write(trials: Sequence[Trial]) -> None:
        write_trials(trials, folder)
        write_best(trials, budgets, file, overrides, str(named), folder)

    def tell(trials: Sequence[Trial], ended: Trial) -> None:
        nonlocal ended_here
        ended_here += 1
        write(trials)
        best, seconds = best_trial(trials), time.monotonic() - started
        standing = f"best {best.accuracy:.2%} (trial {best.number})" if best else "none within the budgets yet"
        left = _left(trials, recipe.search, seconds, ended_here)
        reporter.say(f"trial {ended.number}: {describe(ended, budgets)}; {standing}; {left}")

    trials = run_search(
        Search(
            recipe, space, study, parent, out / ".store", recipe.search.total, recipe.search.minutes, _live(reporter)
        ),
        partial(judge, target=str(named), latency=latency),
        tell,
    )
    write(trials)
    judged = [trial for trial in trials if trial.state == "done"]
    if not judged:
        failed = next((trial for trial in trials if trial.state == "failed"), None)
        reason = f"trial {failed.number} {describe(failed, budgets)}" if failed else "there was no time for one"
        raise InputError(f"no trial came to an end: {reason}")
    write_plot(trials, budgets, f"{recipe.name} for {profile.id}", folder)
    return Found(profile.id, tuple(trials), best_trial(trials), budgets, folder)


def _left(trials: Sequence[Trial], settings: SearchSettings, seconds: float, ended_here: int) -> str:
    """What is left to do, by the pace of this process and the number of those that work now."""
    open_trials = [trial for trial in trials if trial.state == "running"]
    ends = []
    if settings.total is not None:
        missing = max(settings.total - len(trials), 0) + len(open_trials)
        ends.append(missing * seconds / ended_here / (1 + len(open_trials)))
    if settings.minutes is not None:
        ends.append(max(60 * settings.minutes - seconds, 0.0))
    left = min(ends)
    told = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
    return f"{len(trials) - len(open_trials)} of {settings.total or 'any'} done, about {told} left"


def _live(reporter: Reporter) -> Reporter:
    """Shows the stages of a trial while they run, where there is a terminal; what stays is a line a trial."""
    return _Passing(reporter.console, reporter.quiet) if reporter.console.is_terminal else SILENT


class _Passing(Reporter):
    def say(self, text: str) -> None:
        """Nothing stays."""
