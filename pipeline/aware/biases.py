"""Bias correction: what rounding shifts in the mean, biases take back."""

import torch
from torch import Tensor, nn

from pipeline.aware.rounding import LAYERS, RoundedNetwork, Rounding, watched


def correct_biases(rounded: RoundedNetwork, inputs: tuple[Tensor, ...], reference: nn.Module | None = None) -> float:
    """Changes the biases of the network inside `rounded` so that over the samples `inputs` each channel of each layer
    has the mean that it has in float (Nagel et al. 2019, section 4.2, measured on samples as in appendix D).

    Layer after layer in one pass: a layer sees what those before it, corrected, give. Layers without a bias stay as
    they are. `reference` is the network in float where the weights inside `rounded` are no longer its own. Returns the
    mean of the absolute corrections.
    """
    expected: dict[int, Tensor] = {}
    watched(reference or rounded.network, inputs, lambda place, output: expected.update({place: _means(output)}))
    corrections: list[Tensor] = []

    class Correcting(Rounding):
        def meet(self, place: int, kind: str, output: Tensor, inputs: list[Tensor]) -> Tensor:
            bias = next((value for value in inputs[2:] if isinstance(value, nn.Parameter)), None)
            if kind in LAYERS and bias is not None:
                shift = expected[place] - _means(output)
                bias.add_(shift)
                corrections.append(shift.abs())
                output = output + shift.view(1, -1, *(1,) * (output.ndim - 2))
            return super().meet(place, kind, output, inputs)

    with torch.no_grad(), Correcting(rounded):
        rounded.network(*inputs)
    return float(torch.cat(corrections).mean()) if corrections else 0.0


def _means(output: Tensor) -> Tensor:
    """By channel, which is the second dimension."""
    return output.mean(dim=tuple(axis for axis in range(output.ndim) if axis != 1))
