"""Images of a batch mixed with one another: mixup and cutmix."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.data.batches import Batch
from pipeline.settings.training import Regularization

_MIXING = 0x4D495853  # sets these draws apart from others of the same seed


@dataclass(frozen=True)
class Mixed:
    """`batch` with mixed inputs: image i is `share` of its own and the rest of image `partner[i]` (int64 [B])."""

    batch: Batch
    partner: Tensor
    share: float


def mix(batch: Batch, settings: Regularization) -> Mixed | None:
    """One share for the whole batch; None where the settings mix nothing. `batch.seed` decides all that is drawn, so
    whoever mixes the batch gets the same images.

    mixup adds the pixels (Zhang et al. 2018), cutmix sets a rectangle of the other image in (Yun et al. 2019).
    """
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(settings, kind) > 0]
    if not kinds:
        return None
    random = np.random.default_rng([_MIXING, *batch.seed])
    kind = kinds[random.integers(len(kinds))]
    concentration = getattr(settings, kind)
    share = float(random.beta(concentration, concentration))
    (images,) = batch.inputs
    partner = torch.from_numpy(random.permutation(len(images))).to(images.device)
    if kind == "mixup":
        images = share * images + (1 - share) * images[partner]
    else:
        images, share = _cut(images, partner, share, random)
    return Mixed(replace(batch, inputs=(images,)), partner, share)


def _cut(images: Tensor, partner: Tensor, share: float, random: np.random.Generator) -> tuple[Tensor, float]:
    """The images with the rectangle set in, and the share that is left of their own."""
    height, width = images.shape[2:]
    side = (1 - share) ** 0.5
    row, column = int(random.integers(height)), int(random.integers(width))
    half_height, half_width = round(side * height / 2), round(side * width / 2)
    top, bottom = max(0, row - half_height), min(height, row + half_height)
    left, right = max(0, column - half_width), min(width, column + half_width)
    cut = images.clone()
    cut[:, :, top:bottom, left:right] = images[partner][:, :, top:bottom, left:right]
    return cut, 1 - (bottom - top) * (right - left) / (height * width)
