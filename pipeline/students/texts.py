"""Text students that are no transformers: they read the teacher's word pieces, and padding never changes what they say.

Both take input_ids and attention_mask, int64 or int32 [B, L] with padding behind the text, and give logits
[B, classes]; token_type_ids are theirs to ignore.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LOWEST = -1.0  # below what an LSTM's state can be: a sigmoid times a tanh


class TextStudent(nn.Module):
    """Word pieces to vectors, vectors to features [B, features], features to logits."""

    def __init__(self, config: dict[str, Any], features: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config["vocab_size"], config["embedding_size"])
        self.dropout = nn.Dropout(config["dropout"])
        self.classifier = nn.Linear(features, classes)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        features = self.features(self.embedding(input_ids), attention_mask)
        return self.classifier(self.dropout(features))

    def features(self, words: Tensor, mask: Tensor) -> Tensor:
        """[B, features] of word vectors [B, L, E] and their mask [B, L]."""
        raise NotImplementedError


class BiLstm(TextStudent):
    """One LSTM reads the text forwards, one backwards; of each state the largest value that it had at a word piece
    counts (Conneau et al. 2017, BiLSTM with max pooling).

    `config`: vocab_size, embedding_size, states of each direction, dropout. The backward LSTM is fed the real pieces
    turned round, padding still behind: what stands behind a text changes no state before it.
    """

    def __init__(self, config: dict[str, Any], classes: int) -> None:
        states = config["states"]
        super().__init__(config, 2 * states, classes)
        self.forwards = nn.LSTM(config["embedding_size"], states, batch_first=True)
        self.backwards = nn.LSTM(config["embedding_size"], states, batch_first=True)

    def features(self, words: Tensor, mask: Tensor) -> Tensor:
        last = mask.sum(1, keepdim=True) - 1
        turned = (last - torch.arange(mask.shape[1], device=mask.device)).clamp(min=0)
        against = words.gather(1, turned.long().unsqueeze(2).expand_as(words))
        # Max pooling does not ask for the order, so the states of the turned text stay turned.
        states = torch.cat([self.forwards(words)[0], self.backwards(against)[0]], 2)
        return torch.where(mask.unsqueeze(2).bool(), states, LOWEST).amax(1)


class TextCnn(TextStudent):
    """Filters over windows of a few word pieces, ReLU, the largest value over the text (Kim 2014, section 2).

    `config`: vocab_size, embedding_size, `kernels` (sizes of windows), filters of each, dropout. A window starts at
    each real piece; beyond the text it sees zeros, whatever the padding. A convolution is written as the product that
    it is, of the window's vectors side by side with a matrix: for products, both runtimes have 8-bit kernels that
    quantize as they go.
    """

    def __init__(self, config: dict[str, Any], classes: int) -> None:
        filters, kernels = config["filters"], config["kernels"]
        super().__init__(config, filters * len(kernels), classes)
        self.kernels = tuple(kernels)
        self.filters = nn.ModuleList(nn.Linear(size * config["embedding_size"], filters) for size in kernels)

    def features(self, words: Tensor, mask: Tensor) -> Tensor:
        length, real = words.shape[1], mask.to(words.dtype).unsqueeze(2)
        text = functional.pad(words * real, (0, 0, 0, max(self.kernels) - 1))
        found = []
        for size, layer in zip(self.kernels, self.filters, strict=True):
            windows = torch.cat([text[:, start : start + length] for start in range(size)], 2)  # [B, L, size * E]
            # After ReLU zero is the least: what starts in padding never counts.
            found.append((functional.relu(layer(windows)) * real).amax(1))
        return torch.cat(found, 1)


TEXT_STUDENTS: dict[str, Callable[[dict[str, Any], int], TextStudent]] = {"bilstm": BiLstm, "textcnn": TextCnn}
