"""The study: which trial comes next, and what becomes of those that were killed. Optuna draws and keeps them, in one
file on disk that several processes share. How one goes stands in `pipeline.search.best` and `front/study.py`."""

import itertools
import json
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from pipeline.progress import SILENT, Reporter
from pipeline.recipe import Recipe
from pipeline.search.result import State, Trial
from pipeline.search.space import Space, left_out, number_type, rounded, value_of, with_values
from pipeline.settings.search import Direction

POLL = 0.5  # seconds between two looks at the trials of other processes
LISTED = 100_000  # choices of a space, counted together, that are listed to find one not yet tried


@dataclass(frozen=True)
class Search:
    """`name` is one for each recipe, space and target, so that no study mixes two; `folder` holds the studies of a
    recipe. `total` and `minutes` as in `pipeline.settings.search.SearchSettings`. `directions`: maximize or minimize,
    of each of a trial's values."""

    recipe: Recipe
    space: Space
    name: str
    folder: Path
    store: Path
    total: int | None
    minutes: float | None = None
    reporter: Reporter = field(default=SILENT)
    directions: tuple[Direction, ...] = ("maximize",)

    @property
    def distinct(self) -> bool:
        """Whether no trial is drawn twice. A search for one best may: its sampler settles there."""
        return len(self.directions) > 1


Attempt = Callable[[optuna.Study, optuna.Trial], None]  # makes the trial, and tells the study how it ended
Tell = Callable[[list[Trial], Trial], None]


def run_study(search: Search, attempt: Attempt, tell: Tell) -> list[Trial]:
    """All trials of the study when it has its total, time is up, or nothing is left to draw; `tell` hears of them after
    each one that this process ends, and of that one.

    The first trial is the recipe itself, as far as the space holds its values. The others are drawn by the
    tree-structured Parzen estimator (Bergstra et al. 2011; of several values, Ozaki et al. 2022), which knows of the
    budgets. A trial's draw follows from the seed, its number and the trials before. A process that has none left to
    begin waits for those of the others, and does over what one of them was killed in.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search.folder.mkdir(parents=True, exist_ok=True)
    study = _open(search)
    end = time.monotonic() + 60 * search.minutes if search.minutes else float("inf")
    with _worker(search.folder) as worker:
        while time.monotonic() < end:
            trial = _begin(study, search, worker)
            if trial is not None:
                attempt(study, trial)
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
        storage=JournalStorage(backend), study_name=search.name, directions=search.directions, load_if_exists=True
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
    """The next trial, which is now this process's; None if the study has its total, or nothing is left to draw."""
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
        drawn = study.ask()
        _draw(drawn, search.space)
        if search.distinct and not waiting and any(trial.params == drawn.params for trial in known):
            left = _untried(search.space, known)
            if left is not None:
                study.tell(drawn, state=TrialState.FAIL)  # without a number: nobody hears of it
                if not left:
                    return None
                other = left[np.random.default_rng(seed).integers(len(left))]
                study.enqueue_trial(other, user_attrs={"number": number})
                drawn = study.ask()
                _draw(drawn, search.space)
        drawn.set_user_attr("number", number)
        drawn.set_user_attr("worker", worker)
        return drawn


def _draw(trial: optuna.Trial, space: Space) -> None:
    """Draws what the space holds: what others hang on first, then what their values do not rule out."""
    values: dict[str, Any] = {}
    for key in sorted(space, key=lambda key: space[key].when is not None):
        if key in left_out(space, values):
            continue
        parameter = space[key]
        if parameter.choices is not None:
            drawn: Any = trial.suggest_categorical(key, [json.dumps(choice) for choice in parameter.choices])
            values[key] = json.loads(drawn)
            continue
        low, high = parameter.ends
        if number_type(key) is int:
            values[key] = trial.suggest_int(key, int(low), int(high), log=parameter.log)
        else:
            values[key] = trial.suggest_float(key, low, high, log=parameter.log)


def _untried(space: Space, known: Sequence[FrozenTrial]) -> list[dict[str, str]] | None:
    """What may still be drawn, as Optuna takes it; None where the space holds ranges, or is too large to list."""
    choices = {key: parameter.choices for key, parameter in space.items() if parameter.choices is not None}
    if len(choices) < len(space) or math.prod(map(len, choices.values())) > LISTED:
        return None
    listed: list[dict[str, str]] = []
    for picked in itertools.product(*choices.values()):
        values = dict(zip(choices, picked, strict=True))
        gone = left_out(space, values)
        listed.append({key: json.dumps(value) for key, value in values.items() if key not in gone})
    tried = {json.dumps(trial.params, sort_keys=True) for trial in known}
    by_content = {json.dumps(params, sort_keys=True): params for params in listed}
    return [params for content, params in by_content.items() if content not in tried]


def _put_back(study: optuna.Study, trial: FrozenTrial) -> None:
    """Lets a killed process's trial be done over, by its number and with its values; the store has what was whole."""
    if "number" in trial.user_attrs:
        heard = sorted(trial.intermediate_values.items()) or trial.user_attrs.get("reported", [])
        kept = {"number": trial.user_attrs["number"], "reported": heard}
        study.enqueue_trial(trial.params, user_attrs=kept)
    study.tell(trial.number, state=TrialState.FAIL)


def _known(study: optuna.Study) -> list[FrozenTrial]:
    """By number; without those that were killed, which stand there again."""
    trials = study.get_trials(deepcopy=False)
    known = [t for t in trials if "number" in t.user_attrs and not (t.state == TrialState.FAIL and not _message(t))]
    return sorted(known, key=lambda trial: trial.user_attrs["number"])


def _message(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("message", ""))


def recipe_of(search: Search, drawn: Mapping[str, Any]) -> Recipe:
    """The recipe of a trial for which Optuna drew these. Raises InputError or TargetError where they do not fit."""
    values = _values(drawn, search.space)
    return with_values(search.recipe, values, left_out(search.space, values))


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


STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
    TrialState.RUNNING: "running", TrialState.WAITING: "running",
}  # fmt: skip


def _trials(study: optuna.Study, search: Search) -> list[Trial]:
    found = []
    for trial in _known(study):
        values, state = _values(trial.params, search.space), STATES[trial.state]
        if trial.state == TrialState.COMPLETE:  # whole; told otherwise where Optuna knows no word for it
            state = trial.user_attrs.get("ended", state)
        found.append(
            Trial(
                trial.user_attrs["number"],
                state,
                values,
                trial.values[0] if trial.values and state != "skipped" else None,
                trial.user_attrs.get("figures", {}),
                dict(trial.constraints) if trial.state == TrialState.COMPLETE else {},
                _message(trial),
                left_out(search.space, values),
            )
        )
    return found
