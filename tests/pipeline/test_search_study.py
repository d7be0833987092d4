"""Studies: drawn from the seed, kept on disk, shared by processes, and none the worse for a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.recipe import Recipe
from pipeline.search.best import Judge, Judged, run_search
from pipeline.search.result import Trial, best_trial, closest_trial
from pipeline.search.study import Search
from tests.search_worker import EPOCHS, SPACE, judge, search_in

ROOT = Path(__file__).parents[2]
TOTAL = 14


def nobody(trials: list[Trial], ended: Trial) -> None:
    """Hears of every trial and says nothing."""


def searched(folder: Path, total: int = TOTAL, judged: Judge = judge) -> list[Trial]:
    return run_search(search_in(folder, total), judged, nobody)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """Of one process that was left alone."""
    return searched(tmp_path_factory.mktemp("alone"))


def start(folder: Path, *, total: int, wait: float = 0.0, processes: int = 1, life: int = 0) -> "subprocess.Popen[str]":
    """One of several `processes`, which begin together; a trial takes it `wait` seconds, and it is killed after
    hearing of `life` epochs."""
    command = [sys.executable, "-m", "tests.search_worker", *map(str, (folder, total, wait, processes, life))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_the_first_trial_is_the_recipe_as_far_as_the_space_holds_it(trials: list[Trial]) -> None:
    assert trials[0].values["distill.temperature"] == 6.0
    assert trials[0].values["student.width"] in SPACE["student.width"].choices  # its own, 1.0, is none of them


def test_every_trial_is_within_the_space_and_numbered(trials: list[Trial]) -> None:
    assert [trial.number for trial in trials] == list(range(1, TOTAL + 1))
    assert len({tuple(trial.values.values()) for trial in trials}) > TOTAL / 2
    for trial in trials:
        temperature = trial.values["distill.temperature"]
        assert 1 <= temperature <= 8
        assert temperature == float(f"{temperature:.4g}")
        assert trial.values["student.width"] in (0.35, 0.5, 0.75)


def test_what_is_over_a_budget_is_never_the_best(trials: list[Trial]) -> None:
    over = [trial for trial in trials if trial.missed]
    best = best_trial(trials)
    assert best is not None
    assert over
    assert best.values["student.width"] < 0.75
    assert best.accuracy == max(trial.accuracy or 0 for trial in trials if trial.feasible)
    assert all(trial.figures["size_mb"] == 1.5 and trial.missed == ("size_mb",) for trial in over)


def test_poor_trials_are_given_up_and_leave_nothing_in_the_store(tmp_path: Path) -> None:
    made = searched(tmp_path, 30)
    given_up = [trial for trial in made if trial.state == "pruned"]
    assert given_up
    whole = [trial for trial in made if trial.state == "done"]
    fitting = [trial.accuracy or 0 for trial in whole if trial.feasible]
    for trial in given_up:
        assert 0 < (trial.accuracy or 0) < max(fitting)
        assert not trial.figures
    assert not list((tmp_path / ".store").rglob("*.partial"))
    assert not list((tmp_path / ".store").rglob("*.lock"))
    kept = {(trial.values["distill.temperature"], trial.values["student.width"]) for trial in whole}
    assert len(list((tmp_path / ".store").rglob("result.json"))) == len(kept)


def test_trials_over_a_budget_do_not_judge_others() -> None:
    from types import SimpleNamespace

    from pipeline.search.best import is_poor

    others = [SimpleNamespace(intermediate_values={0: 0.1, 1: value}) for value in (0.5, 0.6, 0.7, 0.8, 0.9)]
    assert is_poor({0: 0.1, 1: 0.69}, 1, others)  # type: ignore[arg-type]
    assert not is_poor({0: 0.1, 1: 0.7}, 1, others)  # type: ignore[arg-type]
    assert not is_poor({0: 0.75, 1: 0.1}, 1, others)  # type: ignore[arg-type]
    assert not is_poor({0: 0.1, 1: 0.1}, 1, others[:4])  # type: ignore[arg-type]
    assert not is_poor({0: 0.1, 2: 0.1}, 2, others)  # type: ignore[arg-type]


def test_a_trial_that_can_not_be_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    def diverges(recipe: Recipe, context: RunContext) -> Judged:
        if recipe.student.width == 0.5:
            raise InputError("training diverged: the loss became nan")
        return judge(recipe, context)

    made = searched(tmp_path, TOTAL, diverges)
    failed = [trial for trial in made if trial.state == "failed"]
    assert failed
    assert {trial.values["student.width"] for trial in failed} == {0.5}
    assert {trial.message for trial in failed} == {"training diverged: the loss became nan"}
    assert len(made) == TOTAL
    assert best_trial(made) is not None


def test_a_defect_is_no_failed_trial(tmp_path: Path) -> None:
    def breaks(recipe: Recipe, context: RunContext) -> Judged:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        searched(tmp_path, 3, breaks)
    assert [trial.state for trial in searched(tmp_path, 3)] == ["done"] * 3


def test_the_same_seed_is_the_same_study(tmp_path: Path, trials: list[Trial]) -> None:
    assert searched(tmp_path / "again") == trials
    other = run_search(search_in(tmp_path / "other", 4, seed=1), judge, nobody)
    assert [trial.values for trial in other] != [trial.values for trial in trials[:4]]


def test_a_study_goes_on_to_its_total_as_if_it_had_not_stopped(tmp_path: Path, trials: list[Trial]) -> None:
    assert searched(tmp_path, 6) == trials[:6]
    heard: list[int] = []
    whole = run_search(search_in(tmp_path, TOTAL), judge, lambda known, ended: heard.append(ended.number))
    assert whole == trials
    assert heard == list(range(7, TOTAL + 1))
    assert searched(tmp_path, 3) == trials


def test_another_name_is_another_study_in_the_same_file(tmp_path: Path) -> None:
    from dataclasses import replace

    first = searched(tmp_path, 2)
    other = replace(search_in(tmp_path, 2), name="other", space={"student.width": SPACE["student.width"]})
    assert all(set(trial.values) == {"student.width"} for trial in run_search(other, judge, nobody))
    assert searched(tmp_path, 2) == first


def test_time_ends_a_search(tmp_path: Path) -> None:
    from dataclasses import replace

    def slow(recipe: Recipe, context: RunContext) -> Judged:
        time.sleep(0.06)
        return judge(recipe, context)

    timed: Search = replace(search_in(tmp_path, TOTAL), total=None, minutes=0.05 / 60)
    assert len(run_search(timed, slow, nobody)) == 1


def test_a_killed_search_goes_on_to_the_same_trials(tmp_path: Path, trials: list[Trial]) -> None:
    process = start(tmp_path, total=TOTAL, life=2 * EPOCHS + 2)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    store = tmp_path / ".store" / "student"
    assert len(list(store.glob("*/result.json"))) == 2
    half_made = list(store.glob("*.partial"))
    assert len(half_made) == 1
    assert (half_made[0] / "resume/1").exists()
    assert searched(tmp_path) == trials
    assert not half_made[0].exists()


def test_a_torn_line_of_the_study_is_cut_off(tmp_path: Path, trials: list[Trial]) -> None:
    searched(tmp_path, 3)
    with (tmp_path / "search/journal.log").open("a") as journal:
        journal.write('{"op_code":5,"worker')
    assert searched(tmp_path, 5) == trials[:5]
    assert searched(tmp_path, 7) == trials[:7]


def test_processes_share_a_study_and_what_its_trials_build_on(tmp_path: Path) -> None:
    processes = [start(tmp_path, total=8, wait=0.3, processes=2) for _ in range(2)]
    answers = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(int(number) for answer in answers for number in answer) == list(range(1, 9))
    assert all(answers), "one process did everything"
    assert (tmp_path / "log").read_text() == "made\n"
    assert {trial.state for trial in searched(tmp_path, 8)} <= {"done", "pruned"}
    assert not list((tmp_path / "search/.workers").iterdir())


def test_the_closest_trial_is_least_over_its_budgets() -> None:
    far = Trial(1, "done", {}, 0.9, {"size_mb": 3.0}, {"size_mb": 2.0, "latency_ms.p90": -0.5})
    near = Trial(2, "done", {}, 0.7, {"size_mb": 1.1}, {"size_mb": 0.1, "latency_ms.p90": 0.2})
    pruned = Trial(3, "pruned", {}, 0.95)
    assert best_trial([far, near, pruned]) is None
    assert closest_trial([far, near, pruned]) == near
    assert near.missed == ("size_mb", "latency_ms.p90")
