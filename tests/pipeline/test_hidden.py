"""What a teacher's modules give, kept so that the teacher is not run while a student learns from its inside."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches, training_batches
from pipeline.distill import hidden as hiding
from pipeline.distill.answers import views_of
from pipeline.distill.cache import cache_teacher
from pipeline.distill.cache_results import HiddenResult
from pipeline.distill.features import feature_guides
from pipeline.distill.hidden import RememberedTeacher, cache_hidden
from pipeline.distill.inside import FrozenTeacher, Guide, Guided, Seen, frozen_teacher
from pipeline.distill.layers import layer_guide
from pipeline.distill.start import start_student
from pipeline.distill.student import distill
from pipeline.errors import InputError
from pipeline.networks import example_inputs
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import StudentSettings
from pipeline.store import Store
from pipeline.student import student_architecture
from pipeline.training.schedule import Moment
from tests.networks import untrained
from tests.pipeline.test_networks import BERT, MOBILENET

CPU = torch.device("cpu")
START = Moment(0, 0.0)
IMAGES: dict[str, Any] = {
    "features": [
        {"student": "blocks.1", "teacher": "blocks.2"},
        {"student": "blocks.4", "teacher": "blocks.4", "loss": "attention"},
    ],
    "views": 2,
    "augmentation": {"shift": 0.1},
}
TEXTS: dict[str, Any] = {
    "layers": {"method": "tinybert", "weight": 0.5, "epochs": 1},
    "features": [{"student": "bert.pooler", "teacher": "bert.pooler"}],
}
STUDENTS = {
    "image-classification": StudentSettings(family="mobilenetv2", width=0.35),
    "text-classification": StudentSettings(family="tinybert", layers=1),
}


def settings(changes: dict[str, Any], **kept: Any) -> DistillSettings:
    return DistillSettings.model_validate({"epochs": 2, "batch_size": 8, **changes, "cache": {"hidden": True, **kept}})


def few(data: PreparedData, folder: Path) -> PreparedData:
    """24 training samples are enough here."""
    folder.mkdir(exist_ok=True)
    with np.load(data.split_file) as splits:
        np.savez(folder / "split.npz", **{**splits, "train": splits["train"][:72:3]})
    return replace(data, fingerprint=data.fingerprint[::-1], split_file=folder / "split.npz")


@pytest.fixture(scope="module")
def images(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedData, NetworkResult]:
    folder = tmp_path_factory.mktemp("images")
    return few(digits, folder), untrained(digits, MOBILENET, folder / "teacher")


@pytest.fixture(scope="module")
def texts(reviews: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedData, NetworkResult]:
    folder = tmp_path_factory.mktemp("texts")
    return few(reviews, folder), untrained(reviews, BERT, folder / "teacher")


def kept_of(
    data: PreparedData, teacher: NetworkResult, chosen: DistillSettings, context: RunContext
) -> tuple[HiddenResult, RememberedTeacher]:
    kept = cache_hidden(data, teacher, student_architecture(STUDENTS[data.task], data, teacher), chosen, context)
    return kept, RememberedTeacher(kept, data)


def names_of(kept: HiddenResult) -> list[str]:
    return [output.name for output in kept.outputs]


def real(values: Tensor, mask: Tensor | None, tokens: bool) -> Tensor:
    return values[mask] if tokens and mask is not None else values


def test_what_is_kept_of_images_is_what_the_teacher_gives_to_the_bit(
    images: tuple[PreparedData, NetworkResult], context: RunContext
) -> None:
    data, teacher = images
    chosen = settings(IMAGES)
    kept, remembered = kept_of(data, teacher, chosen, context)
    assert {output.name: output.shape for output in kept.outputs} == {
        "body.blocks.2": (16, 4, 4),
        "body.blocks.4": (32, 2, 2),
    }
    frozen = frozen_teacher(teacher, CPU)
    for view in range(2):
        (batch,) = evaluation_batches(data, data.rows("train"), 64, 0, chosen.augmentation, view)
        found, expected = remembered.recall(batch), frozen.look(batch.inputs, names_of(kept))
        for name in names_of(kept):
            assert torch.equal(found.outputs[name], expected.outputs[name])


def test_what_is_kept_of_texts_is_of_their_real_tokens(
    texts: tuple[PreparedData, NetworkResult], context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of other sizes than it was kept in, from several files."""
    data, teacher = texts
    monkeypatch.setattr(hiding, "LARGEST_SHARD", 60_000)
    kept, remembered = kept_of(data, teacher, settings(TEXTS), context)
    assert len(kept.shards) > 2
    assert len(kept.outputs) == 5  # embeddings, one layer's output, queries and keys, and the pooler
    assert [output.name for output in kept.outputs if not output.tokens] == ["transformer.bert.pooler"]
    frozen = frozen_teacher(teacher, CPU)
    for batch in training_batches(data, data.rows("train"), 5, 0, 0):
        found, expected = remembered.recall(batch), frozen.look(batch.inputs, names_of(kept))
        for output in kept.outputs:
            one, other = found.outputs[output.name], expected.outputs[output.name]
            assert one.shape == other.shape
            torch.testing.assert_close(
                real(one, expected.mask, output.tokens), real(other, expected.mask, output.tokens)
            )
    values = sum(int(data.lengths[row]) * 4 * 32 + 32 for row in data.rows("train"))
    assert sum(shard.bytes - 128 for shard in kept.shards) == 4 * values


@pytest.mark.parametrize("task", ["images", "texts"])
def test_a_student_learns_the_same_without_running_the_teacher(
    task: str, request: pytest.FixtureRequest, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, teacher = request.getfixturevalue(task)
    chosen, asked = settings(IMAGES if task == "images" else TEXTS), []
    live = chosen.model_copy(update={"cache": chosen.cache.model_copy(update={"hidden": False})})
    cache, student = cache_teacher(data, teacher, live, context), STUDENTS[data.task]
    expected = distill(data, teacher, cache, student, live, context)
    kept_of(data, teacher, chosen, context)
    look = FrozenTeacher.look

    def counting(self: FrozenTeacher, inputs: tuple[Tensor, ...], names: Iterable[str]) -> Seen:
        asked.append(len(inputs[0]))
        return look(self, inputs, names)

    monkeypatch.setattr(FrozenTeacher, "look", counting)
    found = distill(data, teacher, cache, student, chosen, context)
    assert asked == [1]  # one sample, to see the shapes
    assert found.fingerprint != expected.fingerprint
    assert len(found.curve) == len(expected.curve)
    assert found.curve[0].train_loss == pytest.approx(expected.curve[0].train_loss, rel=0.02)


@pytest.mark.parametrize("task", ["images", "texts"])
def test_the_losses_are_those_of_a_teacher_that_is_looked_at(
    task: str, request: pytest.FixtureRequest, context: RunContext
) -> None:
    data, teacher = request.getfixturevalue(task)
    chosen, student = settings(IMAGES if task == "images" else TEXTS), STUDENTS[data.task]
    _, remembered = kept_of(data, teacher, chosen, context)
    network = start_student(student_architecture(student, data, teacher), student, teacher, seed=0).eval()
    frozen = frozen_teacher(teacher, CPU)
    guides: list[tuple[float, Guide]] = [*feature_guides(chosen.features, network, frozen, example_inputs(data))]
    if chosen.layers is not None:
        guides.append((1.0, layer_guide(chosen.layers, network, frozen)))
    shown, view = views_of(data, chosen)[0], 1 if task == "images" else 0
    for batch in training_batches(data, data.rows("train"), 5, 0, 0, shown, view):
        with torch.no_grad():
            looking, remembering = (Guided(None, guides, seen)(network, batch, START) for seen in (frozen, remembered))
        torch.testing.assert_close(looking, remembering, rtol=1e-4, atol=1e-6)
        assert looking > 1e-4


def test_float16_halves_what_is_kept(images: tuple[PreparedData, NetworkResult], context: RunContext) -> None:
    data, teacher = images
    (whole, exact), (half, close) = (
        kept_of(data, teacher, settings(IMAGES, dtype=dtype), context) for dtype in ("float32", "float16")
    )
    sizes = [sum(shard.bytes - 128 for shard in kept.shards) for kept in (whole, half)]
    assert sizes[1] == sizes[0] // 2
    (batch,) = evaluation_batches(data, data.rows("train"), 64, 0, settings(IMAGES).augmentation, 1)
    for name in names_of(whole):
        values = exact.recall(batch).outputs[name]
        assert torch.equal(close.recall(batch).outputs[name], values.half().float())


def test_students_of_the_same_depth_share_what_is_kept(
    texts: tuple[PreparedData, NetworkResult], context: RunContext
) -> None:
    data, teacher = texts
    kept, _ = kept_of(data, teacher, settings(TEXTS), context)
    narrow = StudentSettings(family="tinybert", layers=1, hidden=32, feed_forward=32)
    again = cache_hidden(data, teacher, student_architecture(narrow, data, teacher), settings(TEXTS, top_k=1), context)
    assert again == kept
    deep = StudentSettings(family="tinybert", layers=2)
    other = cache_hidden(data, teacher, student_architecture(deep, data, teacher), settings(TEXTS), context)
    assert len(other.outputs) == 8


def test_a_damaged_file_of_hidden_states_is_made_again(
    images: tuple[PreparedData, NetworkResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, teacher = images
    monkeypatch.setattr(hiding, "LARGEST_SHARD", 10_000)
    context = RunContext(Store(tmp_path))
    kept, remembered = kept_of(data, teacher, settings(IMAGES), context)
    file = kept.shards[3].file
    content = file.read_bytes()
    file.write_bytes(content[:-4])
    (batch,) = evaluation_batches(data, data.rows("train"), 64, 0, settings(IMAGES).augmentation, 0)
    with pytest.raises(InputError, match=rf"{file.name}: cut short"):
        remembered.recall(batch)
    assert kept_of(data, teacher, settings(IMAGES), context)[0] == kept
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("cache.hidden keeps what features and layers look at: give some", {}),
        ("cache.hidden is for mode cached", {**IMAGES, "views": 1, "mode": "mixed"}),
        ("cache.hidden knows no mixed images", {**IMAGES, "regularization": {"mixup": 0.2}}),
    ],
)
def test_hidden_states_that_would_not_serve_are_refused(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(changes)
