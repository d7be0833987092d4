"""What a search varies is read strictly, and a recipe that names nothing gets a space that fits it."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import USER_ERRORS, InputError
from pipeline.recipe import Recipe, load_recipe, set_setting
from pipeline.search.result import Trial, write_best
from pipeline.search.space import check_space, default_space, number_type, outermost, rounded, with_values
from pipeline.settings.search import Hyperparameter

ROOT = Path(__file__).parents[2]
READY = sorted((ROOT / "recipes").glob("*.yaml"))
SENTIMENT = ROOT / "recipes/sentiment-tinybert.yaml"


def content(**parts: Any) -> dict[str, Any]:
    return {
        "schema": 1, "name": "mine", "task": "image-classification",
        "data": {"source": "image-folder", "path": "pictures"}, "teacher": {"model": "tf_efficientnet_lite0"},
        "student": {"family": "mobilenetv2"}, **parts,
    }  # fmt: skip


def read(tmp_path: Path, **parts: Any) -> Recipe:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content(**parts)))
    return load_recipe(file)


@pytest.mark.parametrize(
    ("key", "parameter", "message"),
    [
        ("distill.temprature", {"low": 1, "high": 2}, "unknown key 'distill.temprature': did you mean 'temperature'"),
        ("distil.temperature", {"low": 1, "high": 2}, "did you mean 'distill'"),
        ("teacher.epochs", {"low": 1, "high": 2}, "trials share data and teacher"),
        ("seed", {"low": 1, "high": 2}, "trials share data and teacher"),
        ("text.sequence_length", {"choices": [32, 64]}, "trials share data and teacher"),
        ("student.width", {"low": 0.01, "high": 1}, "student.width 0.01: .*greater than 0.1"),
        ("student.width", {"low": 0.5, "high": 3}, "student.width 3.0: .*less than or equal to 2"),
        ("distill.batch_size", {"low": 8, "high": 32.5}, "takes whole numbers, found 32.5"),
        ("distill.mode", {"low": 1, "high": 2}, "is no number: give choices"),
        ("distill.augmentation.mirror", {"low": 0, "high": 1}, "is no number: give choices"),
        ("distill.mode", {"choices": ["cached", "onlin"]}, "distill.mode onlin"),
        ("distill.mode", {"choices": ["cached"]}, "at least 2 items"),
        ("distill.mode", {"choices": ["cached", "mixed"]}, "mode mixed shows new views"),
        ("distill.temperature", {"lo": 1, "high": 2}, "did you mean 'low'"),
        ("distill.temperature", {"low": 1}, "give low and high, or choices"),
        ("distill.temperature", {"low": 2, "high": 2}, "low 2 is not under high 2"),
        ("distill.temperature", {"low": 1, "high": 2, "choices": [1, 2]}, "choices stand alone"),
        ("distill.alpha", {"low": 0, "high": 1, "log": True}, "needs a low above 0"),
        ("distill.temperature.start", {"low": 1, "high": 2}, "temperature.end' is missing"),
        ("distill.features.0.weight", {"low": 1, "high": 2}, "distill.features"),
    ],
)
def test_what_can_not_be_searched_is_refused_when_the_recipe_is_read(
    tmp_path: Path, key: str, parameter: dict[str, Any], message: str
) -> None:
    with pytest.raises(USER_ERRORS, match=message):
        read(tmp_path, search={"space": {key: parameter}})


def test_one_key_may_not_hold_another(tmp_path: Path) -> None:
    ramp = {"start": 8, "end": 2}
    keys = {"distill.temperature": {"low": 1, "high": 2}, "distill.temperature.start": {"low": 1, "high": 2}}
    with pytest.raises(USER_ERRORS, match=r"'distill\.temperature\.start' is a part of 'distill\.temperature'"):
        read(tmp_path, distill={"temperature": ramp}, search={"space": keys})


def test_keys_reach_into_lists_and_ramps(tmp_path: Path) -> None:
    match = {"student": "blocks.3", "teacher": "blocks.4"}
    space = {
        "distill.features.1.weight": {"low": 0.1, "high": 10, "log": True},
        "distill.temperature.start": {"low": 4, "high": 8},
    }
    recipe = read(
        tmp_path,
        distill={"features": [match, match], "temperature": {"start": 8, "end": 2}},
        search={"space": space},
    )
    changed = with_values(recipe, {"distill.features.1.weight": 3.0, "distill.temperature.start": 5.0})
    assert [found.weight for found in changed.distill.features] == [1.0, 3.0]
    assert changed.distill.temperature.start == 5.0  # type: ignore[union-attr]
    assert changed.data.path == tmp_path / "pictures"
    with pytest.raises(InputError, match=r"distill.features.2.weight: '2' is no number from 0 to 1"):
        with_values(recipe, {"distill.features.2.weight": 3.0})


def test_ranges_take_the_type_of_their_setting() -> None:
    assert number_type("student.layers") is int
    assert number_type("student.hidden") is int  # or None
    assert number_type("distill.temperature") is float  # or a ramp
    assert number_type("distill.layers.weight") is float
    assert number_type("distill.layers.layer_map") is None
    assert outermost("student.layers", Hyperparameter(low=2, high=6)) == (2, 6)
    assert all(isinstance(end, int) for end in outermost("student.layers", Hyperparameter(low=2, high=6)))


def test_numbers_are_rounded_within_their_range() -> None:
    narrow = Hyperparameter(low=0.00012344, high=0.00045678)
    assert rounded(0.000234567, narrow) == 0.0002346
    assert rounded(0.00045678, narrow) == 0.00045678
    assert rounded(0.00012344, narrow) == 0.00012344


@pytest.mark.parametrize("file", READY, ids=lambda file: file.stem)
def test_ready_recipes_have_a_space_that_fits_them(file: Path) -> None:
    recipe = load_recipe(file)
    space = default_space(recipe)
    check_space(recipe, space)
    assert {"distill.temperature", "distill.alpha", "distill.learning_rate"} < set(space)
    size = "student.width" if recipe.task == "image-classification" else "student.layers"
    assert size in space
    for key in ("distill.temperature", "distill.learning_rate"):
        low, high = space[key].ends
        part, name = key.split(".")
        assert low < getattr(getattr(recipe, part), name) < high


@pytest.mark.parametrize(
    ("overrides", "there", "not_there"),
    [
        (("distill.loss=mse",), "distill.alpha", "distill.temperature"),
        (("distill.temperature={start: 8, end: 2}",), "distill.temperature.start", "distill.temperature"),
        (("distill.layers={weight: 0.5}",), "distill.layers.weight", "distill.features.0.weight"),
        (("distill.layers={epochs: 1}",), "student.layers", "distill.layers.weight"),
        (("student.from_layers=[1, 3, 4, 6]",), "distill.alpha", "student.layers"),
        (("student.feed_forward=600",), "student.feed_forward", "student.width"),
        (("student={family: bilstm, hidden: 128}",), "student.hidden", "student.layers"),
    ],
)
def test_the_own_space_follows_what_the_recipe_uses(overrides: tuple[str, ...], there: str, not_there: str) -> None:
    recipe = load_recipe(SENTIMENT, overrides)
    space = default_space(recipe)
    check_space(recipe, space)
    assert there in space
    assert not_there not in space


def test_overrides_reach_into_lists() -> None:
    changed = content(distill={"features": [{"student": "a", "teacher": "b"}]})
    set_setting(changed, "distill.features.0.weight", 2)
    assert changed["distill"]["features"] == [{"student": "a", "teacher": "b", "weight": 2}]
    with pytest.raises(InputError, match="'1' is no number from 0 to 0"):
        set_setting(changed, "distill.features.1.weight", 2)


def test_the_best_recipe_keeps_what_its_author_wrote_and_where_its_paths_lead(tmp_path: Path) -> None:
    home = tmp_path / "recipes"
    home.mkdir()
    file = home / "mine.yaml"
    written = content(
        student={"family": "mobilenetv2", "weights": "./imagenet.pth"},
        teacher={"model": "onnx:teachers/ours.onnx", "epochs": 0},
        search={"trials": 5},
        targets=["pixel8", "rpi4"],
    )
    file.write_text(yaml.safe_dump(written, sort_keys=False))
    trials = [
        Trial(1, "done", {"distill.alpha": 0.4}, 0.91, {"size_mb": 1.0}, {"size_mb": -0.5}),
        Trial(2, "done", {"distill.alpha": 0.6}, 0.95, {"size_mb": 3.0}, {"size_mb": 0.5}),
        Trial(3, "pruned", {"distill.alpha": 0.1}, 0.3),
        Trial(4, "failed", {"distill.alpha": 0.2}, message="diverged"),
    ]
    folder = tmp_path / "out/mine/search/pixel8"
    folder.mkdir(parents=True)
    best = write_best(trials, {"size_mb": 2.0}, file, ("distill.epochs=7",), "pixel8", folder)
    assert best is not None
    found, given = load_recipe(best), load_recipe(file)
    assert found.distill == given.distill.model_copy(update={"epochs": 7, "alpha": 0.4})
    assert (found.data, found.teacher, found.student) == (given.data, given.teacher, given.student)
    assert found.targets == ("pixel8",)
    text = best.read_text()
    assert os.fspath(tmp_path) not in text
    assert "search:" not in text
    assert "best of 4 trials for pixel8 (1 done, 1 over budget, 1 pruned, 1 failed): trial 1" in text
    assert "91.00% on the validation split, size 1.00 MB" in text
    assert write_best(trials[1:], {"size_mb": 2.0}, file, (), "pixel8", folder) is None
    assert not best.exists()
