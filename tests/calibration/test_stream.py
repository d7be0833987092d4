import numpy as np
import pytest

from calibration.stream import CHUNK, SampleStream


def numbered(rows: int) -> SampleStream:
    return SampleStream(tuple(range(rows)), lambda row: {"image": np.full((1, 2), row, np.float32)})


def values(samples: object) -> list[float]:
    return [float(sample["image"][0, 0]) for sample in samples]  # type: ignore[attr-defined]


def test_samples_come_in_the_order_of_the_rows_and_as_often_as_one_likes() -> None:
    stream = SampleStream((3, 1, 2), numbered(4).make)
    assert values(stream) == [3, 1, 2]
    assert values(stream) == [3, 1, 2]
    assert len(stream) == 3


def test_a_sample_is_made_only_when_it_is_asked_for() -> None:
    made: list[int] = []

    def make(row: int) -> dict[str, np.ndarray]:
        made.append(row)
        return {"image": np.zeros(1)}

    samples = iter(SampleStream(tuple(range(100)), make))
    next(samples)
    next(samples)
    assert made == [0, 1]


@pytest.mark.parametrize("rows", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_chunks_hold_every_sample_once_and_no_more_than_the_chunk(rows: int) -> None:
    chunks = list(numbered(rows).chunks())
    assert [value for chunk in chunks for value in values(chunk)] == list(range(rows))
    assert all(1 <= len(chunk) <= CHUNK for chunk in chunks)


def test_the_digest_tells_bytes_shapes_names_and_order_apart() -> None:
    def digest(*samples: dict[str, np.ndarray]) -> str:
        return SampleStream(tuple(range(len(samples))), lambda row: samples[row]).sha256()

    ones, twos = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    told_apart = [
        digest({"a": ones}, {"a": twos}),
        digest({"a": twos}, {"a": ones}),
        digest({"a": ones}),
        digest({"a": ones.T}),
        digest({"a": ones.astype(np.int32)}),
        digest({"b": ones}),
        digest(),
    ]
    assert len(set(told_apart)) == len(told_apart)
    assert digest({"a": ones, "b": twos}) == digest({"b": twos.copy(), "a": ones.copy()})
