"""The plan says what will happen and refuses what a target can't take, before anything runs."""

from pathlib import Path

import pytest
import yaml

from pipeline.errors import USER_ERRORS, InputError
from pipeline.plan import describe_plan, make_plan
from pipeline.recipe import load_recipe
from pipeline.student import student_family
from targets.errors import TargetError
from targets.profile import PROFILES, profile_names

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "recipes/digits-mobilenet.yaml"
SENTIMENT = ROOT / "recipes/sentiment-tinybert.yaml"


def test_every_ready_recipe_can_be_planned_for_its_own_targets() -> None:
    for file in (ROOT / "recipes").glob("*.yaml"):
        plan = make_plan(load_recipe(file), ())
        assert len(plan.targets) >= 3
        assert all(target.files for target in plan.targets)


@pytest.mark.parametrize("name", profile_names())
def test_every_target_gets_files_of_its_own_scheme(name: str) -> None:
    plan = make_plan(load_recipe(DIGITS), (name,))
    (target,) = plan.targets
    assert target.profile.id == name
    assert {file.format for file in target.files} == {runtime.format for runtime in target.profile.runtimes}
    assert all(file.name == f"model.{target.quantization.label}.{file.format}" for file in target.files)


def test_a_hard_swish_student_is_refused_for_an_int8_target_with_an_alternative() -> None:
    recipe = load_recipe(DIGITS, ("student.family=mobilenetv3_small",))
    with pytest.raises(InputError, match=r"hard-swish.*pixel8.*adapt: auto.*mobilenetv3_small_minimal"):
        make_plan(recipe, ("pixel8",))


def test_the_same_student_is_welcome_where_nothing_bans_it() -> None:
    recipe = load_recipe(DIGITS, ("student.family=mobilenetv3_small",))
    assert make_plan(recipe, ("iphone15",)).family.name == "mobilenetv3_small"


def test_a_text_model_is_refused_for_a_target_that_takes_none() -> None:
    with pytest.raises(InputError, match="coral_dev takes no models for text-classification"):
        make_plan(load_recipe(SENTIMENT), ("coral_dev",))


@pytest.mark.parametrize(("name", "near"), [("pixel9", "pixel8"), ("rpi", "rpi")])
def test_an_unknown_target_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(TargetError, match=f"unknown target '{name}'.*{near}"):
        make_plan(load_recipe(DIGITS), (name,))


def test_an_unknown_student_names_the_nearest() -> None:
    with pytest.raises(InputError, match="mobilenetv2"):
        make_plan(load_recipe(DIGITS, ("student.family=mobilnetv2",)), ("pixel8",))


def test_no_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no target"):
        make_plan(load_recipe(DIGITS, ("targets=[]",)), ())


def test_a_users_own_profile_is_a_path(tmp_path: Path) -> None:
    content = yaml.safe_load((PROFILES / "rpi4.yaml").read_text())
    content["id"] = "kiosk"
    file = tmp_path / "kiosk.yaml"
    file.write_text(yaml.safe_dump(content))
    (target,) = make_plan(load_recipe(DIGITS), (str(file),)).targets
    assert target.profile.id == "kiosk"


def test_two_profiles_with_one_id_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text((PROFILES / "rpi4.yaml").read_text())
    with pytest.raises(InputError, match="same id"):
        make_plan(load_recipe(DIGITS), ("rpi4", str(file)))


def test_a_recipe_tightens_budgets_and_never_loosens_them() -> None:
    theirs = make_plan(load_recipe(DIGITS, ("budgets={}",)), ("pixel8",)).targets[0].budgets
    tight = make_plan(load_recipe(DIGITS, ("budgets={size_mb: 0.1}",)), ("pixel8",)).targets[0].budgets
    loose = make_plan(load_recipe(DIGITS, ("budgets={size_mb: 999}",)), ("pixel8",)).targets[0].budgets
    assert tight.size_mb == 0.1
    assert loose == theirs


def test_texts_are_no_longer_than_the_target_takes() -> None:
    recipe = load_recipe(SENTIMENT, ("text.sequence_length=128",))
    plan = make_plan(recipe, ("wear_w5", "pixel8"))
    watch, phone = plan.targets
    assert watch.profile.export.max_sequence_length is not None
    assert watch.sequence_length == min(128, watch.profile.export.max_sequence_length)
    assert phone.sequence_length == min(128, phone.profile.export.max_sequence_length or 128)


def test_shared_work_stands_once_in_the_description() -> None:
    rows = describe_plan(make_plan(load_recipe(DIGITS), ("pixel8", "rpi4", "coral_dev")))
    stages = [stage for stage, _, _ in rows]
    assert stages.count("teacher") == stages.count("distill") == 1
    exports = {what: ids for stage, what, ids in rows if stage == "export"}
    assert all("pixel8" in ids and "rpi4" in ids for ids in exports.values() if "onnx" in ids)
    assert any(ids == "pixel8, rpi4, coral_dev" for ids in exports.values())


def test_a_trimmed_vocabulary_stands_between_the_student_and_its_files() -> None:
    recipe = load_recipe(SENTIMENT, ("text={vocabulary: task, least_count: 2}", "prune.macs=0.5"))
    rows = describe_plan(make_plan(recipe, ("pixel8",)))
    stages = [stage for stage, _, _ in rows]
    assert stages.index("prune") < stages.index("trim") < stages.index("export")
    (what,) = (what for stage, what, _ in rows if stage == "trim")
    assert what == "vocabulary: the word pieces that the training texts hold at least 2 times, and the alphabet"
    whole = load_recipe(SENTIMENT, ("text.vocabulary=full",))
    assert "trim" not in [stage for stage, _, _ in describe_plan(make_plan(whole, ("pixel8",)))]


def test_a_broken_profile_is_one_message(tmp_path: Path) -> None:
    file = tmp_path / "phone.yaml"
    file.write_text("schema: 1\nid: phone\nthreads: 4\n")
    with pytest.raises(USER_ERRORS, match=r"phone\.yaml.*unknown key 'threads'"):
        make_plan(load_recipe(DIGITS), (str(file),))


def test_groups_and_their_budget_stand_in_the_description() -> None:
    recipe = load_recipe(SENTIMENT, ("data.group_column=source", "budgets.accuracy.max_group_drop=5"))
    rows = {stage: what for stage, what, _ in describe_plan(make_plan(recipe, ("pixel8",)))}
    assert rows["data"].endswith("groups by source")
    assert "drop of a group of 100 <= 5 points" in rows["gate"]


def test_a_teacher_that_runs_ahead_stands_in_the_description() -> None:
    recipe = load_recipe(DIGITS, ("distill.mode=online", "distill.ahead=2"))
    rows = {stage: what for stage, what, _ in describe_plan(make_plan(recipe, ("pixel8",)))}
    assert rows["distill"].endswith(", the teacher up to 2 batches ahead")


def test_what_is_known_to_be_slow_is_said_where_no_profile_bans_it(tmp_path: Path) -> None:
    content = yaml.safe_load((PROFILES / "rpi4.yaml").read_text())
    content |= {"id": "kiosk", "export": {"max_transposes": 3}}
    content["runtimes"][0]["min_delegated"] = 0.9
    file = tmp_path / "kiosk.yaml"
    file.write_text(yaml.safe_dump(content))
    rows = describe_plan(make_plan(load_recipe(DIGITS, ("student.family=mobilenetv3_small",)), (str(file),)))
    advice = [what for stage, what, targets in rows if stage == "advice" and targets == "kiosk"]
    assert any("hard-swish, for which XNNPACK has no 8-bit kernel" in what for what in advice)
    alternative = student_family("mobilenetv3_small", "image-classification").alternative
    assert all(f"student.family: {alternative}" in what for what in advice)
    gate = next(what for stage, what, _ in rows if stage == "gate")
    assert f"{content['runtimes'][0]['name']} delegated >= 90.0%" in gate
    assert "transposes <= 3" in gate
    plain = describe_plan(make_plan(load_recipe(DIGITS), (str(file),)))
    assert "advice" not in {stage for stage, *_ in plain}
