"""`edgepress search` end to end on a few hundred digits: a recipe to run, a table, a picture, and the test split
untouched."""

import csv
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.recipe import Recipe, load_recipe
from pipeline.results import ExportedFile, PreparedData
from pipeline.search import ground, trial
from pipeline.store import file_sha256
from tests.emulated_core import Core
from tests.search_folder import call, search_folder

FILES = ("best.yaml", "trials.csv", "search.svg")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, digits: PreparedData) -> Path:
    space = {"distill.temperature": {"low": 1, "high": 8}}
    return search_folder(tmp_path_factory.mktemp("search"), digits, {"trials": 1, "space": space})


def search(place: Path, *more: str) -> tuple[int, str, str]:
    return call("search", str(place / "digits.yaml"), "--out", str(place / "out"), *more)


@pytest.fixture(scope="module")
def made(place: Path) -> Path:
    code, text, lines = search(place, "--no-latency")
    assert code == 0, text
    assert "best.yaml: a recipe for edgepress run" in text
    assert "trial 1: " in lines
    assert "1 of 1 done, about 0 s left" in lines
    return place / "out/digits/search/tiny"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_the_result_is_a_recipe_to_run(place: Path, made: Path) -> None:
    best, given = load_recipe(made / "best.yaml"), load_recipe(place / "digits.yaml")
    assert best.model_copy(update={"search": given.search}) == given  # whose own values the first trial has
    code, text, _ = call("plan", str(made / "best.yaml"), "--json")
    assert code == 0
    assert json.loads(text)
    assert str(place) not in yaml.safe_dump(yaml.safe_load((made / "best.yaml").read_text())["teacher"])


def test_the_head_of_the_recipe_tells_what_it_came_from(made: Path) -> None:
    head = " ".join(line for line in (made / "best.yaml").read_text().splitlines() if line.startswith("#"))
    best = max(float(row["validation_accuracy"]) for row in rows(made))
    assert "best of 1 trial for tiny (1 done): trial 1." in head
    assert f"{best:.2%} on the validation split" in head
    assert "size at most 2.5 MB" in head


def test_trials_are_judged_by_the_file_that_ships_on_the_validation_split(made: Path, place: Path) -> None:
    store = place / "out/.store"
    assert not (store / "validate").exists()  # which judges on the test split
    counts = json.loads(next(store.glob("data/*/result.json")).read_text())["counts"]
    samples = sum(counts["validation"].values())
    for row in rows(made):
        right = float(row["validation_accuracy"]) * samples
        assert right == pytest.approx(round(right))
    sizes = {json.loads(file.read_text())["bytes"] / 1e6 for file in store.glob("metadata/*/result.json")}
    assert {float(row["size_mb"]) for row in rows(made)} <= sizes


def test_the_picture_is_one_and_shows_the_budget(made: Path) -> None:
    text = (made / "search.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "size budget" in text
    assert "digits for tiny" in text


def test_a_second_call_makes_nothing_and_the_same_bytes(made: Path, place: Path) -> None:
    before = {name: file_sha256(made / name) for name in FILES}
    times = {file: file.stat().st_mtime_ns for file in (place / "out/.store").rglob("result.json")}
    code, text, _ = search(place, "--no-latency", "--json")
    assert code == 0
    answer = json.loads(text)
    assert [trial["number"] for trial in answer["trials"]] == [1]
    assert answer["best"]["feasible"]
    assert {name: file_sha256(made / name) for name in FILES} == before
    assert {file: file.stat().st_mtime_ns for file in (place / "out/.store").rglob("result.json")} == times


def test_no_trial_within_the_budgets_is_exit_code_1_and_names_the_closest(made: Path, place: Path) -> None:
    code, text, _ = search(place, "--no-latency", "--trials", "1", "--set", "budgets={size_mb: 0.01}")
    assert code == 1
    assert "no trial keeps to the budgets of tiny (1 over budget)" in text
    assert "closest is trial 1, which misses size" in text
    assert "over the size budget of 0.01 MB" in text
    assert not (made / "best.yaml").exists()
    assert search(place, "--no-latency", "--quiet")[0] == 0  # the study with the target's own budget is still there
    assert (made / "best.yaml").exists()


def test_latency_is_a_budget_where_it_is_measured(made: Path, place: Path) -> None:
    code, text, _ = search(place, "--trials", "1", "--json")
    answer = json.loads(text)
    assert code == 0
    assert answer["budgets"] == {"size_mb": 2.5, "latency_ms.p90": 1000}
    assert 0 < answer["best"]["figures"]["latency_ms.p90"] < 1000
    assert answer["best"]["excess"]["latency_ms.p90"] < 0


def test_instructions_are_a_budget_where_they_are_counted(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Core(monkeypatch).total = 40_000_000
    monkeypatch.setattr(ground, "refuse_unready", lambda: None)
    profile = yaml.safe_load((place / "tiny.yaml").read_text()) | {"id": "counted", "isa": ["neon"]}
    profile["cores"] = [{"uarch": "Cortex-A72", "count": 4, "ghz": 1.5, "big": True}]
    (tmp_path / "counted.yaml").write_text(yaml.safe_dump(profile))

    def within(millions: float) -> tuple[int, str]:
        budget = ("--set", f"budgets={{instructions_m: {millions:g}}}")
        return search(place, "--target", str(tmp_path / "counted.yaml"), "--trials", "1", *budget)[:2]

    code, text = within(50)
    assert code == 0, text
    assert "instructions 40.0 million" in text
    code, text = within(39)
    assert code == 1
    assert "over the instructions budget of 39 million" in text


def test_trials_share_data_teacher_and_cache(made: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = trial.make_files, list[float]()

    def fails_at_second(recipe: Recipe, *more: Any) -> list[list[ExportedFile]]:
        calls.append(recipe.distill.alpha)  # type: ignore[arg-type]
        if len(calls) == 2:
            raise InputError("too small a disk")
        return real(recipe, *more)

    monkeypatch.setattr(trial, "make_files", fails_at_second)
    space = "search.space={distill.alpha: {low: 0.1, high: 0.9}}"
    code, text, _ = search(place, "--no-latency", "--trials", "2", "--set", space, "--json")
    assert code == 0
    assert [(found["state"], found["message"]) for found in json.loads(text)["trials"]] == [
        ("done", ""),
        ("failed", "too small a disk"),
    ]
    assert calls[0] == 0.7 != calls[1]
    for stage, number in (("data", 1), ("teacher", 1), ("teacher-cache", 1), ("student", 2), ("export", 1)):
        folders = [folder for folder in (place / "out/.store" / stage).iterdir() if folder.is_dir()]
        assert len(folders) == number, stage


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--set", "search.space={distill.temprature: {low: 1, high: 2}}"), "did you mean 'temperature'"),
        (("--set", "search.space={student.family: {choices: [mobilenetv2, tinybert]}}"), "is for text-classification"),
        (("--trials", "0"), "greater than or equal to 1"),
        (("--target", "nowhere"), "unknown target 'nowhere'"),
    ],
)
def test_what_can_not_be_searched_is_one_message(place: Path, more: tuple[str, ...], message: str) -> None:
    code, _, lines = search(place, "--no-latency", *more)
    assert code == 2
    assert message in lines


def test_without_optuna_the_extra_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in [name for name in sys.modules if name.startswith("pipeline.search.")]:
        monkeypatch.delitem(sys.modules, name)
    code, _, lines = search(place)
    assert code == 2
    assert "pip install 'edgepress[search]'" in lines
