"""How a trial goes in a search for the best: trained, judged, and given up on the way where it is poor."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.context import RunContext
from pipeline.errors import USER_ERRORS
from pipeline.recipe import Recipe
from pipeline.results import EpochRecord
from pipeline.search.result import Trial
from pipeline.search.study import Search, Tell, recipe_of, run_study
from pipeline.store import Store

UNJUDGED = 5  # trials within the budgets before any other is given up
WARM_UP = 1 / 3  # of a training, in which none is given up


@dataclass(frozen=True)
class Judged:
    """What a trial's recipe came to. `accuracy` in [0, 1] of the validation split; `figures` and `excess` as
    `pipeline.search.result.Trial` has them; `curve`: the validation accuracy after each epoch of the student."""

    accuracy: float
    figures: dict[str, float]
    excess: dict[str, float]
    curve: tuple[float, ...] = ()


Judge = Callable[[Recipe, RunContext], Judged]


def run_search(search: Search, judge: Judge, tell: Tell) -> list[Trial]:
    """The trials of a search for the most accurate recipe within the budgets: see `run_study`."""
    return run_study(search, lambda study, trial: _try(study, trial, search, judge), tell)


def _try(study: optuna.Study, trial: optuna.Trial, search: Search, judge: Judge) -> None:
    """Runs the trial and tells the study how it ended. What is wrong with its values fails the trial alone."""
    reported = {int(step): float(value) for step, value in trial.user_attrs.get("reported", [])}
    for step, value in reported.items():  # heard before the process was killed
        trial.report(value, step)
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
        recipe = recipe_of(search, trial.params)
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
