"""Prepared samples as batches of tensors: the raw inputs that every network of the pipeline takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline import scale
from pipeline.data.augment import augment
from pipeline.results import PreparedData
from pipeline.settings.data import Augmentation

if TYPE_CHECKING:
    from torch import Tensor

_TURNS = (0, 1)  # a stream of random numbers besides those of the epochs
BUCKET = 32  # batches of text whose samples are sorted by length together, to cut padding


@dataclass(frozen=True)
class Batch:
    """`inputs`: images (float32 [B, 3, S, S] RGB pixels 0..255 in channels_last memory,); texts (input_ids,
    attention_mask, token_type_ids), int64 [B, L], L the longest of the batch. `labels`: int64 [B].

    `rows`: int64 [B] row numbers of the data; `positions`: int64 [B] where they stand in the rows asked for;
    `views`: int64 [B], of the augmentation. `seed`: (seed, epoch, number of the batch), from which everything random
    about the batch comes that is drawn later, such as mixing. `whole`: the row numbers of the batch that this is one
    process's slice of; None where this is all of it.
    """

    inputs: "tuple[Tensor, ...]"
    labels: "Tensor"
    rows: np.ndarray
    positions: np.ndarray
    views: np.ndarray
    seed: tuple[int, int, int] = (0, 0, 0)
    whole: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Samples of the whole batch."""
        return len(self.rows if self.whole is None else self.whole)


def turns(rows: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """Sorted, the `count` of `rows` whose turn it is: in an order drawn from `seed` each epoch takes the next ones,
    after the last the first again, so that every row is taken equally often."""
    order = np.random.default_rng([seed, *_TURNS]).permutation(rows)
    return np.sort(order.take(np.arange(epoch * count, (epoch + 1) * count), mode="wrap"))


def training_batches(
    data: PreparedData,
    rows: np.ndarray,
    batch_size: int,
    seed: int,
    epoch: int,
    augmentation: Augmentation | None = None,
    view: int | np.ndarray = 0,
) -> Iterator[Batch]:
    """Every row once, in the order drawn from (seed, epoch); images as view `view` of `augmentation`, one for all or
    int64 [len(rows)].

    Texts of similar length share a batch. A last batch of one sample joins the batch before it: batch norm
    can't train on one. Processes that work together get the same batches, each its slice of every one, which may be
    empty.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(rows))
    lengths = data.lengths[rows] if data.task == "text-classification" else None
    if lengths is not None:
        order = _sorted_in_buckets(order, lengths, batch_size * BUCKET)
    parts = _cut(order, batch_size)
    if len(parts) > 1 and batch_size > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    if lengths is not None:  # else the batches would come from short to long
        parts = [parts[index] for index in random.permutation(len(parts))]
    return _batches(data, rows, parts, augmentation, view, seed, epoch, sliced=scale.processes() > 1)


def evaluation_batches(
    data: PreparedData,
    rows: np.ndarray,
    batch_size: int,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    view: int = 0,
) -> Iterator[Batch]:
    """Every row once: images in the order of `rows`, texts from short to long; `positions` put results back.

    With `augmentation` the images are the views that `training_batches` gives for the same seed and view.
    """
    order = np.arange(len(rows))
    if data.task == "text-classification":
        order = np.argsort(data.lengths[rows], kind="stable")
    return _batches(data, rows, _cut(order, batch_size), augmentation, view, seed)


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _sorted_in_buckets(order: np.ndarray, lengths: np.ndarray, bucket: int) -> np.ndarray:
    parts = [part[np.argsort(lengths[part], kind="stable")] for part in _cut(order, bucket)]
    return np.concatenate(parts) if parts else order


def _batches(
    data: PreparedData,
    rows: np.ndarray,
    parts: list[np.ndarray],
    augmentation: Augmentation | None,
    view: int | np.ndarray,
    seed: int,
    epoch: int = 0,
    sliced: bool = False,
) -> Iterator[Batch]:
    import torch

    inputs, labels = data.inputs, data.targets
    lengths = data.lengths if data.task == "text-classification" else None
    views = np.broadcast_to(np.asarray(view, dtype=np.int64), rows.shape)
    for number, whole in enumerate(parts):
        positions = whole[scale.part(len(whole))] if sliced else whole
        picked = rows[positions]
        samples = inputs[picked]
        if lengths is not None:
            tensors = _text_tensors(samples, lengths[picked])
        else:
            if augmentation is not None and len(picked):
                samples = augment(samples, picked, views[positions], augmentation, seed)
            # NHWC memory seen as NCHW: channels_last without a copy.
            tensors = (torch.from_numpy(samples).permute(0, 3, 1, 2).to(torch.float32),)
        seen, drawn, of = views[positions], (seed, epoch, number), rows[whole] if sliced else None
        yield Batch(tensors, torch.from_numpy(labels[picked]), picked, positions, seen, seed=drawn, whole=of)


def _text_tensors(ids: np.ndarray, lengths: np.ndarray) -> "tuple[Tensor, ...]":
    import torch

    longest = int(lengths.max(initial=1))
    input_ids = torch.from_numpy(ids[:, :longest].astype(np.int64))
    mask = torch.from_numpy((np.arange(longest) < lengths[:, None]).astype(np.int64))
    return input_ids, mask, torch.zeros_like(input_ids)
