"""What is computed of student's and teacher's answers. Logits are [B, classes], losses a mean over the batch."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.settings.distill import Ramp

SoftLoss = Callable[[Tensor, Tensor, float], Tensor]  # (student's logits, teacher's logits, temperature)


def at(figure: float | Ramp, share: float) -> float:
    """The value of a setting when `share` in [0, 1] of the training is done."""
    if not isinstance(figure, Ramp):
        return figure
    done = share if figure.shape == "linear" else 0.5 * (1 - math.cos(math.pi * share))
    return figure.start + (figure.end - figure.start) * done


def soft_target_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher_T || student_T) (Hinton et al. 2015, section 2.1: T^2 keeps the size of the gradients
    whatever the temperature)."""
    expected = functional.log_softmax(teacher / temperature, dim=1)
    found = functional.log_softmax(student / temperature, dim=1)
    return temperature**2 * functional.kl_div(found, expected, reduction="batchmean", log_target=True)


def logit_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean squared error of the logits, the limit of high temperatures (Kim et al. 2021); `temperature` has no
    part in it."""
    return functional.mse_loss(student, teacher)


def correlation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """DIST (Huang et al. 2022, equations 7 to 10): T^2 * (1 - Pearson's correlation of the softened answers), over
    the classes of each sample plus over the samples of each class; for a teacher too strong to be matched."""
    expected, found = (functional.softmax(logits / temperature, dim=1) for logits in (teacher, student))
    between = 1 - _correlation(found, expected).mean()
    within = 1 - _correlation(found.T, expected.T).mean()
    return temperature**2 * (between + within)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, of each row; 0 for a row that does not vary."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return functional.cosine_similarity(a, b, dim=1, eps=1e-8)


SOFT_LOSSES: dict[str, SoftLoss] = {"kl": soft_target_loss, "mse": logit_loss, "dist": correlation_loss}

OVER_THE_BATCH = frozenset({"dist"})  # these compare the samples of a batch with one another: they need all of it


def mixed_answers(one: Tensor, other: Tensor, share: float, temperature: float) -> Tensor:
    """Logits of the answer to a mixed input where only the parts' answers are known: at `temperature` its softmax
    is `share` of the one's and the rest of the other's."""
    parts = torch.stack([one / temperature, other / temperature]).log_softmax(dim=2)
    weights = parts.new_tensor([share, 1 - share]).log().view(2, 1, 1)
    return temperature * (parts + weights).logsumexp(dim=0)
