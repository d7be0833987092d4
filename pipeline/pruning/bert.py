"""A BERT thinned: attention heads and feed-forward units of its layers, and whole layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.networks import TextNetwork
from pipeline.pruning.importance import column_importance
from pipeline.settings.prune import Importance, PruneSettings

STEPS = 40  # the shares of heads and units that stay: 39/40, 38/40 ...
LEAST = 2  # of them

Architecture = dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """How much the heads and units that each layer has now matter: a float32 tensor a layer."""

    heads: tuple[Tensor, ...]
    units: tuple[Tensor, ...]

    @property
    def layers(self) -> Tensor:
        """float32 [layers]: all that a layer adds."""
        return torch.stack([h.sum() + u.sum() for h, u in zip(self.heads, self.units, strict=True)])


@dataclass(frozen=True)
class Sizes:
    """How many heads and units each layer has."""

    heads: tuple[int, ...]
    units: tuple[int, ...]


def thinner_bert(network: TextNetwork, architecture: Architecture, settings: PruneSettings) -> Iterator[Architecture]:
    """Removes whole layers down to `settings.layers`, then heads and units, the same share of both: from each layer as
    many as from the others, or those that matter least in all of them. Changes `network`; gives its architecture
    before the heads' and units' first step and after each one."""
    scores = _scores(network, settings.importance)
    architecture, scores = _keep_layers(network, architecture, scores, settings.layers or len(scores.heads))
    yield architecture
    all_scores = scores
    for step in range(STEPS - 1, LEAST - 1, -1):
        wanted = _global_sizes if settings.scope == "global" else _equal_sizes
        sizes = wanted(all_scores, step / STEPS, settings.round_to)
        architecture, scores = _keep(network, architecture, scores, sizes)
        yield architecture


def thin_bert_to(
    network: TextNetwork, architecture: Architecture, wanted: Architecture, settings: PruneSettings
) -> Architecture:
    """Removes the layers, heads and units that matter least now until each layer is as wide as in `wanted`. Gives the
    new architecture of `network`, in which other heads may be gone than in `wanted`."""
    layers = wanted["config"]["num_hidden_layers"]
    scores = _scores(network, settings.importance)
    architecture, scores = _keep_layers(network, architecture, scores, layers)
    gone = wanted["config"].get("pruned_heads", {})
    heads = tuple(wanted["config"]["num_attention_heads"] - len(gone.get(str(layer), ())) for layer in range(layers))
    units = tuple(wanted.get("units", [wanted["config"]["intermediate_size"]] * layers))
    return _keep(network, architecture, scores, Sizes(heads, units))[0]


def _layers_of(network: TextNetwork) -> Any:
    transformer: Any = network.transformer
    return transformer.bert.encoder.layer


def _scores(network: TextNetwork, importance: Importance) -> Scores:
    """By the weights through which a head or unit writes. A head's is the sum over its columns."""
    heads, units = [], []
    for layer in _layers_of(network):
        columns = column_importance(layer.attention.output.dense.weight, importance)
        heads.append(columns.view(layer.attention.self.num_attention_heads, -1).sum(1))
        units.append(column_importance(layer.output.dense.weight, importance))
    return Scores(tuple(heads), tuple(units))


def _equal_sizes(scores: Scores, share: float, round_to: int) -> Sizes:
    heads = tuple(max(1, round(share * len(layer))) for layer in scores.heads)
    return Sizes(heads, tuple(_in_multiples(share * len(layer), len(layer), round_to) for layer in scores.units))


def _global_sizes(scores: Scores, share: float, round_to: int) -> Sizes:
    """What each layer keeps when the least of all layers go together; none goes without."""
    heads = tuple(max(1, count) for count in _above_all(scores.heads, share))
    counts = _above_all(scores.units, share)
    units = (_in_multiples(n, len(layer), round_to) for n, layer in zip(counts, scores.units, strict=True))
    return Sizes(heads, tuple(units))


def _above_all(scores: tuple[Tensor, ...], share: float) -> list[int]:
    """How many of each layer's are among the best `share` of all layers'."""
    every = torch.cat(scores)
    best = torch.zeros(len(every), dtype=torch.bool)
    best[every.argsort(stable=True, descending=True)[: round(share * len(every))]] = True
    return [int(part.sum()) for part in best.split([len(layer) for layer in scores])]


def _in_multiples(count: float, limit: int, round_to: int) -> int:
    return min(limit, round_to * max(1, round(count / round_to)))


def _keep_layers(
    network: TextNetwork, architecture: Architecture, scores: Scores, count: int
) -> tuple[Architecture, Scores]:
    """Leaves the `count` layers that matter most, in their order."""
    layers = _layers_of(network)
    if count >= len(layers):
        return architecture, scores
    kept = sorted(scores.layers.argsort(stable=True, descending=True)[:count].tolist())
    transformer: Any = network.transformer
    transformer.bert.encoder.layer = nn.ModuleList(layers[number] for number in kept)
    transformer.config.num_hidden_layers = count
    config = {**architecture["config"], "num_hidden_layers": count}
    left = Scores(tuple(scores.heads[n] for n in kept), tuple(scores.units[n] for n in kept))
    return {**architecture, "config": config}, left


def _keep(
    network: TextNetwork, architecture: Architecture, scores: Scores, sizes: Sizes
) -> tuple[Architecture, Scores]:
    """Leaves in each layer so many heads and units, those that matter most."""
    total = architecture["config"]["num_attention_heads"]
    gone: dict[int, list[int]] = {}
    heads, units = [], []
    for number, layer in enumerate(_layers_of(network)):
        own_heads, own_units = scores.heads[number], scores.units[number]
        least = own_heads.argsort(stable=True)[: max(0, len(own_heads) - sizes.heads[number])].tolist()
        there = sorted(set(range(total)) - layer.attention.pruned_heads)  # their numbers before any was pruned
        gone[number] = sorted(there[place] for place in least)
        heads.append(own_heads[[place for place in range(len(own_heads)) if place not in least]])
        kept = own_units.argsort(stable=True, descending=True)[: sizes.units[number]].sort().values
        if len(kept) < len(own_units):
            _keep_units(layer, kept)
        units.append(own_units[kept])
    transformer: Any = network.transformer
    transformer.prune_heads({number: numbers for number, numbers in gone.items() if numbers})
    return _described(network, architecture), Scores(tuple(heads), tuple(units))


def _keep_units(layer: Any, kept: Tensor) -> None:
    """Leaves the feed-forward units `kept` in a BERT layer."""
    into, out = layer.intermediate.dense, layer.output.dense
    kept = kept.to(into.weight.device)
    into.weight, into.bias = nn.Parameter(into.weight[kept].detach()), nn.Parameter(into.bias[kept].detach())
    out.weight = nn.Parameter(out.weight[:, kept].detach())
    into.out_features = out.in_features = len(kept)


def _described(network: TextNetwork, architecture: Architecture) -> Architecture:
    """The architecture that `network` has now: `units` by layer only where they are not the same in all."""
    layers = _layers_of(network)
    units = [layer.intermediate.dense.out_features for layer in layers]
    config = {**architecture["config"], "intermediate_size": max(units)}
    gone = {str(number): sorted(layer.attention.pruned_heads) for number, layer in enumerate(layers)}
    if any(gone.values()):
        config["pruned_heads"] = gone
    return {**architecture, "config": config, **({"units": units} if len(set(units)) > 1 else {})}
