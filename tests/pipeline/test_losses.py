import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pipeline.distill.losses import at, correlation_loss, logit_loss, mixed_answers, soft_target_loss
from pipeline.settings.distill import Ramp

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


def test_logits_are_matched_by_their_squares() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert logit_loss(student, teacher, 5.0).item() == pytest.approx((0 + 4 + 9 + 0) / 4)


def test_correlations_by_numpy() -> None:
    student, teacher, temperature = torch.randn(6, 4), torch.randn(6, 4), 3.0
    p, q = (functional.softmax(values / temperature, 1).numpy() for values in (teacher, student))
    between = np.mean([1 - np.corrcoef(p[i], q[i])[0, 1] for i in range(6)])
    within = np.mean([1 - np.corrcoef(p[:, j], q[:, j])[0, 1] for j in range(4)])
    found = correlation_loss(student, teacher, temperature)
    assert found.item() == pytest.approx(9 * (between + within), rel=1e-4)


def test_correlations_cost_nothing_between_answers_that_rise_and_fall_together() -> None:
    """Two classes: any student with the teacher's order of samples and classes along a line is as good."""
    teacher = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]).log()
    student = torch.tensor([[0.7, 0.3], [0.55, 0.45], [0.35, 0.65]]).log()
    assert correlation_loss(student, teacher, 1.0).item() == pytest.approx(0, abs=1e-5)
    assert soft_target_loss(student, teacher, 1.0) > 0.01


def test_a_batch_of_equal_answers_gives_a_finite_gradient() -> None:
    student = torch.zeros(3, 2, requires_grad=True)
    correlation_loss(student, torch.zeros(3, 2), 1.0).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@given(st.sampled_from(["linear", "cosine"]), st.floats(0, 1), st.floats(0, 100), st.floats(0, 100))
def test_a_ramp_goes_from_start_to_end_and_never_outside(shape: str, share: float, start: float, end: float) -> None:
    ramp = Ramp.model_validate({"start": start, "end": end, "shape": shape})
    assert at(ramp, 0) == pytest.approx(start)
    assert at(ramp, 1) == pytest.approx(end)
    assert min(start, end) - 1e-9 <= at(ramp, share) <= max(start, end) + 1e-9
    assert at(ramp, 0.5) == pytest.approx((start + end) / 2)


@given(st.floats(0, 1), st.floats(0.5, 10))
def test_mixed_answers_are_the_mixture_of_the_distributions(share: float, temperature: float) -> None:
    one, other = torch.tensor([[3.0, -1.0, 0.5]]), torch.tensor([[-2.0, 0.0, 4.0]])
    found = functional.softmax(mixed_answers(one, other, share, temperature) / temperature, 1)
    expected = share * functional.softmax(one / temperature, 1) + (1 - share) * functional.softmax(
        other / temperature, 1
    )
    torch.testing.assert_close(found, expected)
