"""What a layer takes in a rounded network, and what it should give: that of the float network at the same positions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.aware.rounding import Places, RoundedNetwork, Rounding

Batches = Iterable[tuple[Tensor, ...]]


@dataclass(frozen=True)
class LayerSamples:
    """`taken`: float32 [N, groups, K], what K weights of each output are multiplied by, at N positions of the layer's
    output. `wanted`: float32 [N, outputs], what the float network gives there, behind the layer's own activation."""

    taken: Tensor
    wanted: Tensor

    def part(self, index: Any) -> "LayerSamples":
        return LayerSamples(self.taken[index], self.wanted[index])


def layer_samples(
    layer: nn.Module,
    place: int,
    last: int,
    rounded: RoundedNetwork,
    reference: nn.Module,
    batches: Batches,
    positions: int,
    generator: torch.Generator,
    seen: Callable[[int], None],
) -> LayerSamples:
    """Of `layer`, which computes place `place` of the forward pass and with its activation place `last`: inputs as they
    are in `rounded`, outputs as they are in `reference`, at `positions` positions of each sample of `batches`, drawn by
    `generator`. No more than these is kept. `seen` is told how many samples have gone through."""
    taken, wanted = [], []
    for inputs in batches:
        given = _given_to(rounded, place, inputs)
        aim = _up_to(reference, last, inputs)
        if aim.ndim == 2:
            taken.append(given.unsqueeze(1))
            wanted.append(aim)
        else:
            assert isinstance(layer, nn.Conv2d)
            count, _, height, width = aim.shape
            where = torch.randint(height * width, (count, positions), generator=generator).to(aim.device)
            rows, columns = where // width, where % width
            each = torch.arange(count, device=aim.device).unsqueeze(1)
            taken.append(_windows(layer, given, each, rows, columns))
            wanted.append(aim[each, :, rows, columns].flatten(0, 1))
        seen(len(aim))
    return LayerSamples(torch.cat(taken), torch.cat(wanted))


def _windows(layer: nn.Conv2d, given: Tensor, each: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """float32 [samples * positions, groups, K]: what the kernel covers at each position of the output."""
    (tall, wide), (down, across) = layer.kernel_size, layer.stride
    assert not isinstance(layer.padding, str)
    padded = functional.pad(given, (layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0]))
    y = (rows * down).unsqueeze(-1) + torch.arange(tall, device=given.device) * layer.dilation[0]
    x = (columns * across).unsqueeze(-1) + torch.arange(wide, device=given.device) * layer.dilation[1]
    windows = padded[each[..., None, None], :, y[..., :, None], x[..., None, :]]  # [samples, positions, k, k, channels]
    return windows.movedim(-1, 2).flatten(0, 1).unflatten(1, (layer.groups, -1)).flatten(2)


class _Reached(Exception):
    """No error: the value that was looked for is there, and what comes after it is not needed."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


def _given_to(rounded: RoundedNetwork, wanted: int, inputs: tuple[Tensor, ...]) -> Tensor:
    class Until(Rounding):
        def meet(self, place: int, kind: str, output: Tensor, inputs: list[Tensor]) -> Tensor:
            if place == wanted:
                raise _Reached(inputs[0])
            return super().meet(place, kind, output, inputs)

    return _run(rounded.network, Until(rounded), inputs)


def _up_to(network: nn.Module, wanted: int, inputs: tuple[Tensor, ...]) -> Tensor:
    class Until(Places):
        def meet(self, place: int, kind: str, output: Tensor, inputs: list[Tensor]) -> Tensor:
            if place == wanted:
                raise _Reached(output)
            return output

    return _run(network, Until(), inputs)


def _run(network: nn.Module, mode: Places, inputs: tuple[Tensor, ...]) -> Tensor:
    try:
        with torch.no_grad(), mode:
            network(*inputs)
    except _Reached as reached:
        return reached.value
    raise AssertionError("a place of the forward pass was not met")
