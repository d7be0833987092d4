"""Prepared samples as batches of tensors."""

import numpy as np
import pytest
import torch

from pipeline.data.augment import augment
from pipeline.data.batches import Batch, evaluation_batches, training_batches
from pipeline.results import PreparedData
from pipeline.settings.data import Augmentation

MOVED = Augmentation(shift=0.1, mirror=True)


def seen(batches: list[Batch]) -> np.ndarray:
    return np.concatenate([batch.rows for batch in batches])


@pytest.fixture(params=["digits", "reviews"])
def data(request: pytest.FixtureRequest) -> PreparedData:
    found: PreparedData = request.getfixturevalue(request.param)
    return found


def test_an_epoch_holds_every_row_once_in_an_order_of_seed_and_epoch(data: PreparedData) -> None:
    rows = data.rows("train")
    first = seen(list(training_batches(data, rows, 16, seed=0, epoch=0)))
    assert sorted(first.tolist()) == rows.tolist()
    np.testing.assert_array_equal(first, seen(list(training_batches(data, rows, 16, seed=0, epoch=0))))
    for seed, epoch in ((0, 1), (1, 0)):
        assert not np.array_equal(first, seen(list(training_batches(data, rows, 16, seed=seed, epoch=epoch))))


def test_positions_lead_back_to_the_rows_asked_for(data: PreparedData) -> None:
    rows = data.rows("validation")[::-1]
    for batches in (training_batches(data, rows, 7, 0, 0), evaluation_batches(data, rows, 7)):
        together = list(batches)
        for batch in together:
            np.testing.assert_array_equal(rows[batch.positions], batch.rows)
            np.testing.assert_array_equal(data.targets[batch.rows], batch.labels.numpy())
            assert batch.labels.dtype == torch.int64
        assert sorted(np.concatenate([batch.positions for batch in together])) == list(range(len(rows)))


@pytest.mark.parametrize(("count", "sizes"), [(33, [16, 17]), (34, [16, 16, 2]), (32, [16, 16]), (1, [1])])
def test_no_batch_of_one_is_trained_on_where_another_can_take_it(
    data: PreparedData, count: int, sizes: list[int]
) -> None:
    rows = data.rows("train")[:count]
    made = [len(batch.rows) for batch in training_batches(data, rows, 16, 0, 0)]
    assert sorted(made) == sorted(sizes)


def test_batches_of_one_are_made_if_asked_for(digits: PreparedData) -> None:
    rows = digits.rows("train")[:3]
    assert [len(batch.rows) for batch in training_batches(digits, rows, 1, 0, 0)] == [1, 1, 1]


def test_images_are_pixels_of_0_to_255_in_channels_last_memory(digits: PreparedData) -> None:
    for batch in evaluation_batches(digits, digits.rows("test"), 8):
        (images,) = batch.inputs
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), digits.inputs[batch.rows])


def test_evaluation_keeps_the_order_of_images(digits: PreparedData) -> None:
    rows = digits.rows("test")[::-1]
    np.testing.assert_array_equal(seen(list(evaluation_batches(digits, rows, 8))), rows)


def test_training_images_are_the_asked_view(digits: PreparedData) -> None:
    for batch in training_batches(digits, digits.rows("train"), 32, 5, 2, MOVED, view=3):
        expected = augment(digits.inputs[batch.rows], batch.rows, 3, MOVED, 5)
        np.testing.assert_array_equal(batch.inputs[0].permute(0, 2, 3, 1).numpy(), expected)
        assert not np.array_equal(expected, digits.inputs[batch.rows])


def test_the_teacher_is_shown_the_views_that_the_student_trains_on(digits: PreparedData) -> None:
    rows = digits.rows("train")
    taught = {}
    for batch in evaluation_batches(digits, rows, 50, seed=4, augmentation=MOVED, view=1):
        taught |= dict(zip(batch.rows.tolist(), batch.inputs[0], strict=True))
    for batch in training_batches(digits, rows, 32, seed=4, epoch=9, augmentation=MOVED, view=1):
        for row, image in zip(batch.rows.tolist(), batch.inputs[0], strict=True):
            assert torch.equal(image, taught[row])


def test_texts_are_trimmed_to_the_longest_of_the_batch_and_nothing_is_lost(reviews: PreparedData) -> None:
    lengths = reviews.lengths
    for batches in (
        training_batches(reviews, reviews.rows("train"), 8, 0, 0),
        evaluation_batches(reviews, reviews.rows("train"), 8),
    ):
        for batch in batches:
            ids, mask, kinds = batch.inputs
            assert {tensor.dtype for tensor in batch.inputs} == {torch.int64}
            assert ids.shape == mask.shape == kinds.shape == (len(batch.rows), lengths[batch.rows].max())
            np.testing.assert_array_equal(mask.sum(1).numpy(), lengths[batch.rows])
            assert not kinds.any()
            for row, one, length in zip(batch.rows, ids, lengths[batch.rows], strict=True):
                np.testing.assert_array_equal(one[:length].numpy(), reviews.inputs[row][:length])
                assert not one[length:].any()  # [PAD] is 0


def test_texts_of_like_length_share_a_batch_and_batches_come_in_mixed_order(reviews: PreparedData) -> None:
    rows = reviews.rows("train")
    made = list(training_batches(reviews, rows, 8, 0, 0))
    padded = sum(batch.inputs[0].numel() for batch in made)
    shuffled = np.random.default_rng(0).permutation(rows)
    by_chance = sum(len(part) * reviews.lengths[part].max() for part in np.array_split(shuffled, len(shuffled) // 8))
    real = reviews.lengths[rows].sum()
    assert padded - real < (by_chance - real) / 2
    longest = [batch.inputs[0].shape[1] for batch in made]
    assert longest != sorted(longest)


def test_no_rows_make_no_batches(data: PreparedData) -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert list(training_batches(data, empty, 8, 0, 0)) == []
    assert list(evaluation_batches(data, empty, 8)) == []
