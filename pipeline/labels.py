"""Learning from labels alone: teachers, naive students, and students at the end of their training."""

from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batches import Batch
from pipeline.data.mix import Mixed, mix
from pipeline.settings import Regularization
from pipeline.training import Moment, Objective


def label_loss(logits: Tensor, labels: Tensor, mixed: Mixed | None, smoothing: float) -> Tensor:
    """Cross-entropy of logits [B, classes] with labels int64 [B], smoothed (Szegedy et al. 2016, section 7); of mixed
    images the two labels' losses are mixed (Zhang et al. 2018, section 2)."""
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    if mixed is None:
        return loss
    other = functional.cross_entropy(logits, labels[mixed.partner], label_smoothing=smoothing)
    return mixed.share * loss + (1 - mixed.share) * other


def learn_labels(regularization: Regularization, smoothing: float) -> Objective:
    """The objective without a teacher."""

    def learn(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        mixed = mix(batch, regularization)
        seen = batch if mixed is None else mixed.batch
        return label_loss(network(*seen.inputs), batch.labels, mixed, smoothing)

    return learn
