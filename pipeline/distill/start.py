"""Where a student starts: at random, from a checkpoint, or from its teacher's embeddings or layers.

The start depends on settings, seed and teacher alone, so a naive student starts where the distilled one does.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.networks import ImageNetwork, TextNetwork, build_network, load_network
from pipeline.recipe import StudentSettings
from pipeline.results import NetworkResult
from pipeline.weights import load_image_weights


def start_student(
    architecture: dict[str, Any], settings: StudentSettings, teacher: NetworkResult, seed: int
) -> nn.Module:
    """The student before its first step. Raises InputError for a start that its shape does not allow."""
    torch.manual_seed(seed)
    network = build_network(architecture)
    if isinstance(network, ImageNetwork):
        load_image_weights(network.body, architecture["model"], settings.weights, settings.width, train=True)
    elif settings.start != "random":
        source = load_network(teacher)
        assert isinstance(source, TextNetwork)
        assert isinstance(network, TextNetwork)
        take = _take_embeddings if settings.start == "embeddings" else _take_layers
        with torch.no_grad():
            take(network.transformer, source.transformer, teacher.name)
    return network


def _take_embeddings(student: Any, teacher: Any, name: str) -> None:
    """The teacher's embeddings, on their first principal components where the student is narrower: the same
    projection for words, positions and types, whose sum it then is too."""
    into, source = student.base_model.embeddings, teacher.base_model.embeddings
    hidden = student.config.hidden_size
    words = source.word_embeddings.weight
    if words.shape[1] < hidden:
        raise InputError(
            f"student.hidden {hidden} is wider than teacher {name}'s embeddings ({words.shape[1]}): "
            "lower it, or use student.start: random"
        )
    basis = torch.eye(hidden) if words.shape[1] == hidden else principal_components(words, hidden)
    for part in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        old, new = getattr(source, part, None), getattr(into, part)
        if old is not None:
            rows = min(len(old.weight), len(new.weight))
            new.weight[:rows] = old.weight[:rows] @ basis
    if words.shape[1] == hidden:
        into.LayerNorm.load_state_dict(source.LayerNorm.state_dict())


def principal_components(matrix: Tensor, count: int) -> Tensor:
    """[columns, count] orthonormal: the directions that keep most of the rows' length, largest first."""
    exact = matrix.double()
    _, vectors = torch.linalg.eigh(exact.T @ exact)
    return vectors.flip(1)[:, :count].to(matrix.dtype)


def _take_layers(student: Any, teacher: Any, name: str) -> None:
    """Embeddings, evenly spread layers, pooler and classifier of the teacher."""
    mine, theirs = student.config, teacher.config
    for setting, key in (
        ("hidden", "hidden_size"),
        ("heads", "num_attention_heads"),
        ("feed_forward", "intermediate_size"),
    ):
        if getattr(mine, key) != getattr(theirs, key, None):
            raise InputError(
                f"student.start 'layers': student.{setting} is {getattr(mine, key)}, teacher {name}'s is "
                f"{getattr(theirs, key, None)}: make them equal, or use student.start: embeddings"
            )
    if theirs.model_type != "bert":
        raise InputError(
            f"student.start 'layers' needs a BERT teacher, {name} is {theirs.model_type}: use embeddings or random"
        )
    if mine.num_hidden_layers > theirs.num_hidden_layers:
        raise InputError(
            f"student.layers {mine.num_hidden_layers} is more than teacher {name}'s {theirs.num_hidden_layers}"
        )
    _take_embeddings(student, teacher, name)
    chosen = evenly_spread(mine.num_hidden_layers, theirs.num_hidden_layers)
    for layer, source in zip(student.bert.encoder.layer, chosen, strict=True):
        layer.load_state_dict(teacher.bert.encoder.layer[source].state_dict())
    student.bert.pooler.load_state_dict(teacher.bert.pooler.state_dict())
    student.classifier.load_state_dict(teacher.classifier.state_dict())


def evenly_spread(count: int, total: int) -> list[int]:
    """`count` of the layers 0 .. total - 1, the last always among them and the first where count is above
    1."""
    if count == 1:
        return [total - 1]
    return [int(place) for place in np.round(np.linspace(0, total - 1, count))]
