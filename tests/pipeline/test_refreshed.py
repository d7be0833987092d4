"""Mode mixed: answers that are kept, and some of them given anew each epoch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.context import RunContext
from pipeline.data.augment import augment
from pipeline.data.batches import Batch, training_batches
from pipeline.distill.answers import LearnAnswers, RefreshedAnswers, student_schedule
from pipeline.distill.cache import cache_teacher
from pipeline.distill.student import distill
from pipeline.progress import Meter
from pipeline.results import PreparedData
from pipeline.settings.data import Augmentation
from pipeline.settings.distill import DistillSettings, Refresh
from pipeline.training.fit import Fit, fit
from pipeline.training.schedule import Moment
from tests.pipeline.test_training import same, small
from tests.pipeline.trained import IMAGE_DISTILLING, IMAGE_STUDENT, image_cache, image_teacher

SHIFTED = Augmentation(shift=0.2)


def brightness(batch: Batch) -> Tensor:
    """A teacher whose answer tells the view that it was shown."""
    (images,) = batch.inputs
    return images[:, :, 6:16, 6:16].mean((2, 3)).repeat(1, 4)[:, :10] / 50


def answers(digits: PreparedData, refresh: Refresh) -> RefreshedAnswers:
    rows = digits.rows("train")
    batches = training_batches(digits, rows, 64, 0, 0, SHIFTED, 0)
    logits = np.zeros((len(rows), 10), np.float32)
    for batch in batches:
        logits[batch.positions] = brightness(batch).numpy()
    return RefreshedAnswers(brightness, logits, rows, refresh, seed=0)


def epoch_of(digits: PreparedData, teacher: RefreshedAnswers, epoch: int) -> np.ndarray:
    """One epoch of questions; the views that the samples were seen in."""
    rows = digits.rows("train")
    views = teacher.choose_views(epoch)
    np.testing.assert_array_equal(teacher.choose_views(epoch), views)  # asked twice: the same
    for batch in training_batches(digits, rows, 32, 0, epoch, SHIFTED, views):
        torch.testing.assert_close(teacher(batch), brightness(batch))
        np.testing.assert_array_equal(batch.views, views[batch.positions])
    return views


def test_every_answer_is_of_the_view_that_is_shown(digits: PreparedData) -> None:
    teacher = answers(digits, Refresh(fraction=0.25))
    seen = [epoch_of(digits, teacher, epoch) for epoch in range(6)]
    assert (seen[0] == 0).all()
    for epoch in range(1, 6):
        new = seen[epoch] == epoch
        assert new.sum() == round(0.25 * 210)
        np.testing.assert_array_equal(seen[epoch][~new], seen[epoch - 1][~new])


def test_by_age_everything_is_renewed_before_anything_is_twice(digits: PreparedData) -> None:
    teacher = answers(digits, Refresh(fraction=0.2))
    seen = [epoch_of(digits, teacher, epoch) for epoch in range(6)]
    assert (seen[5] > 0).all()
    assert sorted(np.unique(seen[5])) == [1, 2, 3, 4, 5]


def test_by_disagreement_those_go_first_whose_student_is_farthest(digits: PreparedData) -> None:
    teacher = answers(digits, Refresh(fraction=0.1, by="disagreement"))
    epoch_of(digits, teacher, 0)
    rows = digits.rows("train")
    far = rows[::10]
    for batch in training_batches(digits, rows, 32, 0, 0, SHIFTED, teacher.choose_views(0)):
        expected = teacher(batch)
        wrong = torch.from_numpy(np.isin(batch.rows, far))
        student = torch.where(wrong[:, None], expected - 9 * torch.arange(10), expected)
        teacher.heard(batch, student, expected)
    new = teacher.choose_views(1) == 1
    np.testing.assert_array_equal(rows[new], far)


def test_the_teacher_is_asked_about_the_fraction_alone(digits: PreparedData) -> None:
    asked: list[int] = []

    def counting(batch: Batch) -> Tensor:
        asked.extend(batch.rows.tolist())
        return brightness(batch)

    teacher = answers(digits, Refresh(fraction=0.1))
    teacher.teacher = counting
    for epoch in range(3):
        epoch_of(digits, teacher, epoch)
    assert len(asked) == len(set(asked)) == 2 * 21


def test_views_may_differ_within_a_batch(digits: PreparedData) -> None:
    rows = digits.rows("train")[:6]
    views = np.array([0, 1, 2, 0, 1, 2])
    pixels = np.asarray(digits.inputs[rows])
    together = augment(pixels, rows, views, SHIFTED, 7)
    for index, view in enumerate(views):
        alone = augment(pixels[index : index + 1], rows[index : index + 1], int(view), SHIFTED, 7)
        np.testing.assert_array_equal(together[index], alone[0])


@pytest.mark.parametrize("by", ["age", "disagreement"])
def test_a_killed_training_resumes_with_what_the_teacher_said(digits: PreparedData, tmp_path: Path, by: str) -> None:
    settings = DistillSettings.model_validate(
        {"mode": "mixed", "epochs": 4, "batch_size": 32, "augmentation": {"shift": 0.2}, "refresh": {"by": by}}
    )

    def train(folder: Path, network: nn.Module, killed_in: int | None = None) -> Fit:
        teacher = answers(digits, settings.refresh)
        learn = LearnAnswers(settings, teacher)

        class Dying(LearnAnswers):
            def forward(self, network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
                if moment.epoch == killed_in:
                    raise KeyboardInterrupt
                return super().forward(network, batch, moment)

        if killed_in is not None:
            learn = Dying(settings, teacher)
        schedule = replace(student_schedule(digits, settings, 0, teacher), learning_rate=3e-3)
        return fit(network, digits, learn, schedule, Meter("fit", "samples", 1), folder)

    whole, resumed = small(), small()
    outcome = train(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", small(), killed_in=3)
    assert train(tmp_path / "broken", resumed) == outcome
    assert same(whole, resumed)


def test_a_student_is_distilled_in_mode_mixed(digits: PreparedData, session_context: RunContext) -> None:
    settings = IMAGE_DISTILLING.model_copy(update={"mode": "mixed", "views": 1, "epochs": 2})
    teacher = image_teacher(digits, session_context)
    cache = cache_teacher(digits, teacher, settings, session_context)
    assert cache.logits.shape[0] == 1
    assert cache.fingerprint != image_cache(digits, session_context).fingerprint
    student = distill(digits, teacher, cache, IMAGE_STUDENT, settings, session_context)
    assert len(student.curve) == 2


def test_mixed_without_views_to_make_is_refused() -> None:
    with pytest.raises(ValueError, match="give an augmentation"):
        DistillSettings(mode="mixed")
    with pytest.raises(ValueError, match=r"remove views \(it is 3\)"):
        DistillSettings(mode="mixed", augmentation=SHIFTED, views=3)
