"""Batch normalisation folded into the convolutions before it: the arithmetic that exported files have."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

Pairs = list[list[str]]  # names of a convolution and of the batch normalisation that takes what it gives
NORMALISATION = (nn.BatchNorm2d,)


def normalised_convolutions(network: nn.Module, inputs: tuple[Tensor, ...]) -> Pairs:
    """The pairs that can be folded, in the order in which they run on `inputs`. The network is as it was afterwards."""
    names = {module: name for name, module in network.named_modules()}
    made: dict[int, nn.Module] = {}
    kept: list[Tensor] = []  # alive, so that no id is given twice
    pairs: Pairs = []

    def convolved(module: nn.Module, given: Any, output: Tensor) -> None:
        made[id(output)] = module
        kept.append(output)

    def normalises(module: nn.Module, given: Any) -> None:
        maker = made.get(id(given[0]))
        if maker is not None:
            pairs.append([names[maker], names[module]])

    handles: list[Any] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(convolved))
        elif isinstance(module, NORMALISATION):
            handles.append(module.register_forward_pre_hook(normalises))
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            network(*inputs)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return pairs


def fold(network: nn.Module, pairs: Sequence[Sequence[str]]) -> None:
    """Changes `network`, in evaluation mode, so that it computes the same without the `pairs`' normalisation (Jacob et
    al. 2018, section 3.2)."""
    with torch.no_grad():
        for convolution, normalisation in pairs:
            layer, norm = network.get_submodule(convolution), network.get_submodule(normalisation)
            assert isinstance(layer, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            bias = torch.zeros_like(norm.running_mean) if layer.bias is None else layer.bias
            weight = layer.weight * factor.view(-1, 1, 1, 1)
            shift = norm.bias + (bias - norm.running_mean) * factor
            without_normalisation(network, [[convolution, normalisation]])
            layer.weight.copy_(weight)
            layer.bias.copy_(shift)  # type: ignore[union-attr]


def without_normalisation(network: nn.Module, pairs: Sequence[Sequence[str]]) -> None:
    """Gives `network` the structure that `fold` leaves, biases of zero where there were none."""
    for convolution, normalisation in pairs:
        layer = network.get_submodule(convolution)
        assert isinstance(layer, nn.Conv2d)
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(layer.out_channels))
        place, _, name = normalisation.rpartition(".")
        norm: Any = network.get_submodule(normalisation)
        # timm's normalisation holds the activation behind it.
        setattr(network.get_submodule(place), name, getattr(norm, "act", None) or nn.Identity())
