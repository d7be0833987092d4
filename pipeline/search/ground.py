"""What every search begins with: a recipe for one target, a name for its study, and the data and teacher that its
trials share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.context import RunContext
from pipeline.emulated.emulate import refuse_unready
from pipeline.errors import InputError
from pipeline.plan import TargetPlan
from pipeline.progress import SILENT, Reporter
from pipeline.recipe import Recipe
from pipeline.run import teach_all
from pipeline.search.result import Trial
from pipeline.search.space import Space
from pipeline.search.study import Search
from pipeline.search.trial import limits
from pipeline.settings.search import SearchSettings
from pipeline.store import Store
from targets.machine import describe_machine
from targets.profile import Profile


@dataclass(frozen=True)
class Ground:
    """`file` and `overrides` are what `recipe` was read from; `named` is the target as the user named it. `limits`:
    budgets of size and, with `latency`, of all that only runs tell. `folder` is for what is found."""

    file: Path
    overrides: tuple[str, ...]
    recipe: Recipe
    named: str
    planned: TargetPlan
    limits: dict[str, float]
    latency: bool
    context: RunContext
    parent: Path
    folder: Path


def ground_of(
    file: Path,
    overrides: tuple[str, ...],
    recipe: Recipe,
    named: str,
    planned: TargetPlan,
    out: Path,
    reporter: Reporter,
    latency: bool,
) -> Ground:
    """Raises InputError if latency is to be measured somewhere else than here, TargetError if instructions are to be
    counted and the emulator is not whole."""
    if latency:
        _refuse_other_places(planned.profile)
        if planned.emulated:
            refuse_unready()
    if recipe.quantize.scheme is None:  # said, so that the first trial has it where schemes are searched
        quantize = recipe.quantize.model_copy(update={"scheme": planned.quantization.scheme})
        recipe = recipe.model_copy(update={"quantize": quantize})
    parent = out / recipe.name / "search"
    context = RunContext(Store(out / ".store"), reporter, recipe.seed, recipe.threads)
    return Ground(
        file, overrides, recipe, named, planned, limits(planned.budgets, latency), latency, context, parent,
        parent / planned.profile.id,
    )  # fmt: skip


def _refuse_other_places(profile: Profile) -> None:
    if profile.measure.where != "host":
        raise InputError(
            f"a search measures latency on this host, target {profile.id} says measure.where: {profile.measure.where}; "
            "set it to host for the search, or search with --no-latency"
        )


def search_of(ground: Ground, space: Space, judge: Callable[..., Any], more: Mapping[str, Any]) -> Search:
    """The search of `space`, after the data and the teacher have been made. Whatever changes a trial's outcome is told
    by the study's name: the recipe, the code of `judge`, the machine of a latency, and `more`."""
    recipe, planned = ground.recipe, ground.planned
    data, _, teacher = teach_all(recipe, ground.context)
    parts = {"student", "distill", "prune", "quantize", "calibration", "text", "image"}
    same = {
        "recipe": recipe.model_dump(mode="json", include=parts), "space": space, "profile": planned.profile,
        "budgets": planned.budgets, "seed": recipe.seed,
        "latency": describe_machine().label if ground.latency else None,
        "data": data.fingerprint, "teacher": teacher.fingerprint, **more,
    }  # fmt: skip
    name = f"{planned.profile.id}-{ground.context.store.key('search', same, judge)[:24]}"
    ground.folder.mkdir(parents=True, exist_ok=True)
    settings = recipe.search
    reporter = _live(ground.context.reporter)
    root = ground.context.store.root
    return Search(recipe, space, name, ground.parent, root, settings.total, settings.minutes, reporter)


def time_left(trials: Sequence[Trial], settings: SearchSettings, seconds: float, ended_here: int) -> str:
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
