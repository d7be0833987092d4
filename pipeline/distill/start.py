"""Where a student starts: at random, from a checkpoint, from its teacher's embeddings or layers, or as its teacher.

The start depends on settings, seed, teacher and data alone, so a naive student starts where the distilled one does.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.distill.narrow import take_narrower
from pipeline.errors import InputError
from pipeline.networks import ImageNetwork, TextNetwork, build_network, load_network
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.students.texts import TextStudent
from pipeline.weights import load_image_weights

SIZES = {"hidden": "hidden_size", "heads": "num_attention_heads", "feed_forward": "intermediate_size"}


def start_student(
    architecture: dict[str, Any],
    settings: StudentSettings,
    teacher: NetworkResult,
    seed: int,
    data: PreparedData | None = None,
) -> nn.Module:
    """The student before its first step. `data`: texts that show which of its teacher's directions matter, needed by
    `start: layers` where the student is narrower. Raises InputError for a start that its shape does not allow."""
    torch.manual_seed(seed)
    network = build_network(architecture)
    if isinstance(network, ImageNetwork):
        load_image_weights(network.body, architecture["model"], settings.weights, settings.width, train=True)
        if settings.start == "layers":
            network.load_state_dict(load_network(teacher).state_dict())
    elif isinstance(network, TextStudent):
        if settings.start == "embeddings":
            _take_word_vectors(network, load_network(teacher), teacher.name)
    elif settings.start != "random":
        source = load_network(teacher)
        if not isinstance(source, TextNetwork):
            raise InputError(
                f"student.start '{settings.start}' needs the layers of one PyTorch teacher; {teacher.name} gives "
                "logits alone: use student.start: random"
            )
        assert isinstance(network, TextNetwork)
        with torch.no_grad():
            if settings.start == "embeddings":
                _take_embeddings(network.transformer, source.transformer, teacher.name)
            else:
                _take_layers(network.transformer, source, teacher.name, settings.from_layers, data, seed)
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


def _take_word_vectors(student: TextStudent, source: Any, name: str) -> None:
    """The teacher's word embeddings, on their first principal components where the student's are narrower, with a mean
    square of 1: what normalises them in the teacher, this student has not."""
    if not hasattr(source, "get_input_embeddings"):
        raise InputError(
            f"student.start 'embeddings' needs a PyTorch teacher; {name} gives logits alone: use student.start: random"
        )
    with torch.no_grad():
        words, mine = source.get_input_embeddings().weight, student.embedding.weight
        if words.shape != mine.shape:
            words = words @ principal_components(words, mine.shape[1])
        mine.copy_(words / words.square().mean().sqrt())


def principal_components(matrix: Tensor, count: int) -> Tensor:
    """[columns, count] orthonormal: the directions that keep most of the rows' length, largest first."""
    exact = matrix.double()
    _, vectors = torch.linalg.eigh(exact.T @ exact)
    return vectors.flip(1)[:, :count].to(matrix.dtype)


def _take_layers(
    student: Any, source: TextNetwork, name: str, given: tuple[int, ...] | None, data: PreparedData | None, seed: int
) -> None:
    """Embeddings, layers, pooler and classifier of the teacher: as they are where the student has its sizes, else by
    `pipeline.distill.narrow`."""
    teacher: Any = source.transformer
    mine, theirs = student.config, teacher.config
    if theirs.model_type != "bert":
        raise InputError(
            f"student.start 'layers' needs a BERT teacher, {name} is {theirs.model_type}: use embeddings or random"
        )
    if mine.num_hidden_layers > theirs.num_hidden_layers:
        raise InputError(
            f"student.layers {mine.num_hidden_layers} is more than teacher {name}'s {theirs.num_hidden_layers}"
        )
    if given is not None and given[-1] > theirs.num_hidden_layers:
        raise InputError(
            f"student.from_layers: {given[-1]} is more than the {theirs.num_hidden_layers} layers of teacher {name}"
        )
    sizes = {setting: (getattr(mine, key), getattr(theirs, key)) for setting, key in SIZES.items()}
    for setting, (wanted, there) in sizes.items():
        if wanted > there:
            raise InputError(
                f"student.start 'layers': student.{setting} is {wanted}, teacher {name}'s is {there}: lower it to "
                "that, or use student.start: random"
            )
    chosen = evenly_spread(mine.num_hidden_layers, theirs.num_hidden_layers)
    if given is not None:
        chosen = [number - 1 for number in given]
    if any(wanted < there for wanted, there in sizes.values()):
        assert data is not None, "a narrower student needs texts"
        take_narrower(student, source, chosen, data, seed)
        return
    _take_embeddings(student, teacher, name)
    for layer, number in zip(student.bert.encoder.layer, chosen, strict=True):
        layer.load_state_dict(teacher.bert.encoder.layer[number].state_dict())
    student.bert.pooler.load_state_dict(teacher.bert.pooler.state_dict())
    student.classifier.load_state_dict(teacher.classifier.state_dict())


def evenly_spread(count: int, total: int) -> list[int]:
    """`count` of the layers 0 .. total - 1, the last always among them and the first where count is above
    1."""
    if count == 1:
        return [total - 1]
    return [int(place) for place in np.round(np.linspace(0, total - 1, count))]
