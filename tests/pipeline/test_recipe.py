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


def test_a_recipe_that_names_no_student_gets_its_tasks(tmp_path: Path) -> None:
    content = minimal()
    content["student"] = {"width": 0.5}
    named = load_recipe(write(tmp_path, content)).student
    assert (named.family, named.width) == ("mobilenetv4_conv_small", 0.5)
    del content["student"]
    assert load_recipe(write(tmp_path, content)).student.family == "mobilenetv4_conv_small"
    content |= {"task": "text-classification"}
    assert load_recipe(write(tmp_path, content)).student.family == "tinybert"


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ("distill", "temprature", 3, "did you mean 'temperature'"),
        ("", "techer", {}, "did you mean 'teacher'"),
        ("distill", "temperature", "hot", "distill.temperature"),
        ("distill", "batch_size", 0, "greater than or equal to 1"),
        ("distill", "alpha", 1.5, "alpha is 1.5, expected 0 to 1"),
        ("distill", "alpha", {"start": 0.5, "end": 2}, "alpha is 0.5 to 2, expected 0 to 1"),
        ("distill", "alpha", {"strat": 0.5, "end": 1}, r"'distill.alpha.strat': did you mean 'start'"),
        ("distill", "alpha", {"start": 0.5}, r"'distill.alpha.end' is missing"),
        ("distill", "refresh", {"by": "mood"}, "distill.refresh.by"),
        ("distill", "layers", {"epochs": 1}, "layers is for texts"),
        ("distill", "assistants", [{"family": "mobilenetv2", "witdh": 1}], "did you mean 'width'"),
        ("teacher", "regularization", {"mixup": -1}, "teacher.regularization.mixup"),
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


def test_a_smaller_vocabulary_is_for_texts(tmp_path: Path) -> None:
    with pytest.raises(USER_ERRORS, match=r"text\.vocabulary is for texts"):
        load_recipe(write(tmp_path, minimal()), ("text.vocabulary=task",))
    with pytest.raises(USER_ERRORS, match="least_count 2 is for vocabulary: task"):
        load_recipe(ROOT / "recipes/sentiment-tinybert.yaml", ("text={least_count: 2}",))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("{start: embeddings, layers: 2, from_layers: [1, 2]}", "from_layers is for start: layers"),
        ("{start: layers, layers: 3, from_layers: [1, 2]}", "names 2 layers, the student has 3"),
        ("{start: layers, layers: 2, from_layers: [2, 2]}", "expected rising numbers from 1"),
        ("{start: layers, layers: 2, from_layers: [0, 2]}", "expected rising numbers from 1"),
    ],
)
def test_layers_to_start_from_that_can_not_be_meant_are_refused(start: str, message: str) -> None:
    override = f"student={start[:-1]}, family: tinybert}}"
    with pytest.raises(USER_ERRORS, match=message):
        load_recipe(ROOT / "recipes/sentiment-tinybert.yaml", (override,))
