"""Several networks as one: their answers combined, batch by batch. Logits are [K, B, classes] of K networks."""

import numpy as np
import torch
from torch import Tensor, nn

ROUNDS = 10_000  # of fitting weights, at most
SETTLED = 1e-7  # the largest change of a weight after which fitting stops


def mean_answer(logits: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Logits [B, classes] whose softmax at `temperature` is the weighted mean of the K softmaxes at `temperature`
    (the arithmetic mean of Hinton et al. 2015, section 1). `weights` [K, B] or [K, 1] sum to 1 over K."""
    parts = (logits / temperature).log_softmax(2) + weights.log().unsqueeze(2)
    return temperature * parts.logsumexp(0)


def certainty_weights(logits: Tensor, weights: Tensor) -> Tensor:
    """[K, B], summing to 1 over K: each network's weight [K] times how sure it is of the sample.

    1 - softmax over the networks of their entropies: the weights of CA-MKD (Zhang et al. 2022, equation 3) with a
    teacher's entropy (Kwon et al. 2020) where that has its cross-entropy with the label. So the answer depends on the
    input alone, and is the same for views, for samples without labels, cached and online.
    """
    chances = logits.log_softmax(2)
    entropy = -(chances.exp() * chances).sum(2)
    shares = weights.unsqueeze(1) * (1 - entropy.softmax(0))
    return shares / shares.sum(0)


def mixture_weights(chances: np.ndarray) -> np.ndarray:
    """float64 [K] weights, summing to 1, under which the weighted mean of the log-probabilities' exponentials
    `chances` [K, N], each network's of the right label, has the largest likelihood.

    Expectation maximisation of a mixture's proportions (Dempster et al. 1977): the likelihood is concave in them, so
    where it starts does not matter.
    """
    relative = np.exp(chances - chances.max(0))
    weights = np.full(len(chances), 1 / len(chances))
    for _ in range(ROUNDS):
        parts = weights[:, None] * relative
        better = (parts / parts.sum(0)).mean(1)
        change = float(np.abs(better - weights).max())
        weights = better
        if change < SETTLED:
            break
    return weights


class EnsembleNetwork(nn.Module):
    """`members` take the same inputs; the ensemble's logits [B, classes] combine theirs at `temperature`, each with
    its weight, times its certainty where `by_confidence`."""

    def __init__(self, members: list[nn.Module], weights: list[float], temperature: float, by_confidence: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.temperature, self.by_confidence = temperature, by_confidence
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.weights: Tensor

    def shares(self, logits: Tensor) -> Tensor:
        """How much each member counts: [K, B], or [K, 1] where that is the same for all samples."""
        return certainty_weights(logits, self.weights) if self.by_confidence else self.weights.unsqueeze(1)

    def combine(self, logits: Tensor) -> Tensor:
        """The members' logits [K, B, classes] as one, [B, classes]."""
        return mean_answer(logits, self.shares(logits), self.temperature)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.combine(torch.stack([member(*inputs).float() for member in self.members]))
