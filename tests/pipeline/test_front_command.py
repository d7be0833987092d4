"""`edgepress search --front` end to end on a few hundred digits: what is too large is never trained, what is on the
front is a recipe to run, and the test split is untouched."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.recipe import load_recipe
from pipeline.results import PreparedData
from pipeline.store import file_sha256
from tests.search_folder import call, search_folder

FILES = ("front.json", "front.csv", "front.svg")
SPACE = {"student.width": {"choices": [0.35, 0.75]}, "quantize.scheme": {"choices": ["float32", "float16"]}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, digits: PreparedData) -> Path:
    folder = tmp_path_factory.mktemp("front")
    return search_folder(folder, digits, {"space": SPACE}, warmup=2, min_runs=60, max_runs=500, min_seconds=0)


def search(place: Path, *more: str) -> tuple[int, str, str]:
    return call("search", str(place / "digits.yaml"), "--front", "--out", str(place / "out"), *more)


@pytest.fixture(scope="module")
def made(place: Path) -> Path:
    code, text, lines = search(place)
    assert code == 0, text
    assert "front of 4 trials for tiny (2 done, 2 skipped):" in text
    assert "  2: skipped before training: over the budget of size" in text
    assert "latency on this host, beside the recipe's own student (onnxruntime" in text
    assert "trial 1: " in lines
    return place / "out/digits/search/tiny"


@pytest.fixture(scope="module")
def answer(made: Path) -> dict[str, Any]:
    return dict(json.loads((made / "front.json").read_text()))


def test_all_of_a_small_space_is_tried_and_what_is_too_large_is_not_trained(
    place: Path, answer: dict[str, Any]
) -> None:
    assert answer["counts"] == {"done": 2, "skipped": 2}
    assert {trial["values"]["student.width"] for trial in answer["trials"] if trial["state"] == "skipped"} == {0.75}
    epochs = [len(json.loads(file.read_text())["curve"]) for file in place.glob("out/.store/student/*/result.json")]
    assert sorted(epochs) == [0, 0, 2]  # two that were measured alone, and one training for two schemes


def test_the_front_weighs_the_files_that_ship_on_the_validation_split(place: Path, answer: dict[str, Any]) -> None:
    store = place / "out/.store"
    assert not (store / "validate").exists()  # which judges on the test split
    counts = json.loads(next(store.glob("data/*/result.json")).read_text())["counts"]
    samples = sum(counts["validation"].values())
    sizes = {json.loads(file.read_text())["bytes"] / 1e6 for file in store.glob("metadata/*/result.json")}
    assert 1 <= len(answer["front"]) <= 2
    for trial in answer["front"]:
        right = trial["accuracy"] * samples
        assert right == pytest.approx(round(right))
        assert trial["figures"]["size_mb"] in sizes


def test_latencies_are_ratios_to_a_reference_that_is_told(answer: dict[str, Any]) -> None:
    reference = answer["references"]["onnxruntime"]
    assert reference["source"] == "host"
    assert reference["file"] == "float32.onnx"
    for trial in answer["trials"]:
        figures = trial["figures"]
        assert figures["latency_ms.p50"] == pytest.approx(figures["latency_ratio"] * reference["p50_ms"])
        assert figures["latency_ms.p50"] <= figures["latency_ms.p90"] <= figures["latency_ms.p99"]


def test_each_of_the_front_is_a_recipe_to_run(place: Path, made: Path, answer: dict[str, Any]) -> None:
    smallest = min(answer["front"], key=lambda trial: trial["figures"]["size_mb"])
    assert smallest["values"] == {"student.width": 0.35, "quantize.scheme": "float16"}
    file = made / smallest["recipe"]
    assert load_recipe(file).quantize.scheme == "float16"
    code, text, _ = call("run", str(file), "--out", str(place / "run"))
    assert code == 0, text
    bundle = place / "run/digits/tiny"
    assert (bundle / "model.float16.onnx").stat().st_size / 1e6 == smallest["figures"]["size_mb"]


def test_the_picture_is_one(made: Path) -> None:
    text = (made / "front.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "digits for tiny" in text


def test_a_second_call_makes_nothing_and_the_same_bytes(place: Path, made: Path) -> None:
    before = {name: file_sha256(made / name) for name in FILES}
    times = {file: file.stat().st_mtime_ns for file in (place / "out/.store").rglob("result.json")}
    code, text, _ = search(place, "--json")
    assert code == 0
    assert json.loads(text)["counts"] == {"done": 2, "skipped": 2}
    assert {name: file_sha256(made / name) for name in FILES} == before
    assert {file: file.stat().st_mtime_ns for file in (place / "out/.store").rglob("result.json")} == times


def test_where_nothing_keeps_to_the_budgets_the_exit_code_is_1(place: Path) -> None:
    code, text, _ = search(place, "--no-latency", "--trials", "1", "--set", "budgets={size_mb: 0.01}")
    assert code == 1
    assert "no student was worth its training for tiny (1 skipped):" in text
    assert "closest is trial 1, which misses size" in text


def test_an_operator_that_shows_in_the_file_alone_is_counted(place: Path) -> None:
    profile = yaml.safe_load((place / "tiny.yaml").read_text())
    profile |= {"id": "strict", "export": {"banned_ops": ["clip"], "banned_reason": "for a test"}}
    (place / "strict.yaml").write_text(yaml.safe_dump(profile))
    code, _, lines = search(place, "--no-latency", "--trials", "1", "--target", str(place / "strict.yaml"))
    assert code == 2
    assert "trial 1 failed: model.float32.onnx holds" in lines
    with (place / "out/digits/search/strict/front.csv").open() as stream:
        assert [row["state"] for row in csv.DictReader(stream)] == ["failed"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--no-latency", "--set", "search.over=[accuracy, latency]"), "nothing to weigh accuracy against"),
        (("--set", "search.over=[accuracy]"), "name accuracy, and latency, size or both"),
        (("--set", "search.space={quantize.scheme: {choices: [int8, float16]}}"), "quantize.scheme int8"),
        (("--target", "coral_dev", "--set", "search.space={quantize.scheme: {choices: [float16, float32]}}"), "alone"),
    ],
)
def test_what_can_not_be_searched_is_one_message(place: Path, more: tuple[str, ...], message: str) -> None:
    code, _, lines = search(place, *more)
    assert code == 2
    assert message in lines
