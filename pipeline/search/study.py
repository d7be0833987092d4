"""The study: which trial comes next, which one is given up, and what becomes of those that were killed. Optuna draws
and keeps them, in one file on disk that several processes share."""

import json
import os
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from pipeline.context import RunContext
from pipeline.errors import USER_ERRORS
from pipeline.progress import SILENT, Reporter
from pipeline.recipe import Recipe
from pipeline.results import EpochRecord
from pipeline.search.result import State, Trial
from pipeline.search.space import Space, number_type, rounded, value_of, with_values
from pipeline.settings.search import Hyperparameter
from pipeline.store import Store

UNJUDGED = 5  # trials within the budgets before any other is given up
WARM_UP = 1 / 3  # of a training, in which none is given up
POLL = 0.5  # seconds between two looks at the trials of other processes


@dataclass(frozen=True)
class Judged:
    """What a trial's recipe came to. `accuracy` in [0, 1] of the validation split; `figures` and `excess` as
    `pipeline.search.result.Trial` has them; `curve`: the validation accuracy after each epoch of the student."""

    accuracy: float
    figures: dict[str, float]
    excess: dict[str, float]
    curve: tuple[float, ...] = ()


Judge = Callable[[Recipe, RunContext], Judged]


@dataclass(frozen=True)
class Search:
    """`name` is one for each recipe, space and target, so that no study mixes two; `folder` holds the studies of a
    recipe. `total` and `minutes` as in `pipeline.settings.search.SearchSettings`."""

    recipe: Recipe
    space: Space
    name: str
    folder: Path
    store: Path
    total: int | None
    minutes: float | None = None
    reporter: Reporter = field(default=SILENT)


def run_search(search: Search, judge: Judge, tell: Callable[[list[Trial], Trial], None]) -> list[Trial]:
    """All trials of the study when it has its total, or time is up; `tell` hears of them after each one that this
    process ends, and of that one.

    The first trial is the recipe itself, as far as the space holds its values. The others are drawn by the
    tree-structured Parzen estimator (Bergstra et al. 2011), which knows of the budgets. A trial's draw follows from the
    seed, its number and the trials before. A process that has none left to begin waits for those of the others, and
    does over what one of them was killed in.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search.folder.mkdir(parents=True, exist_ok=True)
    study = _open(search)
    end = time.monotonic() + 60 * search.minutes if search.minutes else float("inf")
    with _worker(search.folder) as worker:
        while time.monotonic() < end:
            trial = _begin(study, search, worker)
            if trial is not None:
                _try(study, trial, search, judge)
                trials = _trials(study, search)
                tell(trials, trials[trial.user_attrs["number"] - 1])
            elif study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                time.sleep(POLL)
            else:
                break
    return _trials(study, search)


def _open(search: Search) -> optuna.Study:
    journal, lock = search.folder / "journal.log", FileLock(search.folder / "journal.log.lock")
    with lock:
        _mend(journal)
    # Optuna's own locks outlive a killed process; this one does not, and has the two methods that are asked for.
    backend = JournalFileBackend(str(journal), lock_obj=cast(Any, lock))
    return optuna.create_study(
        storage=JournalStorage(backend), study_name=search.name, direction="maximize", load_if_exists=True
    )


def _mend(journal: Path) -> None:
    """Cuts off the part of a line that a full disk left at the end: the next line would be spoilt by it."""
    content = journal.read_bytes() if journal.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(journal, whole)


@contextmanager
def _worker(folder: Path) -> Iterator[str]:
    """The name of this process among those that share the study: a file that it holds locked while it lives."""
    name = secrets.token_hex(8)
    file = folder / ".workers" / name
    file.parent.mkdir(exist_ok=True)
    with FileLock(file):
        try:
            yield name
        finally:
            file.unlink(missing_ok=True)


def _is_gone(worker: str, folder: Path) -> bool:
    file = folder / ".workers" / worker
    try:
        with FileLock(file, timeout=0):
            file.unlink(missing_ok=True)
            return True
    except Timeout:
        return False


def _begin(study: optuna.Study, search: Search, worker: str) -> optuna.Trial | None:
    """The next trial, which is now this process's; None if the study has its total."""
    with FileLock(search.folder / ".lock"):
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_gone(trial.user_attrs.get("worker", "none"), search.folder):
                _put_back(study, trial)
        known = _known(study)
        if not known:
            study.enqueue_trial(_own_values(search), user_attrs={"number": 1})
        waiting = [trial for trial in _known(study) if trial.state == TrialState.WAITING]
        if not waiting and search.total is not None and len(known) >= search.total:
            return None
        number = waiting[0].user_attrs["number"] if waiting else len(known) + 1
        seed = np.random.SeedSequence([search.recipe.seed, number]).generate_state(1)[0]
        study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        drawn = study.ask({key: _distribution(key, parameter) for key, parameter in search.space.items()})
        drawn.set_user_attr("number", number)
        drawn.set_user_attr("worker", worker)
        for step, value in drawn.user_attrs.get("reported", []):
            drawn.report(value, step)
        return drawn


def _put_back(study: optuna.Study, trial: FrozenTrial) -> None:
    """Lets a killed process's trial be done over, by its number and with its values; the store has what was whole."""
    if "number" in trial.user_attrs:
        kept = {"number": trial.user_attrs["number"], "reported": sorted(trial.intermediate_values.items())}
        study.enqueue_trial(trial.params, user_attrs=kept)
    study.tell(trial.number, state=TrialState.FAIL)


def _known(study: optuna.Study) -> list[FrozenTrial]:
    """By number; without those that were killed, which stand there again."""
    trials = study.get_trials(deepcopy=False)
    known = [t for t in trials if "number" in t.user_attrs and not (t.state == TrialState.FAIL and not _message(t))]
    return sorted(known, key=lambda trial: trial.user_attrs["number"])


def _message(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("message", ""))


def _distribution(key: str, parameter: Hyperparameter) -> BaseDistribution:
    if parameter.choices is not None:
        return CategoricalDistribution([json.dumps(choice) for choice in parameter.choices])
    low, high = parameter.ends
    if number_type(key) is int:
        return IntDistribution(int(low), int(high), log=parameter.log)
    return FloatDistribution(low, high, log=parameter.log)


def _values(drawn: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """What Optuna drew, as the recipe takes it."""

    def taken(key: str) -> Any:
        if space[key].choices is not None:
            return json.loads(drawn[key])
        return rounded(drawn[key], space[key]) if number_type(key) is float else drawn[key]

    return {key: taken(key) for key in space if key in drawn}


def _own_values(search: Search) -> dict[str, Any]:
    """The recipe's own values that the space holds, as Optuna takes them."""
    found: dict[str, Any] = {}
    for key, parameter in search.space.items():
        value = value_of(search.recipe, key)
        if parameter.choices is not None:
            if value in parameter.choices:
                found[key] = json.dumps(parameter.choices[parameter.choices.index(value)])
        elif isinstance(value, (int, float)) and parameter.ends[0] <= value <= parameter.ends[1]:
            found[key] = value
    return found


def _try(study: optuna.Study, trial: optuna.Trial, search: Search, judge: Judge) -> None:
    """Runs the trial and tells the study how it ended. What is wrong with its values fails the trial alone."""
    reported = dict(study.get_trials(deepcopy=False)[trial.number].intermediate_values)
    patient = "distill.epochs" in search.space  # the same epoch of trainings of different lengths does not compare

    def hear(stage: str, phase: str, record: EpochRecord) -> None:
        if (stage, phase) != ("student", "training"):
            return
        step = first + record.epoch
        if step not in reported:
            trial.report(record.validation_accuracy, step)
            reported[step] = record.validation_accuracy
        if not patient and record.epoch + 1 >= WARM_UP * recipe.distill.epochs:
            fitting = [other for other in study.get_trials(deepcopy=False) if _fits(other)]
            if is_poor({s: value for s, value in reported.items() if s >= first}, step, fitting):
                raise optuna.TrialPruned

    try:
        recipe = with_values(search.recipe, _values(trial.params, search.space))
        first = recipe.distill.layers.epochs if recipe.distill.layers is not None else 0
        store = Store(search.store, discards=(optuna.TrialPruned, *USER_ERRORS))
        judged = judge(recipe, RunContext(store, search.reporter, recipe.seed, recipe.threads, hear))
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except USER_ERRORS as error:
        trial.set_user_attr("message", str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        for step, value in enumerate(judged.curve):  # a student that the store had was not heard of
            if step not in reported:
                trial.report(value, step)
        trial.set_user_attr("figures", judged.figures)
        for budget, excess in judged.excess.items():
            trial.set_constraint(budget, excess)
        study.tell(trial, judged.accuracy)


def _fits(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE and all(excess <= 0 for excess in trial.constraints.values())


def is_poor(reported: Mapping[int, float], step: int, fitting: Sequence[FrozenTrial]) -> bool:
    """The median stopping rule (Golovin et al. 2017, section 3.2.2; as Optuna's MedianPruner has it): the best so far
    is under the median of what others had at this step. Only those that keep to the budgets judge: students too large
    for the target would give up every one that fits."""
    others = [trial.intermediate_values[step] for trial in fitting if step in trial.intermediate_values]
    return len(others) >= UNJUDGED and max(reported.values()) < statistics.median(others)


STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
    TrialState.RUNNING: "running", TrialState.WAITING: "running",
}  # fmt: skip


def _trials(study: optuna.Study, search: Search) -> list[Trial]:
    return [
        Trial(
            trial.user_attrs["number"],
            STATES[trial.state],
            _values(trial.params, search.space),
            trial.value,
            trial.user_attrs.get("figures", {}),
            dict(trial.constraints) if trial.state == TrialState.COMPLETE else {},
            _message(trial),
        )
        for trial in _known(study)
    ]
