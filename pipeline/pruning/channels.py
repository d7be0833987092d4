"""Convolutional networks thinned: channels go together with all that depends on them (Fang et al. 2023, DepGraph)."""

from collections.abc import Iterator
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
    time. Changes `network`; gives its architecture before the first step and after each one."""
    import torch_pruning

    body: Any = network.body
    yield architecture
    pruner = torch_pruning.pruner.BasePruner(
        body,
        inputs[0],
        importance=channel_importance(settings.importance),
        global_pruning=settings.scope != "layer",
        pruning_ratio=DEEPEST,
        max_pruning_ratio=DEEPEST,
        iterative_steps=STEPS,
        ignored_layers=_classifiers(body),
        round_to=settings.round_to,
    )
    for _ in range(STEPS):
        pruner.step()
        yield {**architecture, "shapes": body_shapes(body)}


def thin_channels_to(
    network: ImageNetwork, inputs: tuple[Tensor, ...], wanted: Architecture, settings: PruneSettings
) -> Architecture:
    """Removes from each layer the channels that matter least now, until `network` has the `wanted` architecture, which
    it returns."""
    import torch_pruning

    body: Any = network.body
    names = {module: name for name, module in body.named_modules()}
    importance = channel_importance(settings.importance)
    graph = torch_pruning.DependencyGraph().build_dependency(body, example_inputs=inputs[0])
    gone = []
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
