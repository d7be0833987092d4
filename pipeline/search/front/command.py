"""`edgepress search` over the front: from a recipe and one target to the students that are worth having."""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial

from pipeline.errors import InputError
from pipeline.search.front.goals import DIRECTIONS, goals_first
from pipeline.search.front.plot import write_front_plot
from pipeline.search.front.result import FoundFront
from pipeline.search.front.space import default_front_space, reachable
from pipeline.search.front.study import FrontJudge, run_front_search
from pipeline.search.front.trial import judge_front, price, references
from pipeline.search.ground import Ground, search_of, time_left
from pipeline.search.result import Trial, describe, write_trials
from pipeline.settings.search import Goal


def search_front(ground: Ground) -> FoundFront:
    """Raises InputError if there is nothing to weigh accuracy against, if the target takes no choice of a setting, and
    if no trial came to an end."""
    recipe, folder, target = ground.recipe, ground.folder, ground.named
    over = _goals(ground)
    space, ruled_out = reachable(recipe, recipe.search.space or default_front_space(recipe), target)
    searched = dataclasses.replace(
        search_of(ground, space, judge_front, {"over": over}),
        directions=tuple(DIRECTIONS[goal] for goal in over),
    )
    beside = references(recipe, ground.context, target=target) if ground.latency else {}
    started, ended_here = time.monotonic(), 0

    def found(trials: Sequence[Trial]) -> FoundFront:
        least = ground.planned.budgets.accuracy.min
        return FoundFront(folder.name, over, tuple(trials), ground.limits, tuple(ruled_out), beside, folder, least)

    def write(trials: Sequence[Trial]) -> FoundFront:
        front = found(trials)
        write_trials(trials, folder, "front.csv")
        front.write(ground.file, ground.overrides, target)
        return front

    def tell(trials: Sequence[Trial], ended: Trial) -> None:
        nonlocal ended_here
        ended_here += 1
        standing = f"{len(write(trials).front)} on the front"
        left = time_left(trials, recipe.search, time.monotonic() - started, ended_here)
        ground.context.reporter.say(f"trial {ended.number}: {describe(ended, ground.limits)}; {standing}; {left}")

    judge = FrontJudge(partial(price, target=target, beside=beside), partial(judge_front, target=target, beside=beside))
    trials = run_front_search(searched, judge, over, tell)
    front = write(trials)
    if not any(trial.state in ("done", "skipped") for trial in trials):
        failed = next((trial for trial in trials if trial.state == "failed"), None)
        reason = f"trial {failed.number} {describe(failed, ground.limits)}" if failed else "there was no time for one"
        raise InputError(f"no trial came to an end: {reason}")
    write_front_plot(front, f"{recipe.name} for {folder.name}")
    return front


def _goals(ground: Ground) -> tuple[Goal, ...]:
    asked = ground.recipe.search
    over = goals_first(tuple(goal for goal in asked.over if ground.latency or goal != "latency"))
    if len(over) < 2:
        raise InputError(
            "search.over: without latency there is nothing to weigh accuracy against: add size, or measure latency"
        )
    return over
