"""Convolutional networks thinned: channels go together with all that depends on them (Fang et al. 2023, DepGraph)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.networks import ImageNetwork, body_shapes
from pipeline.pruning.importance import channel_importance
from pipeline.settings.prune import PruneSettings

STEPS = 40  # into which the thinning of channels is cut: how near the result comes to what is asked for
DEEPEST = 0.9  # of a layer's channels that may go

Architecture = dict[str, Any]


def thinner_channels(
    network: ImageNetwork, inputs: tuple[Tensor, ...], architecture: Architecture, settings: PruneSettings
) -> Iterator[Architecture]:
    """Removes the channels that matter least over the whole network, or of each layer, a `STEPS`-th of what may go at a
    time, until every layer has lost all that it may. Changes `network`; gives its architecture before the first step
    and after each one."""
    body: Any = network.body
    yield architecture
    importance = channel_importance(settings.importance)
    graph, whole = _dependencies(body, inputs), dict[Any, int]()
    for step in range(1, STEPS + 1):
        roots: list[Root] = []
        for group in graph.get_all_groups(ignored_layers=_classifiers(body)):
            layer, matters = group[0].dep.target.module, importance(group)
            initial = whole.setdefault(layer, len(matters))
            roots.append(Root(layer, group[0].dep.handler, initial, _fewest(initial, settings.round_to), matters))
        surplus = [_due([root], step)[0] for root in roots] if settings.scope == "layer" else _due(roots, step)
        for root, count in zip(roots, surplus, strict=True):
            left = max(root.fewest, round((len(root.matters) - count) / settings.round_to) * settings.round_to)
            if left < len(root.matters):
                least = torch.argsort(root.matters, stable=True)[: len(root.matters) - left]
                graph.get_pruning_group(root.layer, root.cut, sorted(least.tolist())).prune()
        yield {**architecture, "shapes": body_shapes(body)}


@dataclass(frozen=True)
class Root:
    """Channels that go together with what depends on them: the layer that gives them and how it is `cut`, how many
    there were (`whole`), the `fewest` that stay, and how much each that is left `matters`, float [channels]."""

    layer: Any
    cut: Any
    whole: int
    fewest: int
    matters: Tensor


def _fewest(whole: int, round_to: int) -> int:
    """The least multiple of `round_to` that leaves a layer enough of its `whole` channels."""
    enough = max(1, math.ceil(whole * (1 - DEEPEST)))
    return min(whole, math.ceil(enough / round_to) * round_to)


def _due(roots: list[Root], step: int) -> list[int]:
    """How many channels of each of `roots` must go for the `step`-th part of all that may: those that matter least."""
    gone = sum(root.whole - len(root.matters) for root in roots)
    due = round(sum(root.whole - root.fewest for root in roots) * step / STEPS) - gone
    free = [root.matters.sort().values[: len(root.matters) - root.fewest] for root in roots]
    owner = torch.cat([torch.full((len(values),), number) for number, values in enumerate(free)])
    chosen = owner[torch.argsort(torch.cat(free).cpu(), stable=True)[: max(0, due)]]
    return torch.bincount(chosen, minlength=len(roots)).tolist()


def _dependencies(body: Any, inputs: tuple[Tensor, ...]) -> Any:
    import torch_pruning

    return torch_pruning.DependencyGraph().build_dependency(body, example_inputs=inputs[0])


def thin_channels_to(
    network: ImageNetwork, inputs: tuple[Tensor, ...], wanted: Architecture, settings: PruneSettings
) -> Architecture:
    """Removes from each layer the channels that matter least now, until `network` has the `wanted` architecture, which
    it returns."""
    body: Any = network.body
    names = {module: name for name, module in body.named_modules()}
    importance = channel_importance(settings.importance)
    graph, gone = _dependencies(body, inputs), []
    for group in graph.get_all_groups(ignored_layers=_classifiers(body)):
        layer, cut = group[0].dep.target.module, group[0].dep.handler
        surplus = graph.get_out_channels(layer) - wanted["shapes"][names[layer]][0]
        if surplus > 0:
            # All are chosen before the first goes: a channel's importance counts what the next layer makes of it.
            least = torch.argsort(importance(group), stable=True)[:surplus]
            gone.append((layer, cut, sorted(least.tolist())))
    for layer, cut, channels in gone:
        graph.get_pruning_group(layer, cut, channels).prune()
    return wanted


def _classifiers(body: Any) -> list[Any]:
    classifier = body.get_classifier()
    return list(classifier) if isinstance(classifier, tuple) else [classifier]
