"""The stage that compares why teacher and student decide so, on networks as the stages before hand them on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.explanation.explain import explain, explained_rows
from pipeline.plan import describe_plan, make_plan
from pipeline.recipe import load_recipe
from pipeline.results import ExplainResult, NetworkResult, PreparedData
from pipeline.settings.data import TextInput
from pipeline.settings.release import ExplainSettings
from pipeline.settings.teacher import TeacherSettings
from pipeline.teacher import teach
from pipeline.vocabulary import trim_vocabulary
from targets.errors import TargetError
from tests import releases
from tests.networks import untrained

RECIPES = Path(__file__).parents[2] / "recipes"
GRADIENTS = ExplainSettings(samples=10, steps=8)
TAKING_AWAY = ExplainSettings(samples=10, grid=4, method="occlusion")


@pytest.fixture(scope="module")
def mobilenet(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> NetworkResult:
    architecture = {
        "kind": "timm", "model": "mobilenetv2_035", "classes": 10, "input_size": None, "mean": [127.5] * 3,
        "std": [127.5] * 3,
    }  # fmt: skip
    return untrained(digits, architecture, tmp_path_factory.mktemp("mobilenet"))


@pytest.fixture(scope="module")
def bert(reviews: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> NetworkResult:
    config = {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 32, "type_vocab_size": 2,
    }  # fmt: skip
    architecture = {"kind": "transformers", "config": config, "labels": list(reviews.labels)}
    return untrained(reviews, architecture, tmp_path_factory.mktemp("bert"))


def arrays(found: ExplainResult) -> dict[str, np.ndarray]:
    with np.load(found.samples_file) as stored:
        return dict(stored)


@pytest.mark.parametrize("settings", [GRADIENTS, TAKING_AWAY], ids=lambda settings: settings.method)
def test_a_student_has_its_own_reasons_exactly(
    digits: PreparedData, mobilenet: NetworkResult, session_context: RunContext, settings: ExplainSettings
) -> None:
    found = explain(digits, digits, mobilenet, mobilenet, settings, session_context)
    assert found.correlation is not None
    assert found.overlap is not None
    assert (found.correlation.mean, found.overlap.mean, found.same_class) == (pytest.approx(1), 1, 1)
    assert set(found.missed) == ({"teacher", "student"} if settings is GRADIENTS else set())
    stored = arrays(found)
    assert stored["used"].shape == (10, settings.grid**2)
    tested = np.searchsorted(digits.rows("test"), stored["rows"])
    assert (stored["explained"] == mobilenet.test_logits[tested].argmax(1)).all()
    cell = 32 // settings.grid
    for row, used in zip(stored["rows"], stored["used"].reshape(10, settings.grid, settings.grid), strict=True):
        cells = digits.inputs[row].reshape(settings.grid, cell, settings.grid, cell, 3)
        assert (used == cells.any((1, 3, 4))).all(), "black cells are left out"


def test_texts_are_compared_word_by_word(
    reviews: PreparedData, bert: NetworkResult, session_context: RunContext
) -> None:
    found = explain(reviews, reviews, bert, bert, GRADIENTS, session_context)
    assert found.correlation is not None
    assert found.correlation.mean == pytest.approx(1)
    assert found.grid is None
    stored = arrays(found)
    lengths = reviews.lengths[stored["rows"]]
    assert (stored["used"].sum(1) == lengths - 2).all()  # all but [CLS] and [SEP]
    assert (stored["teacher"][stored["used"]] != 0).any()


def test_a_student_that_spells_otherwise_is_compared_by_whole_words(
    reviews: PreparedData, bert: NetworkResult, session_context: RunContext
) -> None:
    """A vocabulary so small that many words of the test texts are spelt from other pieces."""
    smaller, trimmed = trim_vocabulary(reviews, bert, TextInput(vocabulary="task", least_count=2), session_context)
    found = explain(reviews, smaller, bert, trimmed, GRADIENTS, session_context)
    stored = arrays(found)
    spelt, others = stored["used"].sum(1), smaller.lengths[stored["rows"]] - 2
    assert (spelt <= np.minimum(others, reviews.lengths[stored["rows"]] - 2)).all()
    assert (spelt < others).any()
    assert found.correlation is not None
    assert found.correlation.mean > found.correlation.chance_mean + 0.4


def test_a_file_of_another_framework_is_explained_by_occlusion_alone(
    digits: PreparedData, mobilenet: NetworkResult, context: RunContext, tmp_path: Path
) -> None:
    _, weights, bias = releases.linear_student(tmp_path, digits)
    file = releases.linear_onnx(tmp_path, digits, weights, bias).file
    teacher = teach(digits, TeacherSettings(model=f"onnx:{file}", epochs=0), context)
    found = explain(digits, digits, teacher, mobilenet, TAKING_AWAY, context)
    stored = arrays(found)
    for place, row in enumerate(stored["rows"][:3]):
        assert stored["teacher"][place] == pytest.approx(by_hand(digits, row, weights, bias, stored, place), abs=2e-2)
    with pytest.raises(InputError, match=r"has no gradients; use explain\.method: occlusion"):
        explain(digits, digits, teacher, mobilenet, GRADIENTS, context)


def by_hand(
    data: PreparedData, row: int, weights: np.ndarray, bias: np.ndarray, stored: dict[str, np.ndarray], place: int
) -> np.ndarray:
    """What blackening each of 16 cells takes from the log-odds of the class that is explained."""

    def odds(pixels: np.ndarray) -> float:
        logits = (pixels.transpose(2, 0, 1).ravel() / 255) @ weights + bias
        chance = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        chosen = chance[stored["explained"][place]]
        return float(np.log(chosen / (1 - chosen)))

    taken = []
    for cell in range(16):
        top, left = 8 * (cell // 4), 8 * (cell % 4)
        pixels = data.inputs[row].astype(np.float64)
        pixels[top : top + 8, left : left + 8] = 0
        taken.append(odds(data.inputs[row].astype(np.float64)) - odds(pixels))
    return np.array(taken)


def test_samples_are_test_samples_of_every_class(digits: PreparedData) -> None:
    rows = explained_rows(digits, ExplainSettings(samples=20))
    assert np.isin(rows, digits.rows("test")).all()
    assert len(np.unique(rows)) == 20
    assert set(digits.targets[rows].tolist()) == set(digits.targets[digits.rows("test")].tolist())
    assert (explained_rows(digits, ExplainSettings(samples=10_000)) == digits.rows("test")).all()


def test_other_settings_are_other_results_and_the_same_are_made_once(
    digits: PreparedData, mobilenet: NetworkResult, session_context: RunContext
) -> None:
    first = explain(digits, digits, mobilenet, mobilenet, TAKING_AWAY, session_context)
    assert explain(digits, digits, mobilenet, mobilenet, TAKING_AWAY, session_context) == first
    other = replace(mobilenet, fingerprint="another")
    settings = TAKING_AWAY.model_copy(update={"top": 0.5})
    for again in (
        explain(digits, digits, other, mobilenet, TAKING_AWAY, session_context),
        explain(digits, digits, mobilenet, mobilenet, settings, session_context),
    ):
        assert again.fingerprint != first.fingerprint
        assert again.samples_file.read_bytes() == first.samples_file.read_bytes()


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        ("digits-mobilenet", ("explain={grid: 7}",), "explain.grid 7 does not divide image.size"),
        ("digits-mobilenet", ("explain={steps: 20, method: occlusion}",), "steps is no setting of method occlusion"),
        ("digits-mobilenet", ("explain={window: 2}",), "window is no setting of method integrated_gradients"),
        ("digits-mobilenet", ("explain={window: 9, method: occlusion}",), "wider than the grid of 8 cells"),
        ("sentiment-tinybert", ("explain={grid: 4}",), "explain.grid is for images"),
        (
            "digits-mobilenet",
            ("explain={}", "teacher={model: 'onnx:a.onnx', epochs: 0}"),
            "has no gradients; use method: occlusion",
        ),
    ],
)
def test_what_can_not_be_explained_so_is_refused_when_the_recipe_is_read(
    recipe: str, changes: tuple[str, ...], said: str
) -> None:
    with pytest.raises(TargetError, match=said):
        load_recipe(RECIPES / f"{recipe}.yaml", changes)


def test_the_plan_tells_of_it_and_asks_for_captum(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(RECIPES / "digits-mobilenet.yaml", ("explain={samples: 20}",))
    rows = [what for stage, what, _ in describe_plan(make_plan(recipe, ("pixel8",))) if stage == "explain"]
    assert rows == ["integrated gradients of 20 test samples, teacher's and student's compared"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'edgepress\[explain\]'"):
        make_plan(recipe, ("pixel8",))


def test_nothing_is_explained_unless_asked_for() -> None:
    assert releases.recipe().explain is None
    settings: dict[str, Any] = {"explain": {}}
    assert releases.recipe(**settings).explain == ExplainSettings()
