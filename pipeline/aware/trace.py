"""A forward pass as the list of what it computes: which layer, who takes it, and where an 8-bit file rounds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pipeline.quantize.sums import joined

LAYERS = frozenset({"conv2d", "linear"})
FUSED = frozenset({"relu", "relu_", "relu6", "hardtanh", "clamp"})
SUMS = frozenset({"add", "add_"})
OTHERS = FUSED | SUMS | {"mul", "mul_", "mean", "adaptive_avg_pool2d", "cat", "hardswish", "hardsigmoid",
                  "silu", "sigmoid", "gelu"}  # fmt: skip


@dataclass
class Call:
    """A call of a function of torch that gave a tensor. `place`: its number among those that files round behind
    (`is_place`). `layer`: the module whose weight it takes. `bounds`: of an activation that cuts its input to an
    interval, the interval. `takers`: the calls that take what it gave, by number."""

    kind: str
    place: int | None
    layer: nn.Module | None
    bounds: tuple[float, float] | None
    takers: list[int] = field(default_factory=list)


def is_place(kind: str, before: int) -> bool:
    """Whether a file computes `kind` in 8 bits, `before` such calls having come before it; what comes before the first
    layer is arithmetic on pixels."""
    return kind in LAYERS or (before > 0 and kind in OTHERS)


def trace(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Call]:
    """What `network` calls on `inputs`, in order."""
    layers: dict[int, nn.Module] = {
        id(module.weight): module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))
    }
    with torch.no_grad(), _Recording(layers) as recording:
        network(*inputs)
    return recording.calls


def fused_activations(calls: list[Call]) -> dict[int, int]:
    """By number of a call, that of the single activation that takes what it gives and that files compute with it."""
    return {
        number: call.takers[0]
        for number, call in enumerate(calls)
        if call.place is not None
        and call.kind not in FUSED
        and len(call.takers) == 1
        and calls[call.takers[0]].kind in FUSED
    }


def added_up(calls: list[Call]) -> list[frozenset[int]]:
    """The places that share a scale, as files have it (`pipeline.quantize.sums`): two terms and their sum, a chain of
    such sums together; no term that an activation in `FUSED` gives, and no sum that one takes."""
    fused = fused_activations(calls)
    groups = []
    for number, call in enumerate(calls):
        if call.kind not in SUMS or number in fused:
            continue
        terms = [before for before in calls[:number] if number in before.takers]
        places = [part.place for part in (*terms, call) if part.place is not None and part.kind not in FUSED]
        if len(places) == 3:  # two terms and the sum, each of which files compute
            groups.append(places)
    return joined(groups)


class _Recording(TorchFunctionMode):
    def __init__(self, layers: dict[int, nn.Module]) -> None:
        super().__init__()
        self.layers = layers
        self.calls: list[Call] = []
        self._places = 0
        self._made: dict[int, int] = {}
        self._alive: list[Tensor] = []  # so that no id is given twice

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = getattr(function, "__name__", "")
        output = function(*args, **kwargs)
        given = list(_tensors([output]))
        if not given:
            return output
        number = len(self.calls)
        taken = list(_tensors((*args, *kwargs.values())))
        for maker in dict.fromkeys(self._made[id(value)] for value in taken if id(value) in self._made):
            self.calls[maker].takers.append(number)
        place = self._places if is_place(kind, self._places) else None
        self._places += place is not None
        layer = self.layers.get(id(args[1])) if kind in LAYERS else None
        self.calls.append(Call(kind, place, layer, _bounds(kind, args, kwargs)))
        self._made |= {id(value): number for value in given}  # what is done in place gives the tensor that it took
        self._alive += [*given, *taken]
        return output


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _bounds(kind: str, args: Any, kwargs: Any) -> tuple[float, float] | None:
    if kind in ("relu", "relu_"):
        return 0.0, math.inf
    if kind == "relu6":
        return 0.0, 6.0
    if kind == "hardtanh":
        return float(_given(args, kwargs, 1, "min_val", -1.0)), float(_given(args, kwargs, 2, "max_val", 1.0))
    if kind == "clamp":
        low, high = _given(args, kwargs, 1, "min", None), _given(args, kwargs, 2, "max", None)
        if not isinstance(low, Tensor) and not isinstance(high, Tensor):
            return -math.inf if low is None else float(low), math.inf if high is None else float(high)
    return None


def _given(args: Any, kwargs: Any, index: int, name: str, default: Any) -> Any:
    return args[index] if len(args) > index else kwargs.get(name, default)
