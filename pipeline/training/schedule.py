"""What a training is told: for how long, at which rate, on which samples and views, and what to minimise."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from pipeline.context import EXACT
from pipeline.data.batches import Batch, turns
from pipeline.results import PreparedData
from pipeline.settings.data import Augmentation
from pipeline.settings.training import ComputeSettings, Regularization

WARM_UP = 0.1  # share of training during which the learning rate rises
PLAIN = Regularization()


@dataclass(frozen=True)
class Moment:
    """Where a batch stands: `epoch` from 0, `share` in [0, 1] of the training done."""

    epoch: int
    share: float


# (network, batch on its device, moment) -> mean loss. It runs the network itself, so that it can look into it. Where
# it is a module, its parameters are trained too. Of several processes each has a slice of the batch: it may give the
# slice's mean, or what `pipeline.training.collectives` let it compute of the whole batch.
Objective = Callable[[nn.Module, Batch, Moment], Tensor]


@runtime_checkable
class LooksAhead(Protocol):
    """An objective that sees batches before the network does, to have begun on them by then."""

    def ahead(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """An epoch's `batches`, in their order."""

    def end(self) -> None:
        """The training has ended, well or not."""


@dataclass(frozen=True)
class Schedule:
    """AdamW (Loshchilov and Hutter 2019) with a linear warm-up and a cosine decay to zero. Epoch e sees view
    e mod `views` of `augmentation`, or what `choose_views` gives for it and its rows (one view, or int64 [R] for R
    rows); `seed` decides shuffles, views and dropout. So many samples of the `transfer` set join the train split in
    each epoch, in turn. Of a training in several phases, epoch e is number `begin` + e for all of these.

    `keep` the weights of the epoch that was best on the validation split (the later of equals), or of the last. A
    network that is trained in several phases gives each its name.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    seed: int
    augmentation: Augmentation | None = None
    views: int = 1
    regularization: Regularization = PLAIN
    keep: Literal["best", "last"] = "best"
    phase: str = "training"
    choose_views: Callable[[int, np.ndarray], int | np.ndarray] | None = None
    transfer: int = 0
    compute: ComputeSettings = EXACT
    begin: int = 0

    def rows(self, data: PreparedData, epoch: int) -> np.ndarray:
        """int64, sorted: the samples that epoch `epoch` sees."""
        rows = data.rows("train")
        if not self.transfer:
            return rows
        return np.concatenate([rows, turns(data.rows("transfer"), self.transfer, self.seed, epoch)])

    def view(self, epoch: int, rows: np.ndarray) -> int | np.ndarray:
        return epoch % self.views if self.choose_views is None else self.choose_views(epoch, rows)


def learning_rate(schedule: Schedule, share: float) -> float:
    """At `share` in [0, 1] of the training."""
    if share < WARM_UP:
        return schedule.learning_rate * share / WARM_UP
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))
