"""What a text student learns from its teacher's layers: TinyBERT's losses, and MiniLM's relations.

Queries and keys are taken from the layers that make them, so both networks run with whatever implementation of
attention they have. (transformers' `output_attentions` needs the eager one and gives probabilities after the softmax
and, in training, after dropout; TinyBERT compares scores before the softmax.)
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.distill.inside import FrozenTeacher, Guide, Seen, masked_mean
from pipeline.errors import InputError
from pipeline.networks import TextNetwork
from pipeline.settings.distill import LayerLosses

MOST_RELATION_HEADS = 48  # Wang et al. 2021 take 48 for base-size teachers
APART = -1e9  # a score that a softmax turns to 0


@dataclass(frozen=True)
class Layout:
    """Names of modules in a transformers encoder: the stack of layers and, in each, what makes queries, keys and
    values; `heads` is an attribute of the module that holds them."""

    stack: str
    attention: str
    query: str
    key: str
    value: str
    heads: str


BERT = Layout("encoder.layer", "attention.self", "query", "key", "value", "num_attention_heads")
DISTILBERT = Layout("transformer.layer", "attention", "q_lin", "k_lin", "v_lin", "n_heads")
LAYOUTS = {"distilbert": DISTILBERT} | dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), BERT)


@dataclass(frozen=True)
class Layer:
    """Names of one layer's modules: its `output` [B, L, hidden], queries, keys and values [B, L, width]."""

    output: str
    query: str
    key: str
    value: str
    heads: int
    width: int


@dataclass(frozen=True)
class Encoder:
    """Where a text network's layers are, in order, and the widths of its embeddings and hidden states."""

    name: str
    embeddings: str
    embedded: int
    hidden: int
    layers: tuple[Layer, ...]
    absolute: bool  # scores are products of query and key alone


def encoder_of(network: nn.Module, name: str) -> Encoder:
    """Raises InputError for a network whose layers are not known to be like BERT's."""
    transformer: Any = network.transformer if isinstance(network, TextNetwork) else None
    kind: str = "no text network" if transformer is None else transformer.config.model_type
    if kind not in LAYOUTS:
        raise InputError(
            f"distill.layers: {name} is {kind}; layer losses, tinybert and minilm alike, know the layers of "
            f"{', '.join(sorted(LAYOUTS))}: take such a teacher, or use distill.features or soft targets alone"
        )
    layout, base, config = LAYOUTS[kind], transformer.base_model, transformer.config
    start = next(path for path, module in network.named_modules() if module is base)
    layers = []
    for index in range(len(base.get_submodule(layout.stack))):
        output = f"{layout.stack}.{index}"
        attention = f"{output}.{layout.attention}"
        query, key, value = (f"{start}.{attention}.{part}" for part in (layout.query, layout.key, layout.value))
        heads = getattr(base.get_submodule(attention), layout.heads)
        width = base.get_submodule(f"{attention}.{layout.query}").out_features
        layers.append(Layer(f"{start}.{output}", query, key, value, heads, width))
    embedded = base.embeddings.word_embeddings.embedding_dim
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return Encoder(name, f"{start}.embeddings", embedded, config.hidden_size, tuple(layers), absolute)


def teacher_layers(choice: str | tuple[int, ...], count: int, total: int) -> tuple[int, ...]:
    """The teacher's layers, from 1 to `total`, that the student's `count` layers learn from.

    `uniform`: layer m from m * total / count, rounded up (Jiao et al. 2020, section 4.1); `last`: the last `count`;
    or as given. Raises InputError where that is not possible.
    """
    if isinstance(choice, tuple):
        if len(choice) != count:
            raise InputError(
                f"distill.layers.layer_map names {len(choice)} layers, expected {count}: one for each that learns"
            )
        if not all(1 <= layer <= total for layer in choice):
            raise InputError(
                f"distill.layers.layer_map is {list(choice)}, the teacher's layers are 1 to {total}: choose among them"
            )
        return choice
    if count > total:
        raise InputError(
            f"distill.layers.layer_map '{choice}': the student has {count} layers, the teacher {total}: "
            "lower student.layers, or list the layers"
        )
    if choice == "last":
        return tuple(range(total - count + 1, total + 1))
    return tuple(-(-layer * total // count) for layer in range(1, count + 1))


def split_heads(vectors: Tensor, heads: int) -> Tensor:
    """[B, L, width] as [B, heads, L, width / heads]."""
    return vectors.unflatten(2, (heads, -1)).transpose(1, 2)


def dot_products(a: Tensor, b: Tensor, heads: int) -> Tensor:
    """Scaled dot products of each head, before any softmax: [B, heads, L, L]. `a` of the rows, `b` of the columns,
    [B, L, width]."""
    first, second = split_heads(a, heads), split_heads(b, heads)
    return first @ second.transpose(2, 3) / math.sqrt(first.shape[3])


def state_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the real tokens of states [B, L, width]; `mask` bool [B, L] (Jiao et al. 2020,
    equations 8 and 9)."""
    return masked_mean((student - teacher) ** 2, mask.unsqueeze(2))


def score_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of attention scores [B, heads, L, L] over the pairs of real tokens and the heads; `mask` bool
    [B, L] (Jiao et al. 2020, equation 7: the unnormalised matrices)."""
    pairs = mask[:, None, :, None] & mask[:, None, None, :]
    return masked_mean((student - teacher) ** 2, pairs)


def relation_loss(student: Tensor, teacher: Tensor, heads: int, mask: Tensor) -> Tensor:
    """KL(teacher || student) of the self-attention relations softmax(A A^T / sqrt(d)) of vectors A [B, L, width],
    cut into `heads` relation heads of d each, so that widths may differ; mean over heads and real tokens; `mask` bool
    [B, L] (Wang et al. 2020, MiniLM, section 3.2, for values; Wang et al. 2021, MiniLMv2, section 3.1, for queries and
    keys too)."""
    keys = mask[:, None, None, :]
    found, expected = (
        dot_products(vectors, vectors, heads).masked_fill(~keys, APART).log_softmax(dim=3)
        for vectors in (student, teacher)
    )
    rows = functional.kl_div(found, expected, reduction="none", log_target=True).sum(dim=3)
    return masked_mean(rows, mask[:, None, :])


class TinyBertGuide(Guide):
    """The embeddings' loss and, for each layer of the student, that of hidden states and of attention scores, all
    added with weight 1 (Jiao et al. 2020, equations 6 to 9 and 11, without the prediction layer).

    A student of another width is projected to the teacher's: by one learned matrix for the embeddings and one for
    the hidden states of all layers.
    """

    def __init__(self, student: Encoder, teacher: Encoder, choice: str | tuple[int, ...]) -> None:
        super().__init__()
        chosen = [
            teacher.layers[layer - 1] for layer in teacher_layers(choice, len(student.layers), len(teacher.layers))
        ]
        self.pairs = tuple(zip(student.layers, chosen, strict=True))
        for mine, theirs in self.pairs:
            if mine.heads != theirs.heads:
                raise InputError(
                    f"distill.layers.method tinybert compares attention scores head by head: the student has "
                    f"{mine.heads} heads, teacher {teacher.name} {theirs.heads}: set student.heads: {theirs.heads}, "
                    "or use method: minilm, which needs no equal head counts"
                )
        if not (student.absolute and teacher.absolute):
            raise InputError(
                f"distill.layers.method tinybert: the attention scores of {teacher.name} hold relative positions, "
                "which the student has not: use method: minilm"
            )
        self.embeddings = student.embeddings, teacher.embeddings
        self.embedding_projection = _projection(student.embedded, teacher.embedded)
        self.hidden_projection = _projection(student.hidden, teacher.hidden)
        self.of_student = (student.embeddings, *(name for mine, _ in self.pairs for name in _scored(mine)))
        self.of_teacher = (teacher.embeddings, *(name for _, theirs in self.pairs for name in _scored(theirs)))

    def forward(self, student: Seen, teacher: Seen) -> Tensor:
        mask = _mask(student)
        embedded, expected = student.outputs[self.embeddings[0]], teacher.outputs[self.embeddings[1]]
        loss = state_loss(self.embedding_projection(embedded), expected, mask)
        for mine, theirs in self.pairs:
            hidden = self.hidden_projection(student.outputs[mine.output])
            loss = loss + state_loss(hidden, teacher.outputs[theirs.output], mask)
            loss = loss + score_loss(_scores(student, mine), _scores(teacher, theirs), mask)
        return loss


class MiniLmGuide(Guide):
    """The relations of queries, of keys and of values, added: the student's last layer learns from one of the
    teacher's (Wang et al. 2021, MiniLMv2). Nothing is projected, and neither widths nor head counts need be equal."""

    def __init__(
        self, student: Encoder, teacher: Encoder, choice: str | tuple[int, ...], relation_heads: int | None
    ) -> None:
        super().__init__()
        # Spread evenly, one layer learns from the last.
        (layer,) = teacher_layers(choice, 1, len(teacher.layers))
        self.mine, self.theirs = student.layers[-1], teacher.layers[layer - 1]
        self.heads = _relation_heads(relation_heads, self.mine.width, self.theirs.width)
        self.of_student, self.of_teacher = (_related(layer) for layer in (self.mine, self.theirs))

    def forward(self, student: Seen, teacher: Seen) -> Tensor:
        mask = _mask(student)
        losses = [
            relation_loss(student.outputs[mine], teacher.outputs[theirs], self.heads, mask)
            for mine, theirs in zip(self.of_student, self.of_teacher, strict=True)
        ]
        return torch.stack(losses).sum()


def layer_guide(settings: LayerLosses, student: nn.Module, teacher: FrozenTeacher) -> Guide:
    """The guide that `settings` ask for. Raises InputError where student and teacher do not allow it."""
    mine, theirs = encoder_of(student, "the student"), encoder_of(teacher.network, teacher.name)
    if settings.method == "tinybert":
        return TinyBertGuide(mine, theirs, settings.layer_map)
    return MiniLmGuide(mine, theirs, settings.layer_map, settings.relation_heads)


def _relation_heads(wanted: int | None, student: int, teacher: int) -> int:
    """Those asked for, or the most that divide both widths."""
    fitting = [heads for heads in range(1, MOST_RELATION_HEADS + 1) if student % heads == teacher % heads == 0]
    if wanted is None:
        return fitting[-1]
    if student % wanted or teacher % wanted:
        raise InputError(
            f"distill.layers.relation_heads {wanted} does not divide the student's width {student} and the teacher's "
            f"{teacher}: use one of {', '.join(str(heads) for heads in fitting)}, or leave it out"
        )
    return wanted


def _projection(width: int, into: int) -> nn.Module:
    return nn.Identity() if width == into else nn.Linear(width, into, bias=False)


def _mask(seen: Seen) -> Tensor:
    assert seen.mask is not None, "texts have a mask"
    return seen.mask


def _scored(layer: Layer) -> tuple[str, ...]:
    return layer.output, layer.query, layer.key


def _related(layer: Layer) -> tuple[str, ...]:
    return layer.query, layer.key, layer.value


def _scores(seen: Seen, layer: Layer) -> Tensor:
    return dot_products(seen.outputs[layer.query], seen.outputs[layer.key], layer.heads)
