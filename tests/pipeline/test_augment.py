"""Views of images."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.augment import augment
from pipeline.settings.data import Augmentation

SIDE = 20
IMAGES = np.random.default_rng(0).integers(0, 256, (64, SIDE, SIDE, 3), dtype=np.uint8)
ROWS = np.arange(64) * 7 + 3
BOTH = Augmentation(shift=0.2, mirror=True)


@given(
    st.lists(st.integers(0, 63), min_size=1, max_size=10), st.integers(0, 5), st.integers(0, 2**40), st.sampled_from(
        [BOTH, Augmentation(shift=0.5), Augmentation(mirror=True)]
    )
)  # fmt: skip
def test_a_view_is_the_same_whatever_the_batch(picked: list[int], view: int, seed: int, settings: Augmentation) -> None:
    together = augment(IMAGES[picked], ROWS[picked], view, settings, seed)
    for position, index in enumerate(picked):
        alone = augment(IMAGES[index : index + 1], ROWS[index : index + 1], view, settings, seed)
        np.testing.assert_array_equal(together[position], alone[0])


def test_view_row_and_seed_each_change_the_view() -> None:
    one = augment(IMAGES, ROWS, 0, BOTH, 0)
    same_image = np.broadcast_to(IMAGES[:1], IMAGES.shape)
    assert (augment(IMAGES, ROWS, 1, BOTH, 0) != one).any(axis=(1, 2, 3)).mean() > 0.8
    assert (augment(IMAGES, ROWS, 0, BOTH, 1) != one).any(axis=(1, 2, 3)).mean() > 0.8
    views = {view.tobytes() for view in augment(np.ascontiguousarray(same_image), ROWS, 0, BOTH, 0)}
    assert len(views) > 30


def test_every_view_is_the_image_moved_within_reach_edges_repeated_or_its_mirror() -> None:
    reach = 4  # 0.2 of 20
    expected = {}
    for index in range(8):
        for mirrored in (False, True):
            source = IMAGES[index][:, ::-1] if mirrored else IMAGES[index]
            padded = np.pad(source, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
            for down in range(2 * reach + 1):
                for right in range(2 * reach + 1):
                    moved = padded[down : down + SIDE, right : right + SIDE]
                    expected[index, moved.tobytes()] = (down, right, mirrored)
    seen = set()
    for view in range(60):
        for index, made in enumerate(augment(IMAGES[:8], ROWS[:8], view, BOTH, 0)):
            assert (index, made.tobytes()) in expected
            seen.add(expected[index, made.tobytes()])
    assert {down for down, _, _ in seen} == {right for _, right, _ in seen} == set(range(2 * reach + 1))


def test_half_of_the_views_are_mirrored() -> None:
    settings = Augmentation(mirror=True)
    many = [augment(IMAGES, ROWS, view, settings, 0) for view in range(30)]
    mirrored = np.mean([(made == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3)).mean() for made in many])
    plain = np.mean([(made == IMAGES).all(axis=(1, 2, 3)).mean() for made in many])
    assert mirrored + plain == 1
    assert 0.45 < mirrored < 0.55


def test_without_settings_the_images_are_as_they_were() -> None:
    np.testing.assert_array_equal(augment(IMAGES, ROWS, 3, Augmentation(), 9), IMAGES)


def test_the_images_given_are_not_changed() -> None:
    before = IMAGES.copy()
    augment(IMAGES, ROWS, 2, BOTH, 5)
    np.testing.assert_array_equal(IMAGES, before)


def test_a_read_only_map_and_images_that_are_not_square_are_taken() -> None:
    wide = np.ascontiguousarray(IMAGES[:4, :12])
    wide.flags.writeable = False
    assert augment(wide, ROWS[:4], 0, BOTH, 0).shape == (4, 12, SIDE, 3)


DISTORTED = Augmentation.model_validate({"randaugment": {"operations": 2, "magnitude": 12}})


def test_randaugment_depends_on_row_view_and_seed_alone() -> None:
    together = augment(IMAGES[:12], ROWS[:12], 3, DISTORTED, 5)
    state = torch.get_rng_state()
    for index in (0, 7, 11):
        alone = augment(IMAGES[index : index + 1], ROWS[index : index + 1], 3, DISTORTED, 5)
        np.testing.assert_array_equal(together[index], alone[0])
    assert torch.equal(state, torch.get_rng_state())
    assert (augment(IMAGES[:12], ROWS[:12], 4, DISTORTED, 5) != together).any(axis=(1, 2, 3)).mean() > 0.7
    assert (augment(IMAGES[:12], ROWS[:12], 3, DISTORTED, 6) != together).any(axis=(1, 2, 3)).mean() > 0.7


def test_randaugment_is_followed_by_shift_and_mirror() -> None:
    both = DISTORTED.model_copy(update={"shift": 0.2, "mirror": True})
    expected = augment(augment(IMAGES, ROWS, 1, DISTORTED, 0), ROWS, 1, BOTH, 0)
    np.testing.assert_array_equal(augment(IMAGES, ROWS, 1, both, 0), expected)
