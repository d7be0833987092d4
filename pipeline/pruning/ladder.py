"""From the whole student down to the thinnest that pruning can make of it, rung by rung: what a goal chooses from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.networks import ImageNetwork, TextNetwork, count_macs, count_parameters, device_of, example_inputs
from pipeline.pruning.bert import thin_bert_to, thinner_bert
from pipeline.pruning.channels import thin_channels_to, thinner_channels
from pipeline.results import PreparedData
from pipeline.settings.prune import GoalName, PruneSettings

REACHED = 1.005  # times a share that counts as the share: a BERT's halves are a hair more than half, with its pooler


@dataclass(frozen=True)
class Rung:
    """A thinner student: its architecture, its parameters and its multiply-accumulates for one sample."""

    architecture: dict[str, Any]
    macs: int
    parameters: int


def ladder(
    network: nn.Module, data: PreparedData, architecture: dict[str, Any], settings: PruneSettings, seed: int
) -> Iterator[Rung]:
    """The rungs from the top, which is `network` as it is, or left with `settings.layers`. `network`, in whose `grad`
    stands what the importance asks for, is thinned in place and is that of the last rung given."""
    torch.manual_seed(seed)  # of random importance
    inputs = tuple(tensor.to(device_of(network)) for tensor in example_inputs(data))
    if isinstance(network, ImageNetwork):
        rungs = thinner_channels(network, inputs, architecture, settings)
    else:
        assert isinstance(network, TextNetwork)
        rungs = thinner_bert(network, architecture, settings)
    for thinner in rungs:
        yield Rung(thinner, count_macs(network, inputs), count_parameters(network))


def thin_to(
    network: nn.Module, data: PreparedData, architecture: dict[str, Any], wanted: dict[str, Any],
    settings: PruneSettings, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Thins `network`, of `architecture`, in place to the sizes that `wanted` has, of what matters least now; gives its
    new architecture."""
    torch.manual_seed(seed)
    if isinstance(network, ImageNetwork):
        if "shapes" not in wanted:
            return architecture
        inputs = tuple(tensor.to(device_of(network)) for tensor in example_inputs(data))
        return thin_channels_to(network, inputs, wanted, settings)
    assert isinstance(network, TextNetwork)
    return thin_bert_to(network, architecture, wanted, settings)


def down_to_goal(rungs: Iterator[Rung], macs: int, parameters: int, settings: PruneSettings) -> list[Rung]:
    """The rungs down to the first that keeps to a goal which is counted: a share of the student's `macs` or
    `parameters`. Without one, the top. Raises InputError where no rung is so low."""
    goal, share = settings.goal or ("macs", 1.0)
    whole = {"macs": macs, "params": parameters}[goal]
    limit = whole if share == 1.0 else share * whole * REACHED
    return _until(rungs, lambda rung: counted(rung, goal) <= limit, lambda rung: counted(rung, goal) / whole, settings)


def counted(rung: Rung, goal: GoalName) -> int:
    """What of a rung is counted that `goal` goes with: bytes with parameters, milliseconds with
    multiply-accumulates."""
    return rung.macs if goal in ("macs", "latency") else rung.parameters


def _until(
    rungs: Iterator[Rung], enough: Callable[[Rung], bool], left: Callable[[Rung], float], settings: PruneSettings
) -> list[Rung]:
    passed = []
    for rung in rungs:
        passed.append(rung)
        if enough(rung):
            return passed
    raise InputError(refusal(settings, f"{left(passed[-1]):.2f}"))


def refusal(settings: PruneSettings, least: str) -> str:
    """That a goal can't be reached; `least`: what is left at the least."""
    assert settings.goal is not None
    name, asked = settings.goal
    multiples = f"with channels in multiples of {settings.round_to} at least {least} is left"
    return f"prune.{name} {asked:g} can't be reached: {multiples}; raise prune.{name} or lower prune.round_to"
