"""Learning from labels alone: teachers, naive students, and students at the end of their training."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batches import Batch
from pipeline.data.mix import Mixed, mix
from pipeline.results import UNLABELLED
from pipeline.settings.training import Regularization
from pipeline.training.collectives import mean_over
from pipeline.training.schedule import Moment, Objective


def label_loss(logits: Tensor, labels: Tensor, mixed: Mixed | None, smoothing: float) -> Tensor:
    """Cross-entropy of logits [B, classes] with labels int64 [B], smoothed (Szegedy et al. 2016, section 7); of mixed
    images the two labels' losses are mixed (Zhang et al. 2018, section 2).

    The mean over the samples with a label, mixed images over those of two that have one; 0 where there are none.
    """
    if mixed is None:
        return _labelled_mean(logits, labels, smoothing)
    others = labels[mixed.partner]
    known = (labels != UNLABELLED) & (others != UNLABELLED)
    own, other = (
        _labelled_mean(logits, torch.where(known, wanted, UNLABELLED), smoothing) for wanted in (labels, others)
    )
    return mixed.share * own + (1 - mixed.share) * other


def _labelled_mean(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    total = functional.cross_entropy(
        logits, labels, ignore_index=UNLABELLED, label_smoothing=smoothing, reduction="sum"
    )
    return mean_over(total, (labels != UNLABELLED).sum(), len(labels))


def learn_labels(regularization: Regularization, smoothing: float) -> Objective:
    """The objective without a teacher."""

    def learn(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        mixed = mix(batch, regularization)
        seen = batch if mixed is None else mixed.batch
        return label_loss(network(*seen.inputs), batch.labels, mixed, smoothing)

    return learn
