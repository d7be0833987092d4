"""`edgepress init`: what it finds in data, what it chooses, and recipes that can be planned as they are written."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.data.samples import class_indices, class_names
from pipeline.data.sources import open_source
from pipeline.data.split import split
from pipeline.recipe import Recipe, load_recipe
from pipeline.start.choices import choose_for_pictures, choose_for_texts
from pipeline.start.look import class_findings, judging_finding
from pipeline.start.pictures import Pictures
from pipeline.start.tables import Texts, guess_columns
from targets.profile import load_profile, profile_names
from tests.pipeline.folders import pictures, sentences
from tests.samples import table

ROOT = Path(__file__).parents[2]
CLASSES = {"cat": 12, "dog": 15}


def init(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["init", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def started(*arguments: object) -> dict:
    code, text = init(*arguments, "--json")
    assert code == 0, text
    return json.loads(text)


def planned(recipe: Path) -> Recipe:
    """The recipe, after `edgepress plan` took it as it is."""
    result = CliRunner().invoke(app, ["plan", str(recipe), "--json"])
    assert result.exit_code == 0, result.output
    return load_recipe(recipe)


def trained_and_tested(recipe: Recipe) -> tuple[int, int]:
    """How many samples a run trains and tests on, by the sources and the split that it uses."""
    contents = open_source(recipe.data, recipe.task).read()
    names = class_names(contents.train.labels)
    classes = class_indices(contents.train, names).tolist()
    own = class_indices(contents.test, names).tolist() if contents.test else []
    import numpy as np

    own_rows = np.arange(len(classes), len(classes) + len(own)) if own else None
    parts = split(np.array(classes + own), names, recipe.data.split, own_rows)
    return len(parts["train"]), len(parts["test"])


def train_and_test(root: Path) -> Path:
    pictures(root / "train", CLASSES)
    pictures(root / "test", {"cat": 4, "dog": 5}, seed=1)
    return root


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "classes": lambda root: pictures(root, CLASSES),
    "train and test": train_and_test,
    "large": lambda root: pictures(root, CLASSES, (260, 250)),
    "tiny": lambda root: pictures(root, CLASSES, (9, 7)),
    "many classes": lambda root: pictures(root, {f"kind {n}": 4 for n in range(40)}),
    "names that YAML reads otherwise": lambda root: pictures(root, {"yes": 5, "it's: #1": 5, "[ñandú]": 5, "007": 5}),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_recipe_for_a_folder_is_planned_and_its_data_are_found(case: str, tmp_path: Path) -> None:
    folder = FOLDERS[case](tmp_path / "My Pictures (2)")
    told = started(folder, tmp_path / "recipes" / "mine.yaml")
    recipe = planned(tmp_path / "recipes" / "mine.yaml")
    assert recipe.name == "mine"
    assert recipe.task == "image-classification"
    assert recipe.data.path == folder.resolve()
    training, testing = trained_and_tested(recipe)
    assert training > 0
    assert testing == (9 if case == "train and test" else testing)
    assert told["ready"]
    assert told["recipe"].endswith("recipes/mine.yaml")


def reviews(tmp_path: Path, name: str = "reviews.csv", **columns: list) -> Path:
    return table(tmp_path / name, **(columns or {"text": sentences(40), "label": ["good", "bad"] * 20}))


TABLES: dict[str, Callable[[Path], Path]] = {
    "csv": reviews,
    "tsv": lambda place: reviews(place, "reviews.tsv"),
    "parquet": lambda place: reviews(place, "reviews.parquet"),
    "stars": lambda place: reviews(
        place, "Stars 2024.csv", id=list(range(40)), body=sentences(40), stars=[1, 2, 3, 4] * 10
    ),
    "own names": lambda place: reviews(
        place, **{"what: they wrote": sentences(40), "no": list(range(40)), "yes/no": ["y", "n"] * 20}
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_recipe_for_a_table_is_planned_and_its_data_are_found(case: str, tmp_path: Path) -> None:
    file = TABLES[case](tmp_path)
    told = started(file, tmp_path / "mine.yml")
    recipe = planned(tmp_path / "mine.yml")
    assert recipe.task == "text-classification"
    assert trained_and_tested(recipe) == (24, 12)  # of 40: 0.3 test, 0.1 choose
    assert sum(told["classes"].values()) == 40
    assert recipe.data.source == ("parquet" if case == "parquet" else "csv")


@pytest.mark.parametrize("target", profile_names())
@pytest.mark.parametrize("kind", ["pictures", "texts"])
def test_recipes_are_for_every_target_that_takes_the_task(kind: str, target: str, tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", CLASSES) if kind == "pictures" else reviews(tmp_path)
    recipe = tmp_path / "mine.yaml"
    code, text = init(data, recipe, "--target", target)
    quantization = load_profile(target).quantization
    if (quantization.image if kind == "pictures" else quantization.text) is None:
        assert code == 2
        assert f"target {target} takes no models" in text
        assert not list(tmp_path.glob("*mine*"))
    else:
        assert code == 0, text
        assert planned(recipe).targets == (target,)


def test_flags_stand_in_the_recipe(tmp_path: Path) -> None:
    data, test = pictures(tmp_path / "data", CLASSES), pictures(tmp_path / "more", {"cat": 3, "dog": 3}, seed=1)
    flags = ("--name", "pets", "--test", test, "--mirror", "--min-accuracy", "0.9", "-t", "rpi4", "--no-hub")
    started(data, tmp_path / "mine.yaml", *flags)
    recipe = planned(tmp_path / "mine.yaml")
    assert (recipe.name, recipe.targets, recipe.budgets.accuracy.min) == ("pets", ("rpi4",), 0.9)
    assert recipe.distill.augmentation.mirror
    assert recipe.teacher.augmentation.mirror
    assert recipe.data.test_path == test.resolve()
    assert trained_and_tested(recipe)[1] == 6
    started(data, tmp_path / "mine.yaml", "--hub", "--overwrite")
    assert planned(tmp_path / "mine.yaml").teacher.weights == "hub"


def looked(side: int, train: int, classes: int = 10, test: dict[str, int] | None = None) -> Pictures:
    counts = {str(n): train // classes for n in range(classes)}
    return Pictures(Path("data"), None, counts, test, side, side, side, ())


def test_settings_follow_rules_that_can_be_counted() -> None:
    small = choose_for_pictures(looked(28, 1000), hub=False)
    assert (small.size, small.teacher_size, small.family, small.width) == (64, 32, "mobilenetv2", 0.5)
    # 700 train: 2,200 steps of 16 are 50.3 epochs; 220 steps of 32 are 10.06
    assert (small.student.epochs, small.student.batch_size) == (51, 16)
    assert (small.teacher.epochs, small.teacher.batch_size) == (11, 32)
    assert small.calibration == 256
    large = choose_for_pictures(looked(300, 100_000, classes=100), hub=False)
    assert (large.size, large.teacher_size, large.family, large.width) == (224, None, "mobilenetv4_conv_small", 1.0)
    assert (large.student.epochs, large.student.batch_size) == (8, 128)
    assert large.calibration == 800
    middle = choose_for_pictures(looked(100, 400), hub=False)
    assert middle.size == 128
    assert middle.split.test == 0.3  # of few samples a third judges
    assert middle.calibration == 240  # all that train
    assert choose_for_pictures(looked(100, 400, test={"0": 99}), hub=False).split.test == 0.2


def test_texts_are_as_long_as_nearly_all_of_them_need() -> None:
    def length(words: int) -> int:
        found = Texts(Path("a.csv"), None, "csv", "text", "label", (), {"a": 500, "b": 500}, None, (5, words, 900), ())
        return choose_for_texts(found, hub=False).length

    assert [length(words) for words in (10, 24, 40, 90, 5000)] == [32, 64, 64, 128, 512]


def test_unreadable_pictures_are_said_and_not_counted(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "data", CLASSES)
    cut = folder / "cat" / "0.png"
    cut.write_bytes(cut.read_bytes()[:500])
    (folder / "dog" / "note.jpg").write_text("no picture")
    told = started(folder, tmp_path / "mine.yaml")
    assert not told["ready"]
    (found,) = (finding["text"] for finding in told["findings"] if finding["stops"])
    assert found.startswith("2 pictures that can't be read")
    assert "0.png" in found
    assert "note.jpg" in found
    assert told["classes"] == {"cat": 11, "dog": 15}
    planned(tmp_path / "mine.yaml")
    code, text = init(folder, tmp_path / "mine.yaml", "--overwrite")
    assert code == 0
    assert "must be mended: 2 pictures" in text


def test_no_readable_picture_is_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "x.png").write_bytes(b"")
    code, text = init(tmp_path / "data", tmp_path / "mine.yaml")
    assert code == 2
    assert "none of its 2 pictures can be read" in text


@pytest.mark.parametrize(
    ("train", "test", "said", "stops"),
    [
        ({"a": 60, "b": 2}, None, "too few samples for train, validation and test: class 'b' (2)", True),
        ({"a": 60, "b": 2}, {"a": 9, "b": 9}, "fewer than 50 samples: class 'b' (2)", False),
        ({"a": 60, "b": 60}, {"a": 9}, "in the training set alone, not in the test set: class 'b'", True),
        (
            {"a": 60, "b": 60},
            {"a": 9, "b": 9, "c": 9},
            "in the test set alone, not in the training set: class 'c'",
            True,
        ),
        ({"a": 500, "b": 100}, None, "class 'a' has 5 times the samples of 'b'", False),
    ],
)
def test_classes_that_make_trouble_are_said(train: dict, test: dict | None, said: str, stops: bool) -> None:
    (finding,) = (finding for finding in class_findings(train, test) if said in finding.text)
    assert finding.stops == stops


def test_even_classes_are_no_finding() -> None:
    assert class_findings({"a": 100, "b": 120}, None) == []


def test_the_accuracy_that_so_many_samples_tell() -> None:
    assert "known to about 4.2 points" in judging_finding(200).text  # 1.96 * sqrt(0.09 / 200)


def test_rows_that_a_run_refuses_are_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    lines = [
        f"{text.replace(',', ' -')},{label}" for text, label in zip(sentences(40), ["good", "bad"] * 20, strict=True)
    ]
    lines[3], lines[7], lines[9] = "too,many,fields", "a text without label,", " ,good"
    file.write_text("text,label\n" + "\n".join([*lines, lines[0], ""]))
    told = started(file, tmp_path / "mine.yaml")
    texts = [finding["text"] for finding in told["findings"]]
    assert any("3 rows that a run refuses" in t and "line 5: 3 fields, expected 2" in t for t in texts)
    assert any("line 9: no label" in t and "line 11: no text" in t for t in texts)
    assert any(t.startswith("1 texts are copies of earlier ones") for t in texts)
    assert not told["ready"]


def test_columns_are_told_by_name_or_by_what_they_hold(tmp_path: Path) -> None:
    named = reviews(tmp_path, label=["a", "b"] * 20, Review=sentences(40), text_id=list(range(40)))
    assert guess_columns(named)[:2] == ("Review", "label")
    held = reviews(tmp_path, n=list(range(40)), q=["a", "b"] * 20, w=sentences(40))
    assert guess_columns(held)[:2] == ("w", "q")
    untold = reviews(tmp_path, n=list(range(40)), w=sentences(40))
    assert guess_columns(untold)[:2] == ("w", None)
    code, text = init(untold, tmp_path / "mine.yaml")
    assert code == 2
    assert "name it with --label-column: 'n', 'w'" in text
    assert init(untold, tmp_path / "mine.yaml", "--label-column", "nothing")[0] == 2


def test_texts_of_another_script_ask_for_another_teacher(tmp_path: Path) -> None:
    file = reviews(tmp_path, text=[f"фильм номер {n}, хороший" for n in range(40)], label=["a", "b"] * 20)
    assert any("not Latin" in finding["text"] for finding in started(file, tmp_path / "mine.yaml")["findings"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name your data"),
        (("nowhere",), "nowhere: no such file or folder"),
        (("{table}", "--mirror"), "--mirror is for pictures"),
        (("{folder}", "--text-column", "text"), "are for tables of texts"),
        (("{folder}", "--target", "pixel88"), "did you mean 'pixel8'"),
        (("{folder}", "--name", "My Pets"), "such as my-pets"),
        (("{folder}", "mine.txt"), "expected .yaml"),
        (("{folder}", "--test", "{table}"), "the same kind"),
        (("{one}",), "found one class, 'cat'"),
        (("{empty}",), "class 'b' has no images"),
        (("{text}",), "expected a folder of pictures or .csv"),
        (("{damaged}",), "can't be read as Parquet"),
    ],
)
def test_wrong_input_is_one_message_and_no_recipe(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (pictures(Path("empty"), {"a": 3}) / "b").mkdir()
    Path("text.txt").write_text("text")
    Path("damaged.parquet").write_bytes(b"PAR1 no more")
    places = {
        "folder": pictures(Path("folder"), CLASSES), "one": pictures(Path("one"), {"cat": 5}), "empty": "empty",
        "table": reviews(Path(".")), "text": "text.txt", "damaged": "damaged.parquet",
    }  # fmt: skip
    before = set(tmp_path.iterdir())
    code, text = init(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert message in text
    assert set(tmp_path.iterdir()) == before


def test_a_recipe_is_replaced_only_when_told(tmp_path: Path) -> None:
    folder, recipe = pictures(tmp_path / "data", CLASSES), tmp_path / "mine.yaml"
    recipe.write_text("precious")
    code, text = init(folder, recipe)
    assert (code, recipe.read_text()) == (2, "precious")
    assert "--overwrite" in text
    assert init(folder, recipe, "--overwrite", "--target", "pixel88")[0] == 2
    assert recipe.read_text() == "precious"
    assert init(folder, recipe, "--overwrite")[0] == 0
    planned(recipe)


def test_budgets_that_the_recipe_suggests_can_be_had_by_removing_marks(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    started(pictures(tmp_path / "data", CLASSES), recipe)
    head, suggested = recipe.read_text().split("# budgets:")
    recipe.write_text(head + "budgets:" + suggested.replace("\n# ", "\n"))
    assert planned(recipe).budgets.size_mb == 1.0


def test_the_same_data_give_the_same_recipe(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "data", CLASSES)
    for name in ("a", "b"):
        started(folder, tmp_path / f"{name}.yaml", "--name", "same")
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()
    assert str(tmp_path) not in (tmp_path / "a.yaml").read_text()


def at_terminal(answers: str, folder: Path) -> tuple[int, str]:
    """`edgepress init` in `folder` at a terminal, where a person types `answers`; what it says to them."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "init"], cwd=folder, stdin=theirs, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answers.encode())
    output, said = process.communicate(timeout=60)
    os.close(ours)
    return process.returncode, said + output


def test_at_a_terminal_it_asks_what_flags_leave_open_and_asks_again(tmp_path: Path) -> None:
    pictures(tmp_path / "data", CLASSES)
    code, said = at_terminal("nowhere\ndata\npets\npixel88\nrpi4, coral_dev\ny\nmany\n0.8\n", tmp_path)
    assert code == 0, said
    assert "nowhere: no such file or folder" in said
    assert "did you mean 'pixel8'" in said
    assert "expected a share from 0 to 1" in said
    recipe = planned(tmp_path / "pets.yaml")
    assert recipe.targets == ("rpi4", "coral_dev")
    assert recipe.distill.augmentation.mirror
    assert recipe.budgets.accuracy.min == 0.8


def test_quotes_line_breaks_and_commas_in_texts_are_one_row(tmp_path: Path) -> None:
    texts = [f'he said "{text}",\nand left' for text in sentences(30)]
    file = reviews(tmp_path, text=texts, label=["a", "b", "c"] * 10)
    assert started(file, tmp_path / "mine.yaml")["classes"] == {"a": 10, "b": 10, "c": 10}
