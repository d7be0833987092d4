"""Views of images: distorted, shifted and mirrored by numbers that depend on sample, view and seed alone, so the
student sees exactly what the teacher judged, whatever the batch."""

import numpy as np

from pipeline.settings.data import Augmentation, RandAugment

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, the step of SplitMix64


def _mixed(state: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea and Flood 2014): uint64 in, uniform uint64 out."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _draws(rows: np.ndarray, view: int | np.ndarray, seed: int, count: int) -> np.ndarray:
    """uint64 [count, B]: `count` independent numbers for each row, from a counter-based generator."""
    key = _mixed(np.array([seed % 2**64], dtype=np.uint64) + np.uint64(_GOLDEN))
    key = _mixed(key ^ np.asarray(view).astype(np.uint64)) + np.uint64(_GOLDEN)
    per_row = _mixed(rows.astype(np.uint64) ^ key)
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return _mixed(per_row[None, :] + steps[:, None])


def augment(
    pixels: np.ndarray, rows: np.ndarray, view: int | np.ndarray, settings: Augmentation, seed: int
) -> np.ndarray:
    """View `view` (one for all, or int64 [B]) of the images `pixels` (uint8 [B, H, W, 3]) of samples `rows` (int64
    [B]), in a new array; `pixels` itself where the settings change nothing.

    Each image goes through RandAugment where its operations are above 0, is moved by whole pixels, uniform in
    +-`shift` * side along either axis, its edge pixels repeated, and mirrored left to right with probability 1/2
    where `mirror` is set. Row, view and seed alone decide.
    """
    if not settings.varies:
        return pixels
    batch, height, width = pixels.shape[:3]
    down, right, flip, distort = _draws(rows, view, seed, 4)
    if settings.randaugment.operations > 0:
        pixels = _distorted(pixels, distort, settings.randaugment)
    if settings.shift == 0 and not settings.mirror:
        return pixels
    lines = _source_lines(height, settings.shift, down)
    columns = _source_lines(width, settings.shift, right)
    if settings.mirror:
        mirrored = (flip >> np.uint64(63)).astype(bool)
        columns[mirrored] = columns[mirrored, ::-1]
    first = np.arange(batch, dtype=np.int64)[:, None] * height
    places = ((first + lines) * width)[:, :, None] + columns[:, None, :]
    return pixels.reshape(batch * height * width, 3).take(places, axis=0)


def _distorted(pixels: np.ndarray, draws: np.ndarray, settings: RandAugment) -> np.ndarray:
    """Each image by torchvision's RandAugment (Cubuk et al. 2020), which draws from torch's generator: seeded for
    each image, and left as it was."""
    import torch
    from torchvision.transforms import v2

    distort = v2.RandAugment(
        settings.operations, settings.magnitude, interpolation=v2.InterpolationMode.BILINEAR, fill=None
    )
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    with torch.random.fork_rng(devices=[]):
        views = []
        for image, draw in zip(images, draws, strict=True):
            torch.manual_seed(int(draw >> np.uint64(1)))
            views.append(distort(image))
    return torch.stack(views).permute(0, 2, 3, 1).numpy()


def _source_lines(side: int, shift: float, draws: np.ndarray) -> np.ndarray:
    """int64 [B, side]: which line of the image each line of the view is taken from."""
    reach = round(shift * side)
    offsets = (draws % np.uint64(2 * reach + 1)).astype(np.int64) - reach
    return np.clip(np.arange(side)[None, :] + offsets[:, None], 0, side - 1)
