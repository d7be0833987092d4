"""A teacher's answers on disk: one sample's record, files of a fixed number of them, and reading a few of them.

A file is written whole or not at all and known by its SHA-256. Nothing here holds more than one file, or one batch.
"""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from pipeline.data.files import storage_errors
from pipeline.errors import InputError
from pipeline.results import AnswerForm, CacheResult, Shard
from pipeline.store import file_sha256, write_atomic

RECORD = "shards.json"  # of the shards that are whole
HEADER = 128  # bytes before the records in an .npy file of a short dtype: what its size is guessed by
LARGEST = float(np.finfo(np.float16).max)

SHARDS = TypeAdapter(tuple[Shard, ...])


def record_of(form: AnswerForm) -> np.dtype:
    """One sample's answer. Whole logits are a plain array; of `top_k` there are the logits and their classes, largest
    first, and the logit that every other class is given (`pack_answers`)."""
    logit = np.dtype(form.dtype).newbyteorder("<")
    if form.top_k is None:
        return np.dtype((logit, (form.classes,)))
    number = "<u2" if form.classes <= 2**16 else "<u4"
    return np.dtype([("logits", logit, (form.top_k,)), ("classes", number, (form.top_k,)), ("others", "<f4")])


def pack_answers(logits: np.ndarray, form: AnswerForm) -> np.ndarray:
    """Records [B] of float32 logits [B, classes]; whole ones as an array [B, classes].

    With `top_k`, every other class gets one logit, the temperature times the log of the mean of their
    exp(logit / temperature). So at that temperature the k probabilities are the teacher's own and what is left of 1 is
    spread evenly: marginal smoothing (Shen and Xing 2022, A Fast Knowledge Distillation Framework for Visual
    Recognition). Raises InputError for logits beyond what float16 holds.
    """
    record = record_of(form)
    if form.top_k is None:
        return _rounded(logits, form)
    assert form.temperature is not None
    order = np.argsort(-logits, axis=1, kind="stable")  # of equals the first class, whatever the machine
    chosen, others = order[:, : form.top_k], order[:, form.top_k :]
    packed = np.empty(len(logits), dtype=record)
    packed["logits"] = _rounded(np.take_along_axis(logits, chosen, 1), form)
    packed["classes"] = chosen
    packed["others"] = _common_logit(np.take_along_axis(logits, others, 1), form.temperature)
    return packed


def unpack_answers(records: np.ndarray, form: AnswerForm) -> np.ndarray:
    """The float32 logits [B, classes] that records stand for."""
    if form.top_k is None:
        return records.astype(np.float32)
    logits = np.repeat(records["others"][:, None], form.classes, axis=1).astype(np.float32)
    np.put_along_axis(logits, records["classes"].astype(np.int64), records["logits"].astype(np.float32), axis=1)
    return logits


def _rounded(logits: np.ndarray, form: AnswerForm) -> np.ndarray:
    highest = float(np.abs(logits).max(initial=0))
    if form.dtype == "float16" and LARGEST < highest < np.inf:
        raise InputError(
            f"distill.cache.dtype float16 holds logits up to {LARGEST:g}, the teacher gave {highest:g}: use float32"
        )
    return logits.astype(np.dtype(form.dtype).newbyteorder("<"))


def _common_logit(logits: np.ndarray, temperature: float) -> np.ndarray:
    """float64 [B] of float32 [B, n]; see `pack_answers`."""
    soft = logits.astype(np.float64) / temperature
    top = soft.max(axis=1)
    return temperature * (top + np.log(np.exp(soft - top[:, None]).mean(axis=1)))


def planned_bytes(shape: tuple[int, int, int], shard: int, form: AnswerForm) -> int:
    """What all shards of `shape` (views, samples, classes) take on disk."""
    views, samples, _ = shape
    return views * (samples * record_of(form).itemsize + -(-samples // shard) * HEADER)


def write_shard(file: Path, view: int, start: int, records: np.ndarray) -> Shard:
    content = io.BytesIO()
    np.save(content, records, allow_pickle=False)
    write_atomic(file, content.getvalue())
    return Shard(file, view, start, len(records), file.stat().st_size, file_sha256(file))


def is_whole(shard: Shard) -> bool:
    """Whether the file is there and as it was written."""
    file = shard.file
    return file.is_file() and file.stat().st_size == shard.bytes and file_sha256(file) == shard.sha256


def in_order(shards: Mapping[tuple[int, int], Shard]) -> tuple[Shard, ...]:
    """Of shards by view and start."""
    return tuple(shards[place] for place in sorted(shards))


def save_record(folder: Path, shards: Mapping[tuple[int, int], Shard]) -> None:
    """Notes in `folder` which of its shards are whole."""
    plain = tuple(replace(shard, file=Path(shard.file.name)) for shard in in_order(shards))
    write_atomic(folder / RECORD, SHARDS.dump_json(plain, indent=1))


def load_record(folder: Path) -> dict[tuple[int, int], Shard]:
    """The shards that are noted in `folder` and whole, by view and start; none where there is no readable note."""
    try:
        noted = SHARDS.validate_json((folder / RECORD).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    placed = (replace(shard, file=folder / shard.file.name) for shard in noted)
    return {(shard.view, shard.start): shard for shard in placed if is_whole(shard)}


def read_answers(cache: CacheResult, views: np.ndarray, places: np.ndarray) -> np.ndarray:
    """float32 logits [B, classes] of the samples at `places` (int64 [B], in the train split), each in its view (int64
    [B]).

    Only their records are read, and not through a memory map, whose pages would count as the process's memory and of
    which a file that was cut short would end the process. Raises InputError for a file that is gone or cut short.
    """
    record = record_of(cache.form)
    found = np.empty((len(places), record.itemsize), dtype=np.uint8)
    numbers = views * -(-cache.samples // cache.shard) + places // cache.shard
    for number in np.unique(numbers):
        shard, wanted = cache.shards[number], np.flatnonzero(numbers == number)
        before = shard.bytes - shard.count * record.itemsize
        with storage_errors(shard.file), shard.file.open("rb", buffering=0) as stream:
            for index in wanted:
                stream.seek(before + (int(places[index]) - shard.start) * record.itemsize)
                if stream.readinto(found[index]) != record.itemsize:
                    raise InputError(f"{shard.file}: cut short while it was in use; run again, it is made anew")
    whole = found.view(record.base).reshape(len(places), *record.shape)
    return unpack_answers(whole, cache.form)
