"""Learned rounding: whether each weight goes to the level above or below it, so that its layer gives what it did."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.aware.layer_samples import LayerSamples, layer_samples
from pipeline.aware.rounding import LARGEST, Granularity, RoundedNetwork, round_weight, weight_scale
from pipeline.aware.trace import fused_activations, trace

POSITIONS = 8192  # of a layer's output on which it learns, over all samples
HELD_BACK = 4  # one sample in so many is not learned from, but judges
STEPS = 500
BATCH = 256  # positions a step
RATE = 1e-2
WEIGHT = 1.0  # of the regularizer beside the error, which is a share of that of the nearest levels
WARM = 0.2  # share of the steps without the regularizer
SHARP, SMOOTH = 2.0, 20.0  # the regularizer's exponent, from smooth to sharp
LOW, HIGH = -0.1, 1.1  # ends of the stretched sigmoid

Bounds = tuple[float, float]


@dataclass(frozen=True)
class LearnedLayer:
    """Mean squared errors of the layer's output, on samples that it did not learn from, with its weights at the
    `nearest` levels and at those `learned`; `kept` where the latter is less, and the weights are there."""

    name: str
    nearest: float
    learned: float

    @property
    def kept(self) -> bool:
        return self.learned < self.nearest

    @property
    def fall(self) -> float:
        """By which share the error fell."""
        return 1 - self.learned / self.nearest if self.kept else 0.0


def learn_rounding(
    rounded: RoundedNetwork,
    reference: nn.Module,
    batches: Callable[[], Iterable[tuple[Tensor, ...]]],
    samples: int,
    seed: int,
    seen: Callable[[int], None],
) -> list[LearnedLayer]:
    """Puts the weights of the network inside `rounded` on the levels that files have for them (AdaRound: Nagel et al.
    2020, Up or Down?), in the order in which its convolutions and matrix products run.

    A layer learns to give what it gives in `reference`, the network in float, behind its activation, from what reaches
    it when all before it is rounded (equation 25), so it makes up for some of that too. `batches` gives the same
    samples, `samples` of them, whenever it is called; `seen` is told how many have gone through, `samples` for each
    layer. What is kept of them does not grow with their number.
    """
    network = rounded.network
    calls = trace(network, tuple(tensor[:1] for tensor in next(iter(batches()))))
    fused = fused_activations(calls)
    names = {module: name for name, module in network.named_modules()}
    learned = []
    for number, call in enumerate(calls):
        layer = call.layer
        if layer is None or call.place is None:
            continue
        last = calls[fused.get(number, number)]
        assert last.place is not None
        generator = torch.Generator().manual_seed(seed + call.place)
        found = layer_samples(
            layer, call.place, last.place, rounded, reference, batches(), max(POSITIONS // samples, 1), generator, seen
        )
        learned.append(_learn(names[layer], layer, last.bounds, found, rounded.granularity, generator))
    return learned


def _learn(
    name: str,
    layer: nn.Module,
    bounds: Bounds | None,
    samples: LayerSamples,
    granularity: Granularity,
    generator: torch.Generator,
) -> LearnedLayer:
    """Leaves the layer with the better of the weights that it learned and the nearest."""
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    shown = len(samples.wanted) * (HELD_BACK - 1) // HELD_BACK
    learns, judges = samples.part(slice(shown)), samples.part(slice(shown, None))
    nearest = round_weight(weight, granularity).detach()
    above = _Above(weight, granularity)
    scale = float(_error(nearest, bias, bounds, learns)) or 1.0
    optimizer = torch.optim.Adam([above.logits], RATE)
    with torch.enable_grad():
        for step in range(STEPS):
            index = torch.randint(shown, (BATCH,), generator=generator).to(weight.device)
            loss = _error(above.weight(), bias, bounds, learns.part(index)) / scale
            done = step / STEPS
            if done >= WARM:
                exponent = SHARP + (SMOOTH - SHARP) * (1 - (done - WARM) / (1 - WARM))
                loss = loss + WEIGHT * above.undecided(exponent)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    chosen = above.decided()
    result = LearnedLayer(name, *(float(_error(values, bias, bounds, judges)) for values in (nearest, chosen)))
    with torch.no_grad():
        layer.weight.copy_(chosen if result.kept else nearest)
    return result


class _Above:
    """Of each weight, how far it goes from the level below it to the one above: a sigmoid, stretched so that it reaches
    both (equation 23). The largest of those that share a scale stay, since the scale follows from them."""

    def __init__(self, weight: Tensor, granularity: Granularity) -> None:
        self.scale = weight_scale(weight, granularity)
        level = weight / self.scale
        self.fixed = level.abs() > LARGEST - 1e-3
        self.level = torch.where(self.fixed, level.round(), level.floor())
        rest = (level - self.level).clamp(1e-4, 1 - 1e-4)
        self.logits = torch.logit((rest - LOW) / (HIGH - LOW)).requires_grad_()

    def share(self) -> Tensor:
        return (torch.sigmoid(self.logits) * (HIGH - LOW) + LOW).clamp(0, 1).masked_fill(self.fixed, 0.0)

    def weight(self) -> Tensor:
        return (self.level + self.share()) * self.scale

    def undecided(self, exponent: float) -> Tensor:
        """1 for weights half-way, 0 for those on a level (equation 24), in the mean."""
        return 1 - (2 * self.share() - 1).abs().pow(exponent).mean()

    def decided(self) -> Tensor:
        return (self.level + (self.share() > 0.5)) * self.scale


def _error(weight: Tensor, bias: Tensor | None, bounds: Bounds | None, samples: LayerSamples) -> Tensor:
    """Mean over positions of the squared error of a position's output."""
    groups = samples.taken.shape[1]
    by_group = weight.flatten(1).unflatten(0, (groups, -1))  # [groups, outputs of one, K]
    output = torch.einsum("ngk,gok->ngo", samples.taken, by_group).flatten(1)
    if bias is not None:
        output = output + bias
    if bounds is not None:
        output = output.clamp(*bounds)
    return (output - samples.wanted).square().sum(1).mean()
