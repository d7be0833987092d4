"""A narrower BERT started from its teacher's layers: exact where it can be, near where it can't."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.context import RunContext
from pipeline.distill.narrow import TOKENS, _basis, balanced, watch
from pipeline.distill.start import start_student
from pipeline.evaluate import predict
from pipeline.networks import TextNetwork, load_network, save_network
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.student import student_architecture
from tests.networks import untrained
from tests.pipeline.trained import text_teacher

WIDTH = 32  # of the subspace in which the flat teacher lives, its direction of ones included
HIDDEN, HEADS, UNITS = 64, 8, 96


@pytest.fixture(scope="module")
def flat_teacher(reviews: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> NetworkResult:
    """A BERT whose hidden states all lie in 31 of 64 dimensions, and of whose heads, units and pooled outputs only
    some have an effect."""
    folder = tmp_path_factory.mktemp("flat")
    config = {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": HIDDEN, "num_hidden_layers": 3,
        "num_attention_heads": HEADS, "intermediate_size": UNITS, "max_position_embeddings": reviews.inputs.shape[1],
        "type_vocab_size": 2, "initializer_range": 0.2, "hidden_dropout_prob": 0.0, "layer_norm_eps": 1e-12,
    }  # fmt: skip
    made = untrained(reviews, {"kind": "transformers", "config": config, "labels": list(reviews.labels)}, folder)
    network: Any = load_network(made)
    torch.manual_seed(1)
    centred = torch.randn(HIDDEN, WIDTH - 1, dtype=torch.float64)
    span = torch.linalg.qr(centred - centred.mean(0)).Q
    into = (span @ span.T).float()
    bert = network.transformer.bert
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") and "LayerNorm" not in name:
                parameter.normal_(std=0.3)
        for table in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            weight = getattr(bert.embeddings, table).weight
            weight.copy_(weight @ into)
        norms = [bert.embeddings.LayerNorm]
        for layer in bert.encoder.layer:
            norms += [layer.attention.output.LayerNorm, layer.output.LayerNorm]
            layer.attention.output.dense.weight[:, torch.arange(HIDDEN) // 8 % 2 == 1] = 0  # every other head
            layer.output.dense.weight[:, ::2] = 0
            for dense in (layer.attention.output.dense, layer.output.dense):
                dense.weight.copy_(into @ dense.weight)
                dense.bias.copy_(into @ dense.bias)
        for norm in norms:
            norm.weight.fill_(float(torch.rand(()) + 0.5))
            norm.bias.copy_(into @ torch.randn(HIDDEN))
        network.transformer.classifier.weight[:, 1::2] = 0
    return with_weights(made, network, reviews)


def with_weights(made: NetworkResult, network: TextNetwork, data: PreparedData) -> NetworkResult:
    save_network(network, made.checkpoint_file)
    np.save(made.test_logits_file, predict(network, data, data.rows("test")))
    return replace(made, name="flat")


def started(data: PreparedData, teacher: NetworkResult, **settings: Any) -> TextNetwork:
    student = StudentSettings(family="tinybert", start="layers", **settings)
    network = start_student(student_architecture(student, data, teacher), student, teacher, 0, data)
    assert isinstance(network, TextNetwork)
    return network.eval()


def test_a_teacher_that_fills_few_dimensions_is_taken_exactly(
    reviews: PreparedData, flat_teacher: NetworkResult
) -> None:
    student = started(reviews, flat_teacher, layers=3, hidden=WIDTH, heads=4, feed_forward=UNITS // 2)
    found = predict(student, reviews, reviews.rows("test"))
    assert flat_teacher.test_logits.std(0).min() > 0.05  # else any constant would do
    np.testing.assert_allclose(found, flat_teacher.test_logits, atol=1e-4)


def test_with_a_unit_too_few_it_is_near_and_no_more(reviews: PreparedData, flat_teacher: NetworkResult) -> None:
    student = started(reviews, flat_teacher, layers=3, hidden=WIDTH, heads=4, feed_forward=UNITS // 2 - 1)
    off = np.abs(predict(student, reviews, reviews.rows("test")) - flat_teacher.test_logits)
    assert off.max() > 1e-3
    assert off.mean() < 0.5 * flat_teacher.test_logits.std()


def test_larger_heads_start_without_effect_and_can_learn(reviews: PreparedData, flat_teacher: NetworkResult) -> None:
    student = started(reviews, flat_teacher, layers=3, heads=4)  # of 16 dimensions, the teacher's have 8
    found = predict(student, reviews, reviews.rows("test"))
    np.testing.assert_allclose(found, flat_teacher.test_logits, atol=1e-4)
    ids = torch.from_numpy(reviews.inputs[:8].astype(np.int64))
    mask = torch.ones_like(ids)
    student(ids, mask, torch.zeros_like(ids)).square().sum().backward()
    layer: Any = student.transformer.bert.encoder.layer[0].attention  # type: ignore[union-attr, index]
    grown = torch.arange(HIDDEN) % 16 >= 8
    assert layer.self.query.weight[grown].abs().max() == 0
    assert (layer.self.query.weight.grad[grown].abs().sum(1) > 0).all()
    assert (layer.output.dense.weight.grad[:, grown].abs().sum(0) > 0).all()


def test_what_is_not_narrower_is_the_teachers_own(reviews: PreparedData, flat_teacher: NetworkResult) -> None:
    """But for a bias that makes up for the mean of the units left out."""
    student, teacher = started(reviews, flat_teacher, layers=3, feed_forward=40), load_network(flat_teacher)
    changed = {
        name
        for name, tensor in student.state_dict().items()
        if tensor.shape != (own := teacher.state_dict()[name]).shape or not torch.allclose(tensor, own, atol=1e-6)
    }
    assert changed == {
        f"transformer.bert.encoder.layer.{layer}.{part}"
        for layer in range(3)
        for part in ("intermediate.dense.weight", "intermediate.dense.bias", "output.dense.weight", "output.dense.bias")
    }


NARROWER = {"hidden": WIDTH, "heads": 4, "feed_forward": UNITS // 2}


@pytest.mark.parametrize("sizes", [{}, NARROWER], ids=["equal", "narrower"])
def test_given_layers_are_taken(reviews: PreparedData, flat_teacher: NetworkResult, sizes: dict[str, int]) -> None:
    """Two layers of the teacher and nothing between them: as the teacher without its second layer."""
    teacher: Any = load_network(flat_teacher)
    del teacher.transformer.bert.encoder.layer[1]
    expected = predict(teacher, reviews, reviews.rows("test"))
    for chosen, same in (((1, 3), True), ((1, 2), False)):
        student = started(reviews, flat_teacher, layers=2, from_layers=chosen, **sizes)
        off = np.abs(predict(student, reviews, reviews.rows("test")) - expected).max()
        assert (off < 1e-4) == same, chosen


def test_a_narrower_student_answers_more_like_its_teacher_than_one_from_its_embeddings(
    reviews: PreparedData, session_context: RunContext
) -> None:
    """MiniLM, 384 wide, in 312 dimensions: by the correlation of the margins between the two classes."""
    teacher = text_teacher(reviews, session_context)
    margin = np.diff(teacher.test_logits)[:, 0]

    def alike(start: str) -> float:
        settings = StudentSettings(family="tinybert", layers=6, hidden=312, heads=12, start=start)
        network = start_student(student_architecture(settings, reviews, teacher), settings, teacher, 0, reviews)
        return float(np.corrcoef(margin, np.diff(predict(network, reviews, reviews.rows("test")))[:, 0])[0, 1])

    assert alike("layers") > 0.7
    assert alike("embeddings") < 0.5


def test_the_basis_is_orthonormal_and_leaves_the_direction_of_ones_empty(
    reviews: PreparedData, flat_teacher: NetworkResult
) -> None:
    teacher: Any = load_network(flat_teacher)
    seen = watch(teacher, [0, 2], reviews, seed=0)
    basis = _basis(seen, teacher.transformer.bert.embeddings.word_embeddings.weight, WIDTH)
    torch.testing.assert_close(basis.sum(1), torch.zeros(HIDDEN, dtype=torch.float64), atol=1e-9, rtol=0)
    projection = basis @ basis.T
    torch.testing.assert_close(projection @ projection, projection, atol=1e-9, rtol=0)
    assert int(projection.trace().round()) == WIDTH - 1
    states = seen["2 output after"]
    states = states - states.mean(1, keepdim=True)
    torch.testing.assert_close(states @ projection, states, atol=1e-4, rtol=0)


def test_the_teacher_is_watched_on_real_tokens_alone(reviews: PreparedData, flat_teacher: NetworkResult) -> None:
    seen = watch(load_network(flat_teacher), [1], reviews, seed=0)  # type: ignore[arg-type]
    rows = reviews.rows("train")
    assert TOKENS <= len(seen["1 hidden"]) < TOKENS + reviews.inputs.shape[1]
    assert len(seen["pooled"]) < len(rows)
    assert {len(values) for name, values in seen.items() if name not in ("pooled", "first token")} == {
        len(seen["1 hidden"])
    }
    assert seen["1 units"].shape[1] == UNITS


def moments(seed: int, size: int, rank: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    factors = (torch.randn(size, size, dtype=torch.float64), torch.randn(size, rank, dtype=torch.float64))
    first, second = (factor @ factor.T for factor in factors)
    return first, second


@pytest.mark.parametrize("seed", range(3))
def test_products_of_low_rank_survive_shortening(seed: int) -> None:
    left, right = moments(seed, size=8, rank=3)
    first, second = balanced(left, right, 3)
    assert first.shape == second.shape == (3, 8)
    y = right @ torch.randn(8, 5, dtype=torch.float64)  # vectors of that moment
    torch.testing.assert_close(first.T @ (second @ y), y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_shortening_changes_products_by_what_the_singular_values_left_out_say(seed: int) -> None:
    left, right = moments(seed, size=8, rank=8)
    first, second = balanced(left, right, 5)
    roots = [vectors * values.sqrt() @ vectors.T for values, vectors in map(torch.linalg.eigh, (left, right))]
    change = roots[0] @ (first.T @ second - torch.eye(8, dtype=torch.float64)) @ roots[1]
    lost = torch.linalg.svdvals(roots[0] @ roots[1])[5:]
    torch.testing.assert_close(change.norm(), lost.norm())
