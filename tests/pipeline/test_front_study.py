"""Searches over the front with trials whose outcome is known: all of the front found, nothing trained for nothing, and
none the worse for a kill or a second process."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.recipe import Recipe
from pipeline.search.best import Judged
from pipeline.search.front.goals import front_of
from pipeline.search.front.study import FrontJudge, run_front_search
from pipeline.search.result import Trial
from pipeline.settings.search import Hyperparameter
from tests.front_worker import FRONT, OVER, REACHED, judge, price, refuses_squeezenet, search_in
from tests.search_worker import EPOCHS

ROOT = Path(__file__).parents[2]
JUDGE = FrontJudge(price, judge)


def nobody(trials: list[Trial], ended: Trial) -> None:
    """Hears of every trial and says nothing."""


def searched(folder: Path, total: int | None = None, judged: FrontJudge = JUDGE) -> list[Trial]:
    return run_front_search(search_in(folder, total), judged, OVER, nobody)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """Of one process that was left alone until nothing was left to try."""
    return searched(tmp_path_factory.mktemp("alone"))


def start(folder: Path, *, wait: float = 0.0, processes: int = 1, life: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.front_worker", *map(str, (folder, wait, processes, life))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def student_of(trial: Trial) -> tuple[str, float, float]:
    values = trial.values
    return values["student.family"], values.get("student.width", 1.0), values["prune.macs"]


def test_a_space_of_choices_is_tried_once_each_and_its_front_found(trials: list[Trial]) -> None:
    assert sorted(map(student_of, trials)) == sorted(REACHED)
    assert [trial.number for trial in trials] == list(range(1, len(REACHED) + 1))
    assert {student_of(trial) for trial in front_of(trials, OVER)} == FRONT


def test_the_first_trial_is_the_recipe_itself(trials: list[Trial]) -> None:
    assert student_of(trials[0]) == ("mobilenetv2", 0.5, 1.0)


def test_a_width_is_drawn_for_those_that_have_one(trials: list[Trial]) -> None:
    for trial in trials:
        narrow = trial.values["student.family"] == "squeezenet"
        assert ("student.width" in trial.values) is not narrow
        assert trial.unset == (("student.width",) if narrow else ())


def test_what_is_over_a_budget_is_not_trained(tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = searched(tmp_path, judged=FrontJudge(price, lambda recipe, context: judge(recipe, context, log)))
    skipped = [trial for trial in made if trial.state == "skipped"]
    assert {student_of(trial)[1] for trial in skipped} == {2.0}
    assert all(trial.accuracy is None and trial.missed == ("size_mb",) for trial in skipped)
    assert "2.0" not in log.read_text()


def test_what_falls_behind_is_given_up_and_leaves_nothing_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, log = ("mobilenetv2", 1.0, 1.0), tmp_path / "log"
    monkeypatch.setitem(REACHED, slow, (0.3, 4.0, 1.4))  # dearer than most, and learns less than all
    made = searched(tmp_path, judged=FrontJudge(price, lambda recipe, context: judge(recipe, context, log)))
    (given_up,) = [trial for trial in made if student_of(trial) == slow]
    assert sum(trial.state == "done" for trial in made[: given_up.number - 1]) >= 2, "drawn too early to be compared"
    assert (given_up.state, given_up.accuracy) == ("pruned", pytest.approx(0.3 / EPOCHS))
    assert f"{slow} {EPOCHS - 1}" not in log.read_text()
    assert not list((tmp_path / ".store").rglob("*.partial"))


def test_a_student_that_can_not_be_made_is_counted_and_the_search_goes_on(tmp_path: Path) -> None:
    made = searched(tmp_path, judged=FrontJudge(refuses_squeezenet, judge))
    failed = [trial for trial in made if trial.state == "failed"]
    assert {trial.values["student.family"] for trial in failed} == {"squeezenet"}
    assert {trial.message for trial in failed} == {"squeezenet holds an operator that the target must not see"}
    assert {student_of(trial) for trial in front_of(made, OVER)} == {one for one in FRONT if one[0] == "mobilenetv2"}


def test_trials_end_a_search_and_a_later_one_goes_on_to_the_same(tmp_path: Path, trials: list[Trial]) -> None:
    assert searched(tmp_path, 4) == trials[:4]
    assert searched(tmp_path) == trials
    assert searched(tmp_path, 4) == trials


def test_another_seed_tries_in_another_order(tmp_path: Path, trials: list[Trial]) -> None:
    other = run_front_search(search_in(tmp_path, 6, seed=1), JUDGE, OVER, nobody)
    assert list(map(student_of, other)) != list(map(student_of, trials[:6]))


def test_ranges_are_searched_too(tmp_path: Path) -> None:
    space = {"distill.alpha": Hyperparameter(low=0.1, high=0.9), "prune.macs": Hyperparameter(choices=(0.5, 1.0))}
    made = run_front_search(replace(search_in(tmp_path, 5), space=space), JUDGE, OVER, nobody)
    assert len({trial.values["distill.alpha"] for trial in made}) == 5


def test_a_killed_search_goes_on_to_the_same_trials(tmp_path: Path, trials: list[Trial]) -> None:
    process = start(tmp_path, life=2 * EPOCHS + 2)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    half_made = list((tmp_path / ".store/student").glob("*.partial"))
    assert len(half_made) == 1
    before = (tmp_path / "log").read_text().splitlines()
    log = tmp_path / "log"
    made = searched(tmp_path, judged=FrontJudge(price, lambda recipe, context: judge(recipe, context, log)))
    assert made == trials
    lines = log.read_text().splitlines()
    assert lines[: len(before)] == before
    assert len(set(lines)) == len(lines), "an epoch that was whole was trained again"


def test_processes_share_a_front(tmp_path: Path) -> None:
    processes = [start(tmp_path, wait=0.2, processes=2) for _ in range(2)]
    answers = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(answers), "one process did everything"
    assert sorted(int(number) for answer in answers for number in answer) == list(range(1, len(REACHED) + 1))
    made = searched(tmp_path)
    assert sorted(map(student_of, made)) == sorted(REACHED)
    assert {student_of(trial) for trial in front_of(made, OVER)} == FRONT


def test_a_defect_is_no_failed_trial(tmp_path: Path) -> None:
    def breaks(recipe: Recipe, context: RunContext) -> Judged:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        searched(tmp_path, 1, FrontJudge(price, breaks))
    assert [trial.state for trial in searched(tmp_path, 1)] == ["done"]


def test_a_training_that_diverges_is_a_failed_trial(tmp_path: Path) -> None:
    def diverges(recipe: Recipe, context: RunContext) -> Judged:
        raise InputError("training diverged: the loss became nan")

    (made,) = searched(tmp_path, 1, FrontJudge(price, diverges))
    assert (made.state, made.message) == ("failed", "training diverged: the loss became nan")
