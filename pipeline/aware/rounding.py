"""A network that computes as its 8-bit file will: weights and activations rounded to 256 levels as it runs.

The places where a file rounds are found by running the network once: what each convolution, matrix product, activation
function, sum, product and mean gives, unless it goes into a single ReLU or ReLU6, which files compute in one with what
is before it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

LAYERS = frozenset({"conv2d", "linear"})
FUSED = frozenset({"relu", "relu6", "hardtanh", "clamp"})
OTHERS = FUSED | {"add", "add_", "mul", "mul_", "mean", "adaptive_avg_pool2d", "cat", "hardswish", "hardsigmoid",
                  "silu", "sigmoid", "gelu"}  # fmt: skip
LEVELS = 255  # steps between the lowest and the highest level
LARGEST = 127  # of a weight in 8 bits, of either sign


class _Places(TorchFunctionMode):
    """Goes along with a forward pass: `weigh` may change the weight of a layer, `meet(place, output, inputs)` what a
    place gives. Places are numbered as they run; what comes before the first layer is arithmetic on pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = getattr(function, "__name__", "")
        if kind in LAYERS:
            given = (args[0], self.weigh(args[1]), *args[2:])
        elif self.count and kind in OTHERS:
            given = args
        else:
            return function(*args, **(kwargs or {}))
        output = function(*given, **(kwargs or {}))
        place, self.count = self.count, self.count + 1
        return self.meet(place, kind, output, [value for value in args if isinstance(value, Tensor)])

    def weigh(self, weight: Tensor) -> Tensor:
        return weight

    def meet(self, place: int, kind: str, output: Tensor, inputs: list[Tensor]) -> Tensor:
        raise NotImplementedError


class _Survey(_Places):
    """Who takes what each place gives."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []
        self.takers: list[list[int]] = []
        self._made: dict[int, int] = {}
        self._alive: list[Tensor] = []

    def meet(self, place: int, kind: str, output: Tensor, inputs: list[Tensor]) -> Tensor:
        for value in inputs:
            if id(value) in self._made:
                self.takers[self._made[id(value)]].append(place)
        self.kinds.append(kind)
        self.takers.append([])
        self._made[id(output)] = place
        self._alive += [output, *inputs]
        return output


def rounding_places(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[int]:
    """The places of a forward pass that round."""
    with torch.no_grad(), _Survey() as survey:
        network(*inputs)
    fused = {
        place
        for place, takers in enumerate(survey.takers)
        if len(takers) == 1 and survey.kinds[takers[0]] in FUSED and survey.kinds[place] not in FUSED
    }
    return [place for place in range(survey.count) if place not in fused]


class _Watch(_Places):
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
    """`network`, without batch normalisation, with weights rounded to 255 levels a channel, symmetric about zero by
    the channel's largest, and what the places `places` give to 256 levels. The levels' distances are learned (Esser et
    al. 2020, LSQ), as logarithms, so that a step is a share of the distance; zero stays the level that it was."""

    def __init__(self, network: nn.Module, places: list[int], low: Tensor, high: Tensor) -> None:
        """`low` and `high`, float32 [places]: the ranges at first."""
        super().__init__()
        self.network = network
        self.where = {place: index for index, place in enumerate(places)}
        low, high = low.clamp(max=0.0), high.clamp(min=0.0)
        scale = ((high - low) / LEVELS).clamp(min=1e-8)
        self.log_scale = nn.Parameter(scale.log())
        self.register_buffer("zero", torch.round(-low / scale).clamp(0, LEVELS))
        self.zero: Tensor

    def forward(self, *inputs: Tensor) -> Tensor:
        with Rounding(self):
            return self.network(*inputs)

    @property
    def ranges(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest level of each place, float32 [places]."""
        scale = self.log_scale.detach().exp()
        return -self.zero * scale, (LEVELS - self.zero) * scale


class Rounding(_Places):
    def __init__(self, rounded: RoundedNetwork) -> None:
        super().__init__()
        self.rounded = rounded
        self.scales = rounded.log_scale.exp()

    def weigh(self, weight: Tensor) -> Tensor:
        return round_weight(weight)

    def meet(self, place: int, kind: str, output: Tensor, inputs: list[Tensor]) -> Tensor:
        index = self.rounded.where.get(place)
        if index is None:
            return output
        return round_values(output, self.scales[index], self.rounded.zero[index])


def round_weight(weight: Tensor) -> Tensor:
    """Each slice along the first dimension rounded to multiples of its largest magnitude / 127; gradients pass as if
    it were not (Bengio et al. 2013)."""
    largest = weight.detach().abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True).clamp(min=1e-12)
    scale = largest / LARGEST
    return weight + (torch.round(weight / scale) * scale - weight).detach()


def round_values(values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Rounded to the levels (0..255 - zero) * scale, and cut to the ends. Gradients pass inside the ends; that of
    `scale` is Esser et al.'s (2020, equation 3), divided by the square root of values and levels (section 2.2)."""
    share = 1 / (values.numel() * LEVELS) ** 0.5
    step = scale * share + (scale * (1 - share)).detach()
    level = values / step
    level = torch.minimum(torch.maximum(level, -zero), LEVELS - zero)
    return (level + (torch.round(level) - level).detach()) * step
