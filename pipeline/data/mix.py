"""Images of a batch mixed with one another: mixup and cutmix."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.data.batches import Batch
from pipeline.settings import Regularization


@dataclass(frozen=True)
class Mixed:
    """`batch` with mixed inputs: image i is `share` of its own and the rest of image `partner[i]` (int64 [B])."""

    batch: Batch
    partner: Tensor
    share: float


def mix(batch: Batch, settings: Regularization) -> Mixed | None:
    """One share for the whole batch, from torch's generator; None where the settings mix nothing.

    mixup adds the pixels (Zhang et al. 2018), cutmix sets a rectangle of the other image in (Yun et al. 2019).
    """
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(settings, kind) > 0]
    if not kinds:
        return None
    kind = kinds[int(torch.randint(len(kinds), ()))]
    concentration = torch.tensor(float(getattr(settings, kind)))
    share = float(torch.distributions.Beta(concentration, concentration).sample())
    (images,) = batch.inputs
    partner = torch.randperm(len(images)).to(images.device)
    if kind == "mixup":
        images = share * images + (1 - share) * images[partner]
    else:
        images, share = _cut(images, partner, share)
    return Mixed(replace(batch, inputs=(images,)), partner, share)


def _cut(images: Tensor, partner: Tensor, share: float) -> tuple[Tensor, float]:
    """The images with the rectangle set in, and the share that is left of their own."""
    height, width = images.shape[2:]
    side = (1 - share) ** 0.5
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    half_height, half_width = round(side * height / 2), round(side * width / 2)
    top, bottom = max(0, row - half_height), min(height, row + half_height)
    left, right = max(0, column - half_width), min(width, column + half_width)
    cut = images.clone()
    cut[:, :, top:bottom, left:right] = images[partner][:, :, top:bottom, left:right]
    return cut, 1 - (bottom - top) * (right - left) / (height * width)
