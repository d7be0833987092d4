"""Recipes are read strictly, and every mistake is one clear message."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import USER_ERRORS, InputError
from pipeline.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[2]
READY = sorted((ROOT / "recipes").glob("*.yaml"))


def minimal() -> dict:
    return {
        "schema": 1,
        "name": "mine",
        "task": "image-classification",
        "data": {"source": "image-folder", "path": "pictures"},
        "teacher": {"model": "tf_efficientnet_lite0"},
        "student": {"family": "mobilenetv2"},
    }


def write(tmp_path: Path, content: dict) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize("file", READY, ids=lambda file: file.stem)
def test_ready_recipes_are_valid_and_named_as_their_file(file: Path) -> None:
    assert load_recipe(file).name == file.stem


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, minimal())).data.path == tmp_path / "pictures"


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ("distill", "temprature", 3, "did you mean 'temperature'"),
        ("", "techer", {}, "did you mean 'teacher'"),
        ("distill", "temperature", "hot", "distill.temperature"),
        ("distill", "alpha", 1.5, "less than or equal to 1"),
        ("student", "width", 0.0, "greater than"),
        ("data", "split", {"test": 0.6, "validation": 0.4}, "leave under 10%"),
        ("image", "size", 33, "multiple of 8"),
        ("", "schema", 7, "schema 7 is not known"),
        ("", "task", "poetry", "image-classification"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, place: str, key: str, value: object, message: str) -> None:
    content = minimal()
    (content.setdefault(place, {}) if place else content)[key] = value
    with pytest.raises(USER_ERRORS, match=message):
        load_recipe(write(tmp_path, content))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    content = minimal()
    del content["teacher"]
    with pytest.raises(USER_ERRORS, match="'teacher' is missing"):
        load_recipe(write(tmp_path, content))


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_a_file_that_is_no_recipe_is_one_message(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(USER_ERRORS, match=r"bad\.yaml"):
        load_recipe(file)


def test_a_missing_file_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(USER_ERRORS, match="no such file"):
        load_recipe(tmp_path / "none.yaml")


def test_yaml_that_would_run_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(USER_ERRORS, match="not valid YAML"):
        load_recipe(file)


def test_overrides_change_one_setting(tmp_path: Path) -> None:
    file = write(tmp_path, minimal())
    recipe = load_recipe(file, ("distill.epochs=3", "student.width=0.35", "data.where={kind: a}"))
    assert (recipe.distill.epochs, recipe.student.width, recipe.data.where) == (3, 0.35, {"kind": "a"})


@pytest.mark.parametrize("override", ["distill.epochs", "=3", "name.epochs=3"])
def test_a_malformed_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(InputError, match="--set"):
        load_recipe(write(tmp_path, minimal()), (override,))


@given(st.integers(1, 10000), st.floats(0, 1, allow_nan=False))
def test_a_recipe_survives_a_round_trip(epochs: int, alpha: float) -> None:
    content = minimal() | {"distill": {"epochs": epochs, "alpha": alpha}}
    recipe = Recipe.model_validate(content)
    assert (
        Recipe.model_validate(yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True)))) == recipe
    )


def test_image_augmentation_in_a_text_recipe_is_refused() -> None:
    for part in ("teacher", "distill"):
        with pytest.raises(USER_ERRORS, match="augmentation is for images"):
            load_recipe(ROOT / "recipes/sentiment-tinybert.yaml", (f"{part}.augmentation={{shift: 0.1}}",))
