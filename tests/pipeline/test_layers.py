import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batches import Batch
from pipeline.distill.features import feature_guides
from pipeline.distill.inside import FrozenTeacher, Guide, Guided, watch
from pipeline.distill.layers import (
    MiniLmGuide,
    TinyBertGuide,
    dot_products,
    encoder_of,
    layer_guide,
    relation_loss,
    score_loss,
    state_loss,
    teacher_layers,
)
from pipeline.errors import InputError
from pipeline.networks import TextNetwork, build_network
from pipeline.recipe import Recipe
from pipeline.settings.distill import FeatureMatch, LayerLosses
from pipeline.training.schedule import Moment
from targets.errors import TargetError
from targets.strict import parse

START = Moment(0, 0.0)
SMALL = {
    "model_type": "bert", "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 20, "max_position_embeddings": 32,
}  # fmt: skip


def architecture(**changes: Any) -> dict[str, Any]:
    return {"kind": "transformers", "config": SMALL | changes, "labels": ["bad", "good"]}


def texts(seed: int, **changes: Any) -> nn.Module:
    """A random network, with weights large enough to tell tokens apart."""
    torch.manual_seed(seed)
    network = build_network(architecture(**changes)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(10)
    return network


def frozen(network: nn.Module) -> FrozenTeacher:
    return FrozenTeacher("big", network.requires_grad_(False))


def batch_of(lengths: list[int], padded: int) -> Batch:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(5, 50, (len(lengths), 32), generator=generator)[:, :padded]
    mask = torch.arange(padded) < torch.tensor(lengths).unsqueeze(1)
    inputs = (ids * mask, mask.long(), torch.zeros_like(ids))
    rows = np.arange(len(lengths))
    return Batch(inputs, torch.zeros(len(lengths), dtype=torch.long), rows, rows, 0 * rows)


def loss_of(guide: Guide, student: nn.Module, teacher: FrozenTeacher, batch: Batch) -> Tensor:
    return Guided(None, [(1.0, guide)], teacher)(student, batch, START)


def losses(method: str, **changes: Any) -> LayerLosses:
    return LayerLosses(**{"method": method, "weight": 1.0} | changes)


def test_states_are_compared_over_real_tokens() -> None:
    student = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [7.0, 7.0]]])
    teacher = torch.tensor([[[0.0, 2.0], [3.0, 1.0], [0.0, 0.0]]])
    assert state_loss(student, teacher, torch.tensor([[True, True, False]])).item() == pytest.approx((1 + 9) / 4)
    torch.testing.assert_close(
        state_loss(student, teacher, torch.ones(1, 3, dtype=torch.bool)), functional.mse_loss(student, teacher)
    )


def test_scores_are_compared_over_pairs_of_real_tokens_and_heads() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    lengths = (4, 2)
    mask = torch.arange(4) < torch.tensor(lengths).unsqueeze(1)
    squares = [((student - teacher)[i, :, :n, :n] ** 2).flatten() for i, n in enumerate(lengths)]
    torch.testing.assert_close(score_loss(student, teacher, mask), torch.cat(squares).mean())


def test_relations_are_the_divergence_of_the_softened_products() -> None:
    torch.manual_seed(0)
    student, teacher, heads, lengths = torch.randn(2, 5, 6), torch.randn(2, 5, 9), 3, (5, 3)
    rows = []
    for sample, length in enumerate(lengths):
        for head in range(heads):
            mine, theirs = (
                student[sample, :length, 2 * head : 2 * head + 2],
                teacher[sample, :length, 3 * head :][:, :3],
            )
            q = functional.softmax(mine @ mine.T / math.sqrt(2), dim=1)
            p = functional.softmax(theirs @ theirs.T / math.sqrt(3), dim=1)
            rows += (p * (p / q).log()).sum(dim=1).tolist()
    mask = torch.arange(5) < torch.tensor(lengths).unsqueeze(1)
    assert relation_loss(student, teacher, heads, mask).item() == pytest.approx(np.mean(rows), rel=1e-5)


def test_scores_are_those_that_the_attention_has_before_its_softmax() -> None:
    network, batch = texts(0), batch_of([7, 4], 7)
    layer = encoder_of(network, "it").layers[1]
    with torch.no_grad(), watch(network, [layer.query, layer.key]) as seen:
        network(*batch.inputs)
    scores = dot_products(seen.outputs[layer.query], seen.outputs[layer.key], layer.heads)
    network.transformer.set_attn_implementation("eager")
    with torch.no_grad():
        given = network.transformer(*batch.inputs[:2], output_attentions=True).attentions[1]
    expected = scores.masked_fill(~batch.inputs[1].bool()[:, None, None, :], -torch.inf).softmax(dim=3)
    torch.testing.assert_close(given, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("choice", "count", "total", "expected"),
    [
        ("uniform", 4, 12, (3, 6, 9, 12)),
        ("uniform", 4, 6, (2, 3, 5, 6)),
        ("uniform", 6, 6, (1, 2, 3, 4, 5, 6)),
        ("uniform", 1, 6, (6,)),
        ("last", 2, 6, (5, 6)),
        ((1, 3, 3, 6), 4, 6, (1, 3, 3, 6)),
    ],
)
def test_layers_are_mapped(choice: Any, count: int, total: int, expected: tuple[int, ...]) -> None:
    assert teacher_layers(choice, count, total) == expected


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ((1, 2, 3), "names 3 layers, expected 2"),
        ((1, 7), r"is \[1, 7\], the teacher's layers are 1 to 6"),
        ((0, 2), "are 1 to 6"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(choice: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        teacher_layers(choice, 2, 6)


@pytest.mark.parametrize("choice", ["uniform", "last"])
def test_a_student_deeper_than_its_teacher_must_list_the_layers(choice: str) -> None:
    with pytest.raises(InputError, match="the student has 7 layers, the teacher 6"):
        teacher_layers(choice, 7, 6)


def test_tinybert_adds_embeddings_states_and_scores_of_each_layer() -> None:
    student, teacher = texts(0, hidden_size=8), frozen(texts(1, num_hidden_layers=4))
    batch = batch_of([9, 6, 9], 9)
    guide = layer_guide(losses("tinybert"), student, teacher)
    assert isinstance(guide, TinyBertGuide)
    assert [theirs.output for _, theirs in guide.pairs] == [f"transformer.bert.encoder.layer.{n}" for n in (1, 3)]
    found = loss_of(guide, student, teacher, batch)
    inputs = dict(zip(("input_ids", "attention_mask"), batch.inputs, strict=False))
    with torch.no_grad():
        mine, theirs = (
            network.transformer(**inputs, output_hidden_states=True).hidden_states
            for network in (student, teacher.network)
        )
    mask = batch.inputs[1].bool()
    expected = torch.zeros(())
    for index, (one, other) in enumerate(zip(mine, (theirs[0], theirs[2], theirs[4]), strict=True)):
        projection = guide.hidden_projection if index else guide.embedding_projection
        expected = expected + ((one @ projection.weight.T - other)[mask] ** 2).mean()
    for number, (one, other) in enumerate(zip(mine[:-1], (theirs[1], theirs[3]), strict=True)):
        layers = (
            student.transformer.bert.encoder.layer[number],
            teacher.network.transformer.bert.encoder.layer[2 * number + 1],
        )
        a, b = (
            dot_products(layer.attention.self.query(states), layer.attention.self.key(states), 4)
            for layer, states in zip(layers, (one, other), strict=True)
        )
        expected = expected + score_loss(a, b, mask)
    torch.testing.assert_close(found, expected)


def test_minilm_needs_neither_equal_widths_nor_heads() -> None:
    student, teacher = texts(0, hidden_size=12, num_attention_heads=3), frozen(texts(1, num_hidden_layers=3))
    batch = batch_of([9, 6], 9)
    guide = layer_guide(losses("minilm", layer_map=(2,)), student, teacher)
    assert isinstance(guide, MiniLmGuide)
    assert guide.heads == 4  # the most that divide 12 and 16
    assert not list(guide.parameters())
    assert guide.of_student[0] == "transformer.bert.encoder.layer.1.attention.self.query"
    assert guide.of_teacher[0] == "transformer.bert.encoder.layer.1.attention.self.query"
    found = loss_of(guide, student, teacher, batch)
    with torch.no_grad(), watch(student, guide.of_student) as mine:
        student(*batch.inputs)
    theirs = teacher.look(batch.inputs, guide.of_teacher)
    parts = [
        relation_loss(mine.outputs[a], theirs.outputs[b], 4, batch.inputs[1].bool())
        for a, b in zip(guide.of_student, guide.of_teacher, strict=True)
    ]
    assert len(parts) == 3
    torch.testing.assert_close(found, sum(parts, torch.zeros(())))
    assert found > 0


@pytest.mark.parametrize("method", ["tinybert", "minilm"])
def test_a_copy_of_the_teacher_has_nothing_to_learn(method: str) -> None:
    student, teacher = texts(0), frozen(texts(0))
    loss = loss_of(layer_guide(losses(method), student, teacher), student, teacher, batch_of([9, 6], 9))
    assert loss.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("method", ["tinybert", "minilm"])
def test_padding_has_no_part_in_the_loss(method: str) -> None:
    student, teacher = texts(0, hidden_size=8), frozen(texts(1))
    guide = layer_guide(losses(method), student, teacher)
    short, long = (loss_of(guide, student, teacher, batch_of([6, 4], padded)) for padded in (6, 11))
    torch.testing.assert_close(short, long)
    assert short > 0


@pytest.mark.parametrize("loss", ["hint", "attention"])
def test_padding_has_no_part_in_the_features_of_texts(loss: Literal["hint", "attention"]) -> None:
    student, teacher = texts(0, hidden_size=8), frozen(texts(1))
    match = FeatureMatch(student="bert.encoder.layer.0", teacher="bert.encoder.layer.1", loss=loss)
    ((_, guide),) = feature_guides([match], student, teacher, batch_of([5], 5).inputs)
    short, long = (loss_of(guide, student, teacher, batch_of([6, 4], padded)) for padded in (6, 11))
    torch.testing.assert_close(short, long)
    assert short > 0


@pytest.mark.parametrize("method", ["tinybert", "minilm"])
def test_gradients_reach_student_and_projections_and_never_the_teacher(method: str) -> None:
    student, teacher = texts(0, hidden_size=8), frozen(texts(1))
    guide = layer_guide(losses(method), student, teacher)
    objective = Guided(None, [(1.0, guide)], teacher)
    objective(student, batch_of([6, 4], 6), START).backward()
    reached = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert "transformer.bert.encoder.layer.1.attention.self.query.weight" in reached
    assert "transformer.bert.embeddings.word_embeddings.weight" in reached
    assert not any("classifier" in name or "pooler" in name for name in reached)
    projections = dict(objective.named_parameters())
    names = ("embedding_projection", "hidden_projection") if method == "tinybert" else ()
    assert projections.keys() == {f"guides.0.{name}.weight" for name in names}
    assert all(parameter.grad.abs().sum() > 0 for parameter in projections.values())
    assert all(parameter.grad is None for parameter in teacher.network.parameters())


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("roberta", {}),
        ("electra", {"embedding_size": 6}),
        ("distilbert", {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 20}),
    ],
)
@pytest.mark.parametrize("method", ["tinybert", "minilm"])
def test_kin_of_bert_teach_layer_by_layer(model: str, sizes: dict[str, int], method: str) -> None:
    settings = SMALL if model != "distilbert" else {"vocab_size": 50, "max_position_embeddings": 32}
    config = settings | {"model_type": model, "pad_token_id": 0} | sizes
    torch.manual_seed(0)
    other = build_network({"kind": "transformers", "config": config, "labels": ["bad", "good"]}).eval()
    student, teacher = texts(1), frozen(other)
    batch = batch_of([6, 4], 6)
    encoder = encoder_of(other, model)
    assert (len(encoder.layers), encoder.hidden) == (2, 16)
    seen = teacher.look(batch.inputs, [encoder.embeddings, *(layer.output for layer in encoder.layers)])
    assert seen.outputs[encoder.embeddings].shape == (2, 6, encoder.embedded)
    with torch.no_grad():
        states = other.transformer(*batch.inputs[:2], output_hidden_states=True).hidden_states
    for layer, state in zip(encoder.layers, states[1:], strict=True):
        torch.testing.assert_close(seen.outputs[layer.output], state)
    loss = loss_of(layer_guide(losses(method), student, teacher), student, teacher, batch)
    assert torch.isfinite(loss)
    assert loss > 0


def test_other_head_counts_are_refused_for_tinybert() -> None:
    with pytest.raises(
        InputError, match=r"the student has 2 heads, teacher big 4: set student.heads: 4, or use .*minilm"
    ):
        layer_guide(losses("tinybert"), texts(0, num_attention_heads=2), frozen(texts(1)))


def test_relative_positions_are_refused_for_tinybert_alone() -> None:
    student, teacher = texts(0), frozen(texts(1, position_embedding_type="relative_key"))
    with pytest.raises(InputError, match=r"relative positions.*minilm"):
        layer_guide(losses("tinybert"), student, teacher)
    assert layer_guide(losses("minilm"), student, teacher)


def test_relation_heads_must_divide_both_widths() -> None:
    student, teacher = texts(0, hidden_size=12), frozen(texts(1))
    with pytest.raises(
        InputError, match="3 does not divide the student's width 12 and the teacher's 16: use one of 1, 2, 4"
    ):
        layer_guide(losses("minilm", relation_heads=3), student, teacher)
    guide = layer_guide(losses("minilm", relation_heads=2), student, teacher)
    assert isinstance(guide, MiniLmGuide)
    assert guide.heads == 2


def test_a_teacher_of_another_build_is_refused() -> None:
    config = SMALL | {"model_type": "albert", "embedding_size": 8}
    other = build_network({"kind": "transformers", "config": config, "labels": ["bad", "good"]})
    assert isinstance(other, TextNetwork)
    with pytest.raises(InputError, match=r"big is albert; .*tinybert and minilm alike, know the layers of bert, "):
        layer_guide(losses("minilm"), texts(0), frozen(other))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"method": "tinybert"}, "give epochs"),
        ({"weight": 1, "relation_heads": 4}, "relation_heads is for method: minilm"),
        ({"weight": 1, "layer_map": [0, 1, 2, 3]}, "the first is 1"),
        ({"weight": 1, "layer_map": [1, 2]}, "names 2 layers, a student has 4"),
        ({"weight": 1, "method": "minilm", "layer_map": [1, 2]}, "list one"),
    ],
)
def test_a_recipe_refuses_layer_losses_that_make_no_sense(layers: dict[str, Any], message: str) -> None:
    recipe = {
        "schema": 1, "name": "n", "task": "text-classification", "data": {"source": "s"}, "teacher": {"model": "m"},
        "student": {"family": "tinybert", "layers": 4}, "distill": {"layers": layers},
    }  # fmt: skip
    with pytest.raises(TargetError, match=message):
        parse(Recipe, recipe, "recipe")
