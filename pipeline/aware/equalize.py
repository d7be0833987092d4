"""Cross-layer equalisation: what a channel is multiplied by in one convolution the next one divides out, so that all
channels fill the range that they share."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.aware.rounding import Granularity, watched
from pipeline.aware.trace import Call, trace

Batches = Iterable[tuple[Tensor, ...]]
LEAST = 1 / 16  # of the widest range: what a channel's own counts at least, so that a channel that is silent on the
# samples does not come out of all proportion on others
HEADROOM = 1.25  # times what a channel gave over the samples, under the activation's ceiling
ROUNDS = 20  # each pair undoes a little of what the pairs beside it did


@dataclass(frozen=True)
class Pair:
    """Two convolutions: `first`, by its place in the forward pass, gives `second` what at most an activation changed,
    and no one else. `bounds`: the interval to which that cuts, (0, inf) for ReLU; None: there is none."""

    place: int
    first: nn.Conv2d
    second: nn.Conv2d
    bounds: tuple[float, float] | None


def equalizable_pairs(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Pair]:
    """In the order in which they run on `inputs`. The network has no batch normalisation left (`pipeline.aware.fold`);
    activations that positive factors do not commute with, such as hard-swish, stand between no pair."""
    calls = trace(network, inputs)
    uses = [id(call.layer) for call in calls if call.layer is not None]
    pairs = []
    for call in calls:
        first, follower = call.layer, _only_taker(calls, call)
        bounds = None
        if follower is not None and follower.bounds is not None and follower.bounds[0] == 0:
            bounds, follower = follower.bounds, _only_taker(calls, follower)
        second = follower.layer if follower is not None else None
        if not isinstance(first, nn.Conv2d) or not isinstance(second, nn.Conv2d):
            continue
        if uses.count(id(first)) == uses.count(id(second)) == 1:
            assert call.place is not None
            pairs.append(Pair(call.place, first, second, bounds))
    return pairs


def _only_taker(calls: list[Call], call: Call) -> Call | None:
    return calls[call.takers[0]] if len(call.takers) == 1 else None


def equalize(network: nn.Module, pairs: list[Pair], batches: Batches, granularity: Granularity) -> None:
    """Rescales the channels between each of `pairs` in place, by what they give over `batches`.

    With one weight scale a tensor, the factors are those of Nagel et al. (2019, Data-Free Quantization, section 4.1):
    both convolutions' weights get channels of equal range. With a scale a channel the first one's weights round alike
    whatever the factors, and its activations take their place (Xiao et al. 2023, SmoothQuant, equation 4, alpha 0.5);
    where the second is depthwise its weights do too, and every channel fills the range of activations.

    The network computes what it did, but for float32 rounding, where activations are ReLUs or none. Under a ceiling
    (ReLU6) it does so for samples that exceed what was seen by no more than `HEADROOM`: channels that reach it keep
    their scale, others stay below it.
    """
    most = _largest(network, pairs, batches)
    with torch.no_grad():
        for _ in range(ROUNDS):
            moved = 0.0
            for pair in pairs:
                factor = _factors(pair, most[pair.place], granularity)
                _rescale(pair, factor)
                most[pair.place] /= factor
                moved = max(moved, float(factor.log().abs().max()))
            if moved < 1e-3:
                break


def _largest(network: nn.Module, pairs: list[Pair], batches: Batches) -> dict[int, Tensor]:
    """By place of each pair's first convolution: the largest output of each channel, before the activation; where none
    follows, the largest magnitude."""
    most: dict[int, Tensor] = {}
    signed = {pair.place: pair.bounds is not None for pair in pairs}

    def look(place: int, output: Tensor) -> None:
        if place in signed:
            found = (output if signed[place] else output.abs()).amax(dim=(0, 2, 3))
            most[place] = torch.maximum(most[place], found) if place in most else found

    for inputs in batches:
        watched(network, inputs, look)
    return most


def _factors(pair: Pair, most: Tensor, granularity: Granularity) -> Tensor:
    """By which the channels between the two are divided, float32 [channels]."""
    ceiling = math.inf if pair.bounds is None else pair.bounds[1]
    reach = most.clamp(min=0) * HEADROOM
    widest = float(reach.max()) if math.isinf(ceiling) else ceiling
    reach = reach.clamp(min=LEAST * widest)
    first, second = _output_ranges(pair.first), _input_ranges(pair.second, granularity)
    if granularity == "per-tensor":
        factor = torch.sqrt(first / second)
    elif pair.second.weight.shape[1] == 1:
        factor = reach / widest
    else:
        factor = torch.sqrt(reach / widest / second)
    if not math.isinf(ceiling):
        factor = torch.maximum(factor, reach / ceiling)
        factor[reach >= ceiling] = 1.0
    factor[(first == 0) | (second == 0) | (most <= 0)] = 1.0
    return factor


def _output_ranges(layer: nn.Conv2d) -> Tensor:
    """Largest weight by output channel, as a share of the largest of all."""
    largest = layer.weight.abs().amax(dim=(1, 2, 3))
    return largest / largest.max().clamp(min=1e-12)


def _input_ranges(layer: nn.Conv2d, granularity: Granularity) -> Tensor:
    """Largest weight by input channel, as a share of the largest of all that round with it."""
    axes = (0, 1, 2, 3) if granularity == "per-tensor" else (1, 2, 3)
    shares = layer.weight.abs() / layer.weight.abs().amax(dim=axes, keepdim=True).clamp(min=1e-12)
    return shares.unflatten(0, (layer.groups, -1)).amax(dim=(1, 3, 4)).flatten()


def _rescale(pair: Pair, factor: Tensor) -> None:
    pair.first.weight.div_(factor.view(-1, 1, 1, 1))
    if pair.first.bias is not None:
        pair.first.bias.div_(factor)
    grouped = pair.second.weight.unflatten(0, (pair.second.groups, -1))  # [groups, outputs, inputs of a group, k, k]
    grouped.mul_(factor.view(pair.second.groups, 1, -1, 1, 1))
