"""Single weights set to zero: those of 1x1 convolutions, for which XNNPACK has kernels that skip zeros (Elsen et al.
2020, Fast Sparse ConvNets). The least in magnitude of each layer go, and what is left is trained again."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline.networks import ImageNetwork
from pipeline.progress import Meter
from pipeline.pruning.descent import Learning
from pipeline.pruning.schedule import epochs_between, share_left
from pipeline.results import PreparedData
from pipeline.settings.prune import PruneSettings
from pipeline.training.fit import Fit, fit


class _Kept(nn.Module):
    """Multiplies a weight by its `mask` of zeros and ones: what is gone stays gone while the rest is trained."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.mask: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def pointwise(network: ImageNetwork) -> list[nn.Conv2d]:
    """The 1x1 convolutions."""
    layers = (module for module in network.body.modules() if isinstance(module, nn.Conv2d))
    return [layer for layer in layers if layer.kernel_size == (1, 1) and layer.groups == 1]


def train_sparse(
    network: ImageNetwork, data: PreparedData, learning: Learning, settings: PruneSettings, meter: Meter, folder: Path
) -> Fit:
    """Sets `settings.sparsity` of the weights of each 1x1 convolution to zero, in place: at once, or in steps with an
    epoch after each (Zhu and Gupta 2017), and trains the others for the recovery epochs."""
    assert settings.sparsity is not None
    objective, schedule = learning
    cuts = settings.steps if settings.schedule == "gradual" else 1
    done = Fit((), None, 0.0)
    for number, epochs in enumerate(epochs_between(cuts, settings.recovery_epochs), start=1):
        mask_least(network, 1 - share_left(number, cuts, 1 - settings.sparsity))
        phase = replace(schedule, epochs=epochs, phase=f"zeros {number}", begin=len(done.curve))
        done = done.then(fit(network, data, objective, phase, meter, folder))
    unmask(network)
    return done


def mask_least(network: ImageNetwork, share: float) -> None:
    """Holds `share` of the weights of each 1x1 convolution at zero, the least in magnitude."""
    unmask(network)
    for layer in pointwise(network):
        weight = layer.weight.detach()
        mask = torch.ones_like(weight).flatten()
        mask[torch.argsort(weight.abs().flatten(), stable=True)[: round(share * weight.numel())]] = 0
        parametrize.register_parametrization(layer, "weight", _Kept(mask.view_as(weight)))


def unmask(network: ImageNetwork) -> None:
    """Leaves the zeros in the weights, and nothing that holds them there."""
    for layer in pointwise(network):
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight")
