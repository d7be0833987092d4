"""Networks for export whose first convolution takes pixels as they come."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from pipeline.networks import ImageNetwork


class PixelNetwork(nn.Module):
    """`body` maps pixels 0..255 [B, 3, S, S] to logits."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.body(image)
        return logits


def taking_pixels(network: nn.Module) -> nn.Module:
    """`network` as it is exported: of an image network that divides pixels and subtracts no mean a copy with the
    division in the weights of its first convolution, so that files have no arithmetic before it; others as they are.
    """
    if not isinstance(network, ImageNetwork) or network.input_size is not None or bool(network.mean.any()):
        return network
    body = deepcopy(network.body)
    first = next(module for module in body.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight.mul_(network.scale)
    return PixelNetwork(body)
