import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pipeline.distill.losses import (
    distillation_loss,
    guided_loss,
    label_loss,
    soft_target_loss,
    student_schedule,
    views_of,
)
from pipeline.recipe import Augmentation, DistillSettings
from pipeline.results import PreparedData

logits = st.lists(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3), min_size=1, max_size=5)


def test_soft_targets_of_two_classes_by_hand() -> None:
    # Teacher (2 ln 3, 0) at T = 2 is (3/4, 1/4), student (0, 0) is (1/2, 1/2):
    # KL = 3/4 ln(3/2) + 1/4 ln(1/2), times T^2 = 4.
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    found = soft_target_loss(torch.zeros(1, 2), torch.tensor([[2 * math.log(3), 0.0]]), temperature=2.0)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_mean_is_over_the_batch() -> None:
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    alone = [soft_target_loss(student[i : i + 1], teacher[i : i + 1], 3.0).item() for i in range(4)]
    assert soft_target_loss(student, teacher, 3.0).item() == pytest.approx(np.mean(alone), rel=1e-5)


def test_alpha_weighs_soft_targets_against_labels() -> None:
    student, teacher, labels = torch.randn(6, 4), torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    soft = 16 * functional.kl_div(
        functional.log_softmax(student / 4, 1), functional.softmax(teacher / 4, 1), reduction="batchmean"
    )
    hard = functional.cross_entropy(student, labels)
    found = distillation_loss(student, teacher, labels, temperature=4.0, alpha=0.7)
    torch.testing.assert_close(found, 0.7 * soft + 0.3 * hard)
    torch.testing.assert_close(distillation_loss(student, teacher, labels, 4.0, 0.0), hard)
    torch.testing.assert_close(distillation_loss(student, teacher, labels, 4.0, 1.0), soft)


@settings(max_examples=50, deadline=None)
@given(logits, st.floats(0.5, 20), st.floats(-5, 5))
def test_soft_targets_cost_nothing_where_the_distributions_agree(
    values: list[list[float]], temperature: float, shift: float
) -> None:
    teacher = torch.tensor(values)
    assert soft_target_loss(teacher + shift, teacher, temperature).abs() < 1e-2
    assert soft_target_loss(teacher.flip(1), teacher, temperature) > -1e-4


def test_a_temperature_keeps_the_size_of_the_gradients() -> None:
    """For small logits the gradient is about (student - teacher) / (classes * batch), whatever T (Hinton 2015)."""
    teacher = torch.tensor([[0.02, -0.01, -0.01]])
    sizes = []
    for temperature in (2.0, 20.0):
        student = torch.zeros(1, 3, requires_grad=True)
        soft_target_loss(student, teacher, temperature).backward()
        assert student.grad is not None
        sizes.append(student.grad)
    torch.testing.assert_close(sizes[0], -teacher / 3, rtol=0.05, atol=1e-5)
    torch.testing.assert_close(sizes[0], sizes[1], rtol=0.05, atol=1e-5)


def test_views_count_only_where_they_differ(digits: PreparedData, reviews: PreparedData) -> None:
    shifted = DistillSettings(views=4, augmentation=Augmentation(shift=0.1))
    assert views_of(digits, shifted) == (shifted.augmentation, 4)
    assert views_of(digits, DistillSettings(views=4)) == (None, 1)
    assert views_of(reviews, shifted) == (None, 1)


def test_a_schedule_is_the_settings(digits: PreparedData) -> None:
    schedule = student_schedule(digits, DistillSettings(epochs=7, learning_rate=0.1, batch_size=3), seed=5)
    assert (schedule.epochs, schedule.learning_rate, schedule.batch_size, schedule.seed) == (7, 0.1, 3, 5)


def test_the_guided_loss_asks_the_teacher_about_the_view() -> None:
    from pipeline.data.batches import Batch

    rows = np.arange(2)
    batch = Batch((torch.zeros(2, 3),), torch.tensor([0, 1]), rows, rows)
    asked: list[int] = []

    def ask(batch: Batch, view: int) -> torch.Tensor:
        asked.append(view)
        return torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    student = torch.zeros(2, 2)
    loss = guided_loss(ask, DistillSettings(temperature=2.0, alpha=0.5))
    expected = distillation_loss(student, torch.eye(2), batch.labels, 2.0, 0.5)
    torch.testing.assert_close(loss(student, batch, 3), expected)
    assert asked == [3]
    torch.testing.assert_close(label_loss(student, batch, 0).item(), math.log(2))
