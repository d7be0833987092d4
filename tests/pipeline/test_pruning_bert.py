"""Heads, feed-forward units and whole layers of a BERT, on one of 3 layers, 4 heads and 16 units whose importances are
set by hand."""

from typing import Any

import pytest
import torch

from pipeline.networks import TextNetwork, build_network
from pipeline.pruning.bert import thin_bert_to, thinner_bert
from pipeline.settings.prune import PruneSettings

HEADS, UNITS, WIDTH = 4, 16, 8
ARCHITECTURE: dict[str, Any] = {
    "kind": "transformers",
    "config": {
        "model_type": "bert", "vocab_size": 30, "hidden_size": WIDTH, "num_hidden_layers": 3,
        "num_attention_heads": HEADS, "intermediate_size": UNITS, "max_position_embeddings": 8,
    },
    "labels": ["no", "yes"],
}  # fmt: skip
INPUTS = (torch.tensor([[2, 5, 7, 3]]), torch.ones(1, 4, dtype=torch.long), torch.zeros(1, 4, dtype=torch.long))


def network(layers: tuple[float, ...] = (1.0, 1.0, 1.0)) -> TextNetwork:
    """By gradients head h matters as h + 1 and unit u as u + 1, times what the layer does; by norms all are alike."""
    torch.manual_seed(0)
    made = build_network(ARCHITECTURE).eval()
    assert isinstance(made, TextNetwork)
    for layer, times in zip(made.transformer.bert.encoder.layer, layers, strict=True):
        for dense, count in ((layer.attention.output.dense, HEADS), (layer.output.dense, UNITS)):
            torch.nn.init.ones_(dense.weight)
            columns = dense.weight.shape[1]
            by_column = times * (1 + torch.arange(columns) // (columns // count)).float()
            dense.weight.grad = by_column.expand(WIDTH, columns).clone()
    return made


def sizes(made: TextNetwork) -> list[tuple[int, int]]:
    """Heads and units of each layer."""
    layers = made.transformer.bert.encoder.layer
    return [(layer.attention.self.num_attention_heads, layer.intermediate.dense.out_features) for layer in layers]


def at_share(made: TextNetwork, settings: PruneSettings, rungs: int) -> dict[str, Any]:
    """The architecture so many rungs below the top."""
    steps = thinner_bert(made, ARCHITECTURE, settings)
    return [next(steps) for _ in range(rungs + 1)][-1]


def as_loaded(made: TextNetwork, architecture: dict[str, Any]) -> None:
    """The description makes the same network."""
    again = build_network(architecture).eval()
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again(*INPUTS), made(*INPUTS))


def test_every_layer_loses_the_least_heads_and_units_to_the_same_share() -> None:
    made = network((1.0, 100.0, 1.0))
    architecture = at_share(made, PruneSettings(round_to=4), 20)  # half
    assert sizes(made) == [(2, 8)] * 3
    assert architecture["config"]["pruned_heads"] == {"0": [0, 1], "1": [0, 1], "2": [0, 1]}
    assert architecture["config"]["intermediate_size"] == 8
    assert "units" not in architecture
    as_loaded(made, architecture)


def test_globally_the_layers_that_matter_less_lose_more_but_not_all() -> None:
    made = network((1.0, 100.0, 10.0))
    architecture = at_share(made, PruneSettings(scope="global", round_to=1), 20)
    # Of 48 units 24 stay: the 16 of layer 1, and the upper 8 of layer 2; layer 0, with none of these, keeps one.
    assert sizes(made) == [(1, 1), (4, 16), (2, 8)]
    assert architecture["units"] == [1, 16, 8]
    assert architecture["config"]["pruned_heads"] == {"0": [0, 1, 2], "1": [], "2": [0, 1]}
    as_loaded(made, architecture)


@pytest.mark.parametrize("round_to", [1, 4, 8])
def test_units_come_in_multiples(round_to: int) -> None:
    made = network()
    for _ in thinner_bert(made, ARCHITECTURE, PruneSettings(round_to=round_to)):
        assert all(units % round_to == 0 for _, units in sizes(made))
    assert sizes(made) == [(1, round_to)] * 3


def test_the_units_kept_are_those_that_matter_most_in_their_order() -> None:
    made = network()
    layer = made.transformer.bert.encoder.layer[0]
    with torch.no_grad():
        layer.intermediate.dense.bias.copy_(torch.arange(16.0))
    layer.output.dense.weight.grad[:, [3, 9]] = 100.0
    thin_to = {**ARCHITECTURE, "config": {**ARCHITECTURE["config"], "intermediate_size": 4}}
    thin_bert_to(made, ARCHITECTURE, thin_to, PruneSettings())
    assert layer.intermediate.dense.bias.tolist() == [3.0, 9.0, 14.0, 15.0]


def test_the_layers_left_are_those_that_matter_most_in_their_order() -> None:
    made = network((2.0, 1.0, 3.0))
    first, _, last = made.transformer.bert.encoder.layer
    architecture = at_share(made, PruneSettings(layers=2), 0)
    assert list(made.transformer.bert.encoder.layer) == [first, last]
    assert architecture["config"]["num_hidden_layers"] == 2
    as_loaded(made, architecture)


def test_with_fewer_layers_heads_and_units_go_on_from_there() -> None:
    made = network((2.0, 1.0, 3.0))
    architecture = at_share(made, PruneSettings(layers=2, round_to=4), 20)
    assert sizes(made) == [(2, 8)] * 2
    as_loaded(made, architecture)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_step_by_step_ends_at_the_sizes_of_one_cut(scope: Any) -> None:
    """Gradual pruning: heads and units that are gone stay gone, and the description says which."""
    settings = PruneSettings(layers=2, scope=scope, round_to=1)
    rungs = [network((2.0, 1.0, 3.0)), network((2.0, 1.0, 3.0))]
    slightly, half = at_share(rungs[0], settings, 10), at_share(rungs[1], settings, 20)
    made = network((2.0, 1.0, 3.0))
    architecture = thin_bert_to(made, ARCHITECTURE, slightly, settings)
    assert sizes(made) == sizes(rungs[0])
    made.zero_grad()
    architecture = thin_bert_to(made, architecture, half, settings.model_copy(update={"importance": "magnitude_l2"}))
    assert sizes(made) == sizes(rungs[1])
    as_loaded(made, architecture)
