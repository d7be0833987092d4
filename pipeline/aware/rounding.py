"""A network that computes as its 8-bit file will: weights and activations rounded to 256 levels as it runs.

The places where a file rounds are found by running the network once: what each convolution, matrix product, activation
function, sum, product and mean gives, unless it goes into a single ReLU or ReLU6, which files compute in one with what
is before it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pipeline.aware.trace import LAYERS, added_up, fused_activations, is_place, trace

Granularity = Literal["per-channel", "per-tensor"]
GRANULARITIES: tuple[Granularity, ...] = ("per-channel", "per-tensor")
LEVELS = 255  # steps between the lowest and the highest level
LARGEST = 127  # of a weight in 8 bits, of either sign


class Places(TorchFunctionMode):
    """Goes along with a forward pass: `weigh` may change the weight of a layer, `meet(place, output, inputs)` what a
    place gives. Places are numbered as they run; what comes before the first layer is arithmetic on pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = getattr(function, "__name__", "")
        if not is_place(kind, self.count):
            return function(*args, **(kwargs or {}))
        given = (args[0], self.weigh(args[1]), *args[2:]) if kind in LAYERS else args
        output = function(*given, **(kwargs or {}))
        place, self.count = self.count, self.count + 1
        return self.meet(place, kind, output, [value for value in args if isinstance(value, Tensor)])

    def weigh(self, weight: Tensor) -> Tensor:
        return weight

    def meet(self, place: int, kind: str, output: Tensor, inputs: list[Tensor]) -> Tensor:
        raise NotImplementedError


def rounding_places(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[list[int], list[frozenset[int]]]:
    """The places of a forward pass that round, and those of them that share a scale."""
    calls = trace(network, inputs)
    fused = fused_activations(calls)
    places = [call.place for number, call in enumerate(calls) if call.place is not None and number not in fused]
    return places, added_up(calls)


class _Watch(Places):
    def __init__(self, look: Callable[[int, Tensor], None]) -> None:
        super().__init__()
        self.look = look

    def meet(self, place: int, kind: str, output: Tensor, inputs: list[Tensor]) -> Tensor:
        self.look(place, output)
        return output


def watched(network: nn.Module, inputs: tuple[Tensor, ...], look: Callable[[int, Tensor], None]) -> None:
    """Runs the network in float; `look(place, output)` sees what every place gives."""
    with torch.no_grad(), _Watch(look):
        network(*inputs)


class RoundedNetwork(nn.Module):
    """`network`, without batch normalisation, with weights rounded as `round_weight` says, and what the places `places`
    give to 256 levels. The levels' distances are learned (Esser et al. 2020, LSQ), as logarithms, so that a step is a
    share of the distance; zero stays the level that it was."""

    def __init__(
        self,
        network: nn.Module,
        places: list[int],
        low: Tensor,
        high: Tensor,
        granularity: Granularity = "per-channel",
        alike: Sequence[frozenset[int]] = (),
    ) -> None:
        """`low` and `high`, float32 [places]: the ranges at first. `granularity` is that of the weights' scales. The
        places of each set of `alike` have one scale."""
        super().__init__()
        self.network = network
        self.granularity = granularity
        shared = {place: min(together) for together in alike for place in together}
        scales = {place: number for number, place in enumerate(p for p in places if shared.get(p, p) == p)}
        self.where = {place: scales[shared.get(place, place)] for place in places}
        index = torch.tensor(list(self.where.values()))
        low = low.new_zeros(len(scales)).scatter_reduce(0, index, low, "amin")  # zero is in every range
        high = high.new_zeros(len(scales)).scatter_reduce(0, index, high, "amax")
        scale = ((high - low) / LEVELS).clamp(min=1e-8)
        self.log_scale = nn.Parameter(scale.log())
        self.register_buffer("zero", torch.round(-low / scale).clamp(0, LEVELS))
        self.zero: Tensor

    def forward(self, *inputs: Tensor) -> Tensor:
        with Rounding(self):
            return self.network(*inputs)

    @property
    def ranges(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest level of each scale, float32 [scales]; `where` tells which is a place's."""
        scale = self.log_scale.detach().exp()
        return -self.zero * scale, (LEVELS - self.zero) * scale


class Rounding(Places):
    def __init__(self, rounded: RoundedNetwork) -> None:
        super().__init__()
        self.rounded = rounded
        self.scales = rounded.log_scale.exp()

    def weigh(self, weight: Tensor) -> Tensor:
        return round_weight(weight, self.rounded.granularity)

    def meet(self, place: int, kind: str, output: Tensor, inputs: list[Tensor]) -> Tensor:
        index = self.rounded.where.get(place)
        if index is None:
            return output
        return round_values(output, self.scales[index], self.rounded.zero[index])


def weight_scale(weight: Tensor, granularity: Granularity) -> Tensor:
    """The distance of the levels of `weight`, symmetric about zero: its largest magnitude, or that of each slice along
    the first dimension, / 127. It has the weight's number of dimensions."""
    axes = tuple(range(weight.ndim)) if granularity == "per-tensor" else tuple(range(1, weight.ndim))
    return weight.detach().abs().amax(dim=axes, keepdim=True).clamp(min=1e-12) / LARGEST


def round_weight(weight: Tensor, granularity: Granularity = "per-channel") -> Tensor:
    """Rounded to the nearest multiples of its `weight_scale`; gradients pass as if it were not (Bengio et al. 2013)."""
    scale = weight_scale(weight, granularity)
    return weight + (torch.round(weight / scale) * scale - weight).detach()


def round_values(values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Rounded to the levels (0..255 - zero) * scale, and cut to the ends. Gradients pass inside the ends; that of
    `scale` is Esser et al.'s (2020, equation 3), divided by the square root of values and levels (section 2.2)."""
    share = 1 / (values.numel() * LEVELS) ** 0.5
    step = scale * share + (scale * (1 - share)).detach()
    level = values / step
    level = torch.minimum(torch.maximum(level, -zero), LEVELS - zero)
    return (level + (torch.round(level) - level).detach()) * step
