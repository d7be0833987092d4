"""SqueezeNet 1.1 (Iandola et al. 2016; torchvision's numbers) at any width."""

import torch
from torch import Tensor, nn
from torchvision.models.squeezenet import Fire

ROUND_TO = 8  # channels come in multiples of it, as in timm's scaled networks
# Channels of each Fire module: squeezed, then expanded in two halves; a pool stands before those of index POOLED.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
POOLED = (0, 2, 4)


class SqueezeNet(nn.Module):
    """Logits [B, classes] of images [B, 3, S, S]. Layers and their names are those of torchvision's `squeezenet1_1`,
    whose weights fit at width 1; its ReLU on the logits is left out: a student learns logits of either sign."""

    def __init__(self, classes: int, width: float = 1.0, dropout: float = 0.5) -> None:
        super().__init__()
        self.default_cfg = {"classifier": "classifier.1"}  # where timm's networks tell it
        stem = scaled(64, width)
        layers: list[nn.Module] = [nn.Conv2d(3, stem, kernel_size=3, stride=2), nn.ReLU(inplace=True)]
        channels = stem
        for number, (squeezed, half) in enumerate(FIRES):
            if number in POOLED:
                layers.append(nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True))
            half = scaled(half, width)
            layers.append(Fire(channels, scaled(squeezed, width), half, half))
            channels = 2 * half
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(channels, classes, kernel_size=1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.AdaptiveAvgPool2d(1))
        for layer in self.features.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def get_classifier(self) -> nn.Module:
        return self.classifier[1]

    def forward(self, image: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(image)), 1)


def scaled(channels: int, width: float) -> int:
    """Multiples of `ROUND_TO`, never less than 90% of what was asked for (Sandler et al. 2018)."""
    wanted = channels * width
    rounded = max(ROUND_TO, int(wanted + ROUND_TO / 2) // ROUND_TO * ROUND_TO)
    return rounded + ROUND_TO if rounded < 0.9 * wanted else rounded
