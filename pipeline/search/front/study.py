"""How a trial goes in a search over the front: its costs first, then short of the whole training if it falls behind.

Optuna's pruners judge one value; these three rules stand in for them. A student that can't be made is not tried. One
whose untrained file is over a budget of the target is not trained. One that learns slower than others that cost no more
is given up on the way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from pipeline.context import RunContext
from pipeline.errors import USER_ERRORS
from pipeline.recipe import Recipe
from pipeline.results import EpochRecord
from pipeline.search.best import Judged
from pipeline.search.front.goals import COSTS, MARGIN, WARM_UP, is_behind
from pipeline.search.result import State, Trial
from pipeline.search.study import Search, Tell, recipe_of, run_study
from pipeline.settings.search import Goal
from pipeline.store import Store


@dataclass(frozen=True)
class Costs:
    """`figures` and `excess` as `pipeline.search.result.Trial` has them."""

    figures: dict[str, float]
    excess: dict[str, float]


@dataclass(frozen=True)
class FrontJudge:
    """`price`: what the files of a recipe's student cost, before it is trained. `judge`: what they came to."""

    price: Callable[[Recipe, RunContext], Costs]
    judge: Callable[[Recipe, RunContext], Judged]


class _Behind(Exception):
    """The student will hardly reach the front."""


def run_front_search(search: Search, judge: FrontJudge, over: Sequence[Goal], tell: Tell) -> list[Trial]:
    """The trials of a search over `over`, which begins with accuracy: see `run_study`."""
    return run_study(search, lambda study, trial: _try(study, trial, search, judge, over), tell)


def _try(study: optuna.Study, trial: optuna.Trial, search: Search, judge: FrontJudge, over: Sequence[Goal]) -> None:
    """Runs the trial and tells the study how it ended. What is wrong with its values fails the trial alone. A student
    that was not judged whole is told to the sampler all the same, as the accuracy that it had and what it costs."""
    heard = {int(step): float(value) for step, value in trial.user_attrs.get("reported", [])}
    patient = "distill.epochs" in search.space  # the same epoch of trainings of different lengths does not compare

    def hear(stage: str, phase: str, record: EpochRecord) -> None:
        if (stage, phase) != ("student", "training"):
            return
        if record.epoch not in heard:
            heard[record.epoch] = record.validation_accuracy
            trial.set_user_attr("reported", sorted(heard.items()))
        if not patient and record.epoch + 1 >= WARM_UP * recipe.distill.epochs:
            reached = max(value for epoch, value in heard.items() if epoch <= record.epoch)
            if is_behind(reached, costs.figures, _others(study, record.epoch), over):
                raise _Behind

    def end(state: State, accuracy: float, known: Costs) -> None:
        trial.set_user_attr("ended", state)
        trial.set_user_attr("figures", known.figures)
        for budget, excess in known.excess.items():
            trial.set_constraint(budget, excess)
        study.tell(trial, [accuracy, *(known.figures[COSTS[goal]] for goal in over if goal in COSTS)])

    store = Store(search.store, discards=(_Behind, *USER_ERRORS))
    try:
        recipe = recipe_of(search, trial.params)
        context = RunContext(store, search.reporter, recipe.seed, recipe.threads)
        costs = judge.price(recipe, context)
        if any(excess > MARGIN for excess in costs.excess.values()):
            end("skipped", 0.0, costs)
            return
        judged = judge.judge(recipe, RunContext(store, search.reporter, recipe.seed, recipe.threads, hear))
    except _Behind:
        end("pruned", max(heard.values()), costs)
    except USER_ERRORS as error:
        trial.set_user_attr("message", str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        first = recipe.distill.layers.epochs if recipe.distill.layers is not None else 0
        for epoch, value in enumerate(judged.curve[first:]):  # a student that the store had was not heard of
            heard.setdefault(epoch, value)
        trial.set_user_attr("reported", sorted(heard.items()))
        end("done", judged.accuracy, Costs(judged.figures, judged.excess))


def _others(study: optuna.Study, epoch: int) -> list[tuple[float, dict[str, float]]]:
    """Of the students that were trained whole: the accuracy after `epoch`, the best so far, and what they cost."""
    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        reported = [(step, value) for step, value in trial.user_attrs.get("reported", []) if step <= epoch]
        if trial.user_attrs.get("ended") == "done" and any(step == epoch for step, _ in reported):
            found.append((max(value for _, value in reported), trial.user_attrs["figures"]))
    return found
