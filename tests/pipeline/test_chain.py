"""Students in several steps: through assistants, and in several phases."""

import numpy as np
import torch

from pipeline.context import RunContext
from pipeline.distill.chain import guide_of
from pipeline.distill.student import distill, train_naive
from pipeline.networks import load_network
from pipeline.results import PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.student import student_architecture
from tests.pipeline.trained import IMAGE_DISTILLING, IMAGE_STUDENT, image_cache, image_student, image_teacher

SHORT = IMAGE_DISTILLING.model_copy(update={"epochs": 1})
ASSISTANT = StudentSettings(family="mobilenetv2", width=0.5)


def test_without_assistants_the_teacher_teaches(digits: PreparedData, session_context: RunContext) -> None:
    teacher = image_teacher(digits, session_context)
    assert guide_of(digits, teacher, IMAGE_DISTILLING, session_context) == (
        teacher,
        image_cache(digits, session_context),
    )
    online = IMAGE_DISTILLING.model_copy(update={"mode": "online"})
    assert guide_of(digits, teacher, online, session_context) == (teacher, None)


def test_an_assistant_stands_between(digits: PreparedData, session_context: RunContext) -> None:
    teacher = image_teacher(digits, session_context)
    settings = SHORT.model_copy(update={"assistants": (ASSISTANT,)})
    guide, cache = guide_of(digits, teacher, settings, session_context)
    assert (guide.role, guide.name) == ("assistant", "mobilenetv2 x0.5")
    assert cache is not None
    rows = digits.rows("train")
    assert cache.logits.shape == (settings.views, len(rows), 10)
    student = distill(digits, guide, cache, IMAGE_STUDENT, settings, session_context)
    assert any("learned from assistant mobilenetv2 x0.5" in note for note in student.notes)
    direct = distill(digits, teacher, image_cache(digits, session_context), IMAGE_STUDENT, SHORT, session_context)
    assert student.fingerprint != direct.fingerprint
    assert not np.array_equal(student.test_logits, direct.test_logits)


def test_hard_labels_come_last_and_are_undone_where_they_do_harm(
    digits: PreparedData, session_context: RunContext
) -> None:
    teacher, cache = image_teacher(digits, session_context), image_cache(digits, session_context)
    before = image_student(digits, session_context)
    settings = IMAGE_DISTILLING.model_copy(update={"hard_label_epochs": 1})
    after = distill(digits, teacher, cache, IMAGE_STUDENT, settings, session_context)
    assert [record.epoch for record in after.curve] == list(range(IMAGE_DISTILLING.epochs + 1))
    assert after.curve[:-1] == before.curve
    assert after.validation_accuracy >= before.validation_accuracy
    if after.best_epoch == before.best_epoch:
        np.testing.assert_array_equal(after.test_logits, before.test_logits)
    else:
        assert after.best_epoch == IMAGE_DISTILLING.epochs


def test_the_teachers_settings_do_not_train_the_naive_student_again(
    digits: PreparedData, session_context: RunContext
) -> None:
    teacher = image_teacher(digits, session_context)
    one = train_naive(digits, teacher, IMAGE_STUDENT, SHORT, session_context)
    other = SHORT.model_copy(update={"temperature": 9.0, "loss": "dist", "mode": "online", "assistants": (ASSISTANT,)})
    assert train_naive(digits, teacher, IMAGE_STUDENT, other, session_context) == one
    smoothed = SHORT.model_copy(update={"label_smoothing": 0.1})
    assert train_naive(digits, teacher, IMAGE_STUDENT, smoothed, session_context).fingerprint != one.fingerprint


def test_dropout_is_in_training_alone(digits: PreparedData, session_context: RunContext) -> None:
    teacher = image_teacher(digits, session_context)
    dropping = IMAGE_STUDENT.model_copy(update={"dropout": 0.5})
    assert student_architecture(dropping, digits, teacher)["dropout"] == 0.5
    student = distill(digits, teacher, image_cache(digits, session_context), dropping, SHORT, session_context)
    network = load_network(student)
    pixels = torch.rand(2, 3, 32, 32) * 255
    assert torch.equal(network(pixels), network(pixels))
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    assert not torch.equal(network(pixels), network(pixels))
