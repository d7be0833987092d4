"""What a student's training asks of its teacher and of the labels, batch by batch."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.batches import Batch
from pipeline.data.mix import mix
from pipeline.distill.answers import LearnAnswers, TeacherAnswers, student_schedule, views_of
from pipeline.distill.losses import mixed_answers, soft_target_loss
from pipeline.results import PreparedData
from pipeline.settings.data import Augmentation
from pipeline.settings.distill import DistillSettings
from pipeline.settings.training import Regularization
from pipeline.training.labels import learn_labels
from pipeline.training.schedule import Moment

START = Moment(0, 0.0)
ANSWERS = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [-1.0, 0.5, 3.0], [0.0, 0.0, 1.0]])


class Reading(nn.Module):
    """Logits [B, 3]: the means of the image's channels. It keeps what it was shown."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return images.mean((2, 3))


def batch_of_4() -> Batch:
    pixels = torch.arange(4 * 3 * 8 * 8, dtype=torch.float32).view(4, 3, 8, 8) / 100
    return Batch((pixels,), torch.tensor([0, 1, 2, 0]), np.arange(10, 14), np.arange(4), np.full(4, 3), (0, 2, 5))


def cached(batch: Batch) -> Tensor:
    return ANSWERS[torch.from_numpy(batch.rows) - 10]


CACHE = TeacherAnswers(cached, judges_inputs=False)


def test_alpha_weighs_soft_targets_against_labels() -> None:
    batch, network = batch_of_4(), Reading()
    logits = network(*batch.inputs)
    soft = 16 * functional.kl_div(
        functional.log_softmax(logits / 4, 1), functional.softmax(ANSWERS / 4, 1), reduction="batchmean"
    )
    hard = functional.cross_entropy(logits, batch.labels)
    for alpha, expected in ((0.7, 0.7 * soft + 0.3 * hard), (0.0, hard), (1.0, soft)):
        learn = LearnAnswers(DistillSettings(temperature=4.0, alpha=alpha), CACHE)
        torch.testing.assert_close(learn(network, batch, START), expected)


def test_temperature_and_alpha_may_change_over_the_training() -> None:
    settings = DistillSettings.model_validate(
        {"temperature": {"start": 8, "end": 2}, "alpha": {"start": 1.0, "end": 0.0, "shape": "cosine"}}
    )
    learn, batch, network = LearnAnswers(settings, CACHE), batch_of_4(), Reading()
    logits = network(*batch.inputs)
    torch.testing.assert_close(learn(network, batch, START), soft_target_loss(logits, ANSWERS, 8.0))
    half = 0.5 * soft_target_loss(logits, ANSWERS, 5.0) + 0.5 * functional.cross_entropy(logits, batch.labels)
    torch.testing.assert_close(learn(network, batch, Moment(3, 0.5)), half)
    end = functional.cross_entropy(logits, batch.labels)
    torch.testing.assert_close(learn(network, batch, Moment(9, 1.0)), end)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0}, {"temperature": {"start": 0, "end": 4}}, {"alpha": 1.5}, {"alpha": {"start": 0, "end": 2}}],
)
def test_figures_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected 0"):
        DistillSettings.model_validate(wrong)


def test_the_teacher_is_asked_about_the_view() -> None:
    asked: list[list[int]] = []

    def ask(batch: Batch) -> Tensor:
        asked.append(batch.views.tolist())
        return ANSWERS

    learn = LearnAnswers(DistillSettings(), TeacherAnswers(ask, judges_inputs=True))
    learn(Reading(), batch_of_4(), Moment(5, 0.1))
    assert asked == [[3, 3, 3, 3]]


def test_labels_are_smoothed() -> None:
    """Of three classes 0.9 of the label becomes 0.9 + 0.1 / 3, the others 0.1 / 3 each."""
    network, batch = Reading(), batch_of_4()
    logs = network(*batch.inputs).log_softmax(1)
    expected = -(0.9 * logs[range(4), batch.labels] + 0.1 * logs.mean(1)).mean()
    torch.testing.assert_close(learn_labels(Regularization(), 0.1)(network, batch, START), expected)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_images_have_mixed_labels(kind: str) -> None:
    """What the network sees, and the loss it gets, follow from one share and one partner for each image."""
    network, batch = Reading(), batch_of_4()
    loss = learn_labels(Regularization.model_validate({kind: 1.0}), 0.0)(network, batch, START)
    (images,), seen = batch.inputs, network.seen
    logits = seen.mean((2, 3))
    found = []
    for image, mixed, label in zip(images, seen, range(4), strict=True):
        partners = [other for other in range(4) if consistent(image, images[other], mixed, kind)]
        assert partners, "every image is mixed of itself and one of the batch"
        found.append((label, partners))
    share = float(((seen[0] - images[found[0][1][0]]) / (images[0] - images[found[0][1][0]])).mean())
    own = functional.cross_entropy(logits, batch.labels)
    partner = torch.tensor([partners[0] for _, partners in found])
    other = functional.cross_entropy(logits, batch.labels[partner])
    torch.testing.assert_close(loss, share * own + (1 - share) * other, rtol=1e-4, atol=1e-4)


def consistent(image: Tensor, other: Tensor, mixed: Tensor, kind: str) -> bool:
    if torch.equal(image, other):
        return torch.allclose(mixed, image)
    weights = (mixed - other) / (image - other)
    if kind == "mixup":
        return bool((weights - weights.mean()).abs().max() < 1e-3 and -1e-3 <= float(weights.mean()) <= 1 + 1e-3)
    return bool(((weights - weights.round()).abs() < 1e-4).all() and ((weights > -0.5) & (weights < 1.5)).all())


@pytest.mark.parametrize("judges", [True, False])
def test_a_teacher_judges_the_mixed_image_or_its_answers_are_mixed(judges: bool) -> None:
    shown: list[Batch] = []

    def ask(batch: Batch) -> Tensor:
        shown.append(batch)
        return batch.inputs[0].mean((2, 3)) * 2 if judges else ANSWERS

    settings = DistillSettings.model_validate({"alpha": 1.0, "temperature": 2.0, "regularization": {"mixup": 1.0}})
    network, batch = Reading(), batch_of_4()
    loss = LearnAnswers(settings, TeacherAnswers(ask, judges))(network, batch, START)
    assert shown[0].inputs[0] is (network.seen if judges else batch.inputs[0])
    logits = network.seen.mean((2, 3))
    if judges:
        torch.testing.assert_close(loss, soft_target_loss(logits, 2 * logits, 2.0))
        return
    mixed = mix(batch, settings.regularization)
    assert mixed is not None
    expected = mixed_answers(ANSWERS, ANSWERS[mixed.partner], mixed.share, 2.0)
    torch.testing.assert_close(loss, soft_target_loss(logits, expected, 2.0))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_batch_is_mixed_in_the_same_way_by_everyone(kind: str) -> None:
    """By its own seed: not by torch's generator, which it leaves alone, and each batch in another way."""
    settings, batch = Regularization.model_validate({kind: 1.0}), batch_of_4()
    first = mix(batch, settings)
    state = torch.manual_seed(3).get_state()
    again = mix(batch, settings)
    assert torch.equal(state, torch.get_rng_state())
    assert first is not None
    assert again is not None
    assert torch.equal(first.batch.inputs[0], again.batch.inputs[0])
    assert (first.share, first.partner.tolist()) == (again.share, again.partner.tolist())
    others = [mix(replace(batch, seed=seed), settings) for seed in ((0, 2, 6), (0, 3, 5), (1, 2, 5))]
    assert len({other.share for other in (first, *others) if other is not None}) == 4


def test_nothing_is_mixed_unasked() -> None:
    state = torch.get_rng_state()
    assert mix(batch_of_4(), Regularization()) is None
    assert torch.equal(state, torch.get_rng_state())


def test_views_count_only_where_they_differ(digits: PreparedData, reviews: PreparedData) -> None:
    shifted = DistillSettings(views=4, augmentation=Augmentation(shift=0.1))
    assert views_of(digits, shifted) == (shifted.augmentation, 4)
    assert views_of(digits, DistillSettings(views=4)) == (None, 1)
    assert views_of(reviews, shifted) == (None, 1)


def test_a_schedule_is_the_settings(digits: PreparedData) -> None:
    schedule = student_schedule(digits, DistillSettings(epochs=7, learning_rate=0.1, batch_size=3), seed=5)
    assert (schedule.epochs, schedule.learning_rate, schedule.batch_size, schedule.seed) == (7, 0.1, 3, 5)
