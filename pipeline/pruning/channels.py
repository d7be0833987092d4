"""Convolutional networks thinned: channels go together with all that depends on them (Fang et al. 2023, DepGraph)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.networks import ImageNetwork, body_shapes
from pipeline.pruning.importance import channel_importance
from pipeline.settings.prune import PruneSettings

DEEPEST = 0.9  # of a layer's channels that may go
STEPS = 40  # to the last of them, or to a tenth of the cost: how near the result comes to what is asked for

Architecture = dict[str, Any]


def thinner_channels(
    network: ImageNetwork, inputs: tuple[Tensor, ...], architecture: Architecture, settings: PruneSettings
) -> Iterator[Architecture]:
    """Removes the channels that matter least, step by step, until every layer has lost all that it may: the same share
    of each layer, or over the whole network those that matter least for what they cost of what the goal counts (as a
    knapsack is packed greedily: Dantzig 1957). Changes `network`, which is in evaluation mode; gives its architecture
    before the first step and after each one."""
    body: Any = network.body
    yield architecture
    importance, used = channel_importance(settings.importance), _times_used(body, inputs, settings)
    graph, whole = _dependencies(body, inputs), dict[Any, int]()
    for step in count(1):
        roots = []
        for group in graph.get_all_groups(ignored_layers=_classifiers(body)):
            layer, matters = group[0].dep.target.module, importance(group).cpu()
            fewest = _fewest(whole.setdefault(layer, len(matters)), settings.round_to)
            roots.append(Root(layer, group[0].dep.handler, matters, _cost(graph, group, used), fewest))
        if all(root.spare <= 0 for root in roots):
            return
        if settings.scope == "layer":
            gone = _evenly(roots, [whole[root.layer] for root in roots], step, settings.round_to)
        else:
            gone = _cheapest(roots, settings.round_to)
        for root, surplus in zip(roots, gone, strict=True):
            if surplus > 0:
                least = torch.argsort(root.matters, stable=True)[:surplus]
                graph.get_pruning_group(root.layer, root.cut, sorted(least.tolist())).prune()
        yield {**architecture, "shapes": body_shapes(body)}


@dataclass(frozen=True)
class Root:
    """Channels that go together with what depends on them: the layer that gives them and how it is `cut`, how much each
    `matters` (float [channels]) and costs, and the `fewest` that stay."""

    layer: Any
    cut: Any
    matters: Tensor
    cost: float
    fewest: int

    @property
    def spare(self) -> int:
        return len(self.matters) - self.fewest


def _fewest(whole: int, round_to: int) -> int:
    """The least multiple of `round_to` that leaves a layer enough of its `whole` channels."""
    enough = max(1, math.ceil(whole * (1 - DEEPEST)))
    return min(whole, math.ceil(enough / round_to) * round_to)


def _evenly(roots: list[Root], whole: list[int], step: int, round_to: int) -> list[int]:
    """How many channels of each of `roots`, of which there were `whole`, go in a `step` where all lose alike."""
    share = max(0.0, 1 - DEEPEST * step / STEPS)
    left = [
        max(root.fewest, round(share * all_ / round_to) * round_to) for root, all_ in zip(roots, whole, strict=True)
    ]
    return [len(root.matters) - stays for root, stays in zip(roots, left, strict=True)]


def _cheapest(roots: list[Root], round_to: int) -> list[int]:
    """How many channels of each of `roots` go in a step: a share of what all cost together, those first that matter
    least for it, and always as many as leave a multiple of `round_to`."""
    blocks = []  # what a channel matters for its cost, what all cost, how many they are, whose
    for number, root in enumerate(roots):
        matters, begin = root.matters.sort().values.tolist(), 0
        while begin < root.spare:
            size = min((len(matters) - begin) % round_to or round_to, root.spare - begin)
            blocks.append((sum(matters[begin : begin + size]) / size / root.cost, size * root.cost, size, number))
            begin += size
    total = sum(len(root.matters) * root.cost for root in roots) / 2  # a weight has its share of two channels
    due = (1 - (1 - DEEPEST) ** (1 / STEPS)) * total
    gone = [0] * len(roots)
    for _, cost, size, number in sorted(blocks, key=lambda block: block[0]):
        gone[number] += size
        due -= cost
        if due <= 0:
            break
    return gone


def _times_used(body: Any, inputs: tuple[Tensor, ...], settings: PruneSettings) -> dict[Any, int]:
    """How often each layer's weights count for the goal: once for parameters, at each position of its output for
    multiply-accumulates. Empty without a goal, where all channels cost the same."""
    counted = [layer for layer in body.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    if settings.goal is None or settings.goal[0] in ("params", "size_mb"):
        return {} if settings.goal is None else dict.fromkeys(counted, 1)
    used: dict[Any, int] = {}

    def note(layer: Any, _: Any, output: Tensor) -> None:
        used[layer] = output[0, 0].numel()

    hooks = [layer.register_forward_hook(note) for layer in counted]
    with torch.no_grad():
        body(inputs[0])
    for hook in hooks:
        hook.remove()
    return used


def _cost(graph: Any, group: Any, used: dict[Any, int]) -> float:
    """What a channel of `group` costs, in the layers that give it and in those that take it."""
    total = 0.0
    for dependency, _ in group:
        layer = dependency.target.module
        if layer in used:
            gives = graph.is_out_channel_pruning_fn(dependency.handler)
            channels = graph.get_out_channels(layer) if gives else graph.get_in_channels(layer)
            total += used[layer] * layer.weight.numel() / channels
    return total or 1.0


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
