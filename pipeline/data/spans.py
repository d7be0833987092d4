"""Which letters of a text a word piece stands for, so that two ways to spell it can be compared."""

import json
from collections.abc import Sequence

import numpy as np

from pipeline.data.texts import load_tokenizer
from pipeline.results import PreparedData


def read_texts(data: PreparedData, rows: np.ndarray) -> list[str]:
    """The texts of `rows`, in their order."""
    assert data.texts_file is not None, "only texts have texts"
    wanted = set(rows.tolist())
    with data.texts_file.open(encoding="utf-8") as lines:
        found = {row: str(json.loads(line)) for row, line in enumerate(lines) if row in wanted}
    return [found[row] for row in rows.tolist()]


def piece_spans(data: PreparedData, texts: Sequence[str], rows: np.ndarray) -> list[np.ndarray]:
    """Of each of the `texts`, which stand in `rows`, int64 [pieces, 2]: from and to which letter each of its word
    pieces goes, as `data` has them; nowhere (both the same) for special tokens."""
    assert data.tokenizer_folder is not None, "only texts have a tokenizer"
    backend = load_tokenizer(data.tokenizer_folder).backend_tokenizer
    backend.enable_truncation(max_length=int(data.inputs.shape[1]))
    found = []
    for text, row in zip(texts, rows, strict=True):
        encoded = backend.encode(text)
        assert encoded.ids == data.inputs[row][: len(encoded.ids)].tolist(), f"row {row} is spelt otherwise"
        spans = np.array(encoded.offsets, dtype=np.int64).reshape(-1, 2)
        spans[np.array(encoded.special_tokens_mask, dtype=bool)] = 0
        found.append(spans)
    return found


def common_parts(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The finest parts of a text into which two ways to spell it, spans [P, 2] and [Q, 2], both divide: a word piece
    where they agree, else what lies between two letters after which both have a break.

    Returns their spans int64 [U, 2], and for each spelling int64 the part of each of its pieces; -1 for pieces that
    stand for no letter, and for those at the end that the other spelling, cut earlier, no longer has.
    """
    real = [spans[:, 0] < spans[:, 1] for spans in (one, two)]
    ends = np.intersect1d(one[real[0], 1], two[real[1], 1])
    members = []
    for spans, stands in zip((one, two), real, strict=True):
        part = np.searchsorted(ends, spans[:, 1], side="left")
        members.append(np.where(stands & (part < len(ends)), part, -1))
    starts = np.full(len(ends), np.iinfo(np.int64).max)
    for spans, part in zip((one, two), members, strict=True):
        np.minimum.at(starts, part[part >= 0], spans[part >= 0, 0])
    return np.stack([starts, ends], axis=1), (members[0], members[1])


def summed(values: np.ndarray, members: np.ndarray, parts: int) -> np.ndarray:
    """float32 [parts]: the sum of the `values` of each part's pieces. `values` may go on after the last piece."""
    kept = members >= 0
    sums = np.bincount(members[kept], values[: len(members)][kept], minlength=parts)
    return sums.astype(np.float32)
