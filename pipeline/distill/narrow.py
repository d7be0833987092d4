"""A BERT's layers in a narrower BERT: fewer hidden dimensions, smaller or fewer heads, fewer feed-forward units.

One orthonormal basis serves every matrix that reads or writes the hidden stream, as in SliceGPT (Ashkboos et al. 2024),
chosen by principal components of the teacher's own hidden states on training texts.

Exact, if the hidden states lie in the basis: linear layers; LayerNorm whose weight is the same in every dimension;
heads whose rank fits; whatever of the units left out never varies, which goes into the next bias. Approximate: what the
basis leaves out (its mean and what follows linearly from the rest is added back where it is read); other LayerNorm
weights, of which each student dimension gets the best by least squares; heads and units left out; skipped layers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.data.batches import evaluation_batches
from pipeline.networks import TextNetwork
from pipeline.results import PreparedData

TOKENS = 2048  # of training texts that the teacher is watched on
SAMPLES = 4  # tokens a dimension from which what is left out is predicted
RIDGE = 1e-3  # of the mean variance
EMPTY = 1e-6  # of the largest direction: below it there is none

Seen = dict[str, Tensor]  # by the place's name: float64 [tokens, dimensions]


def take_narrower(student: Any, source: TextNetwork, layers: list[int], data: PreparedData, seed: int) -> None:
    """Gives the transformers BERT classifier `student` what it can hold of the teacher `source`: embeddings, the layers
    numbered `layers` from 0, pooler and classifier. No size of the student may be larger than the teacher's.

    Where fewer heads make larger ones, what is new of them starts without effect.
    """
    teacher: Any = source.transformer
    seen = watch(source, layers, data, seed)
    into, given = student.bert, teacher.bert
    basis = _basis(seen, given.embeddings.word_embeddings.weight, student.config.hidden_size)
    for part in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        old, new = getattr(given.embeddings, part).weight, getattr(into.embeddings, part).weight
        rows = min(len(old), len(new))
        new[:rows] = (old[:rows].double() @ basis).to(new.dtype)
    _norm(into.embeddings.LayerNorm, given.embeddings.LayerNorm, seen, "embeddings", basis)
    for layer, number in zip(into.encoder.layer, layers, strict=True):
        _layer(layer, given.encoder.layer[number], seen, str(number), basis, student.config)
    _head(student, teacher, seen, basis)


# ---- what the teacher shows


def watch(source: TextNetwork, layers: list[int], data: PreparedData, seed: int) -> Seen:
    """What goes through the teacher on some training texts, padding left out: input and output of each LayerNorm, what
    attention and feed-forward layers read and give, and the first token's state and pooled state."""
    rows = np.random.default_rng(seed).permutation(data.rows("train"))
    enough = int(np.searchsorted(np.cumsum(data.lengths[rows]), TOKENS)) + 1
    caught: dict[str, list[Tensor]] = {}
    mask = torch.empty(0)

    def keep(name: str, values: Tensor) -> None:
        of_tokens = values[mask.bool()] if values.ndim == 3 else values
        caught.setdefault(name, []).append(of_tokens.double())

    with _hooks(source.transformer, layers, keep), torch.inference_mode():
        for batch in evaluation_batches(data, rows[:enough], 32):
            mask = batch.inputs[1]
            source(*batch.inputs)
    return {name: torch.cat(parts).clone() for name, parts in caught.items()}


@contextmanager
def _hooks(teacher: Any, layers: list[int], keep: Callable[[str, Tensor], None]) -> Iterator[None]:
    def reads(module: Any, name: str) -> Any:
        return module.register_forward_pre_hook(lambda _, inputs: keep(name, inputs[0]))

    def gives(module: Any, name: str) -> Any:
        return module.register_forward_hook(lambda _, inputs, output: keep(name, output))

    bert = teacher.bert
    norms = {"embeddings": bert.embeddings.LayerNorm}
    handles = [gives(bert.pooler, "pooled"), reads(bert.pooler.dense, "first token")]
    for number in layers:
        layer = bert.encoder.layer[number]
        norms |= {f"{number} attention": layer.attention.output.LayerNorm, f"{number} output": layer.output.LayerNorm}
        handles += [
            reads(layer.attention.self.query, f"{number} hidden"),
            reads(layer.attention.output.dense, f"{number} context"),
            gives(layer.intermediate, f"{number} units"),
        ]
    for name, norm in norms.items():
        handles += [reads(norm, f"{name} before"), gives(norm, f"{name} after")]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _basis(seen: Seen, words: Tensor, width: int) -> Tensor:
    """float64 [hidden, width] orthonormal: spans the principal components of the hidden states before and after the
    LayerNorms and of the word embeddings, each kind with the same weight; the identity if nothing is left out.

    LayerNorm takes the mean over the dimensions away. In the teacher that is the direction of ones, which no component
    needs; the student's direction of ones is therefore left empty too, so that nothing else is taken away there.
    LayerNorm also weighs each dimension by itself. So the basis is turned until the student's dimensions are as near as
    can be to dimensions of the teacher (orthogonal Procrustes), and its weights as near to the teacher's.
    """
    hidden = words.shape[1]
    if width == hidden:
        return torch.eye(hidden, dtype=torch.float64)
    kinds = [words.double(), *(values for name, values in seen.items() if name.endswith((" before", " after")))]
    moment = torch.zeros(hidden, hidden, dtype=torch.float64)
    for states in kinds:
        centred = states - states.mean(1, keepdim=True)
        moment += centred.T @ centred / centred.square().sum()
    moment -= torch.ones_like(moment)  # the direction of ones comes last
    components = torch.linalg.eigh(moment).eigenvectors.flip(1)[:, : width - 1]
    mirror = torch.full((width,), -(width**-0.5), dtype=torch.float64)
    mirror[-1] += 1
    mirror /= mirror.norm()
    turned = torch.eye(width, dtype=torch.float64) - 2 * torch.outer(mirror, mirror)  # last row: the direction of ones
    nearest = components.square().sum(1).argsort(descending=True, stable=True)[:width].sort().values
    left, _, right = torch.linalg.svd(components[nearest].T @ turned[:-1].T)
    return components @ left @ right @ turned[:-1]


# ---- parts


def _norm(into: Any, given: Any, seen: Seen, name: str, basis: Tensor) -> None:
    """Weight and bias that bring the normalised projected states nearest to the projected normalised ones."""
    if basis.shape[0] == basis.shape[1]:
        into.load_state_dict(given.state_dict())
        return
    normal = functional.layer_norm(seen[f"{name} before"] @ basis, basis.shape[1:], eps=into.eps)
    wanted = seen[f"{name} after"] @ basis
    centre, target = normal.mean(0), wanted.mean(0)
    variance = (normal - centre).square().mean(0)
    shared = ((normal - centre) * (wanted - target)).mean(0)
    weight = torch.where(variance > EMPTY, shared / variance.clamp(min=EMPTY), 1.0)
    _set(into, weight, target - weight * centre)


def _lift(states: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """(matrix [width, hidden], offset [hidden]): states [n, hidden] from their projections. What the basis leaves out
    is predicted from what it keeps (ridge regression), from its mean alone where the states are few."""
    low = states @ basis
    rest = states - low @ basis.T
    if len(states) < SAMPLES * basis.shape[1]:
        return basis.T, rest.mean(0)
    moved = low - low.mean(0)
    gram = moved.T @ moved
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    more = torch.linalg.solve(gram, moved.T @ (rest - rest.mean(0)))
    return basis.T + more, rest.mean(0) - low.mean(0) @ more


def _layer(into: Any, given: Any, seen: Seen, name: str, basis: Tensor, config: Any) -> None:
    _attention(into.attention, given.attention, seen, name, basis, config)
    _norm(into.attention.output.LayerNorm, given.attention.output.LayerNorm, seen, f"{name} attention", basis)
    units = seen[f"{name} units"]
    first, second = given.intermediate.dense, given.output.dense
    kept, mean = _strongest(units, second.weight.double(), len(into.intermediate.dense.bias))
    matrix, offset = _lift(seen[f"{name} attention after"], basis)
    weight, bias = _read(first, matrix, offset)
    _set(into.intermediate.dense, weight[kept], bias[kept])
    _set(into.output.dense, basis.T @ second.weight.double()[:, kept], (second.bias.double() + mean) @ basis)
    _norm(into.output.LayerNorm, given.output.LayerNorm, seen, f"{name} output", basis)


def _head(student: Any, teacher: Any, seen: Seen, basis: Tensor) -> None:
    """The pooler's outputs are no hidden states: those that vary most in the logits are kept."""
    answers = teacher.classifier
    kept, mean = _strongest(seen["pooled"], answers.weight.double(), basis.shape[1])
    weight, bias = _read(teacher.bert.pooler.dense, *_lift(seen["first token"], basis))
    _set(student.bert.pooler.dense, weight[kept], bias[kept])
    _set(student.classifier, answers.weight.double()[:, kept], answers.bias.double() + mean)


def _strongest(units: Tensor, reader: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` of the units [n, all] that vary most in what `reader` [out, all] makes of them, in their order, and
    what the others give on average [out]."""
    effect = units.var(0, correction=0) * reader.square().sum(0)
    order = effect.argsort(descending=True, stable=True)
    gone = order[count:]
    return order[:count].sort().values, reader[:, gone] @ units.mean(0)[gone]


def _attention(into: Any, given: Any, seen: Seen, name: str, basis: Tensor, config: Any) -> None:
    """Heads that vary most in the output; each cut to the student's size so that scores and outputs change least."""
    states, context = seen[f"{name} hidden"], seen[f"{name} context"]
    theirs, mine = given.self.attention_head_size, into.self.attention_head_size
    output = given.output.dense.weight.double()  # [hidden, heads x size]
    parts = {part: getattr(given.self, part) for part in ("query", "key", "value")}
    lift = _lift(states, basis)
    reads = {part: _read(layer, *lift) for part, layer in parts.items()}
    query, key = (states @ parts[part].weight.double().T + parts[part].bias.double() for part in ("query", "key"))
    effect = context.var(0, correction=0) * output.square().sum(0)
    heads = effect.view(-1, theirs).sum(1).argsort(descending=True, stable=True)[: config.num_attention_heads]
    new = {part: [tensor.double() for tensor in (layer.weight.clone(), layer.bias.clone())] for part, layer in
           ((part, getattr(into.self, part)) for part in parts)}  # fmt: skip
    for tensor in new["query"]:
        tensor.zero_()
    written = torch.zeros_like(into.output.dense.weight, dtype=torch.float64)
    bias = given.output.dense.bias.double() + output @ context.mean(0)
    for place, head in enumerate(heads.sort().values.tolist()):
        old = slice(head * theirs, (head + 1) * theirs)
        for_query, for_key = balanced(_second(query[:, old]), _covariance(key[:, old]), mine)
        for_value, for_output = balanced(_covariance(context[:, old]), output[:, old].T @ output[:, old], mine)
        size = len(for_query)
        rows = slice(place * mine, place * mine + size)
        scale = (mine / theirs) ** 0.5  # scores are divided by the root of the head's size
        for part, change in (("query", scale * for_query), ("key", for_key), ("value", for_value)):
            weight, offset = reads[part]
            new[part][0][rows], new[part][1][rows] = change @ weight[old], change @ offset[old]
        written[:, rows] = basis.T @ output[:, old] @ for_output.T
        bias -= output[:, old] @ for_output.T @ (for_value @ context[:, old].mean(0))
    for part, (weight, offset) in new.items():
        _set(getattr(into.self, part), weight, offset)
    _set(into.output.dense, written, bias @ basis)


def balanced(left: Tensor, right: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Two matrices [m, d], m at most `size` and d, by which x (second moment `left` [d, d]) and y (`right`) are
    shortened so that x . y changes least in mean square: the truncated singular value decomposition of the product of
    the moments' roots, halved between the two (balanced truncation, Moore 1981). Exact at rank `size` or less."""
    if size >= len(left):
        same = torch.eye(len(left), dtype=left.dtype)
        return same, same
    roots = []
    for moment in (left, right):
        values, vectors = torch.linalg.eigh(moment)
        roots.append(vectors * values.clamp(min=0).sqrt() @ vectors.T)
    first, strength, second = torch.linalg.svd(roots[0] @ roots[1])
    strength = strength[:size]
    scale = torch.where(strength > EMPTY * strength[0], strength.clamp(min=1e-300).rsqrt(), 0.0)[:, None]
    return scale * second[:size] @ roots[1], scale * first.T[:size] @ roots[0]


def _read(layer: Any, matrix: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer that reads projected states as `layer` reads the lifted ones."""
    weight = layer.weight.double()
    return weight @ matrix.T, layer.bias.double() + weight @ offset


def _second(values: Tensor) -> Tensor:
    return values.T @ values / len(values)


def _covariance(values: Tensor) -> Tensor:
    return _second(values - values.mean(0))


def _set(layer: Any, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
