"""What a teacher gave, in files of a fixed number of samples, made by passes that may be killed.

A file is written whole or not at all and known by its SHA-256. Never more than one of them is in memory.
"""

import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import TypeAdapter

from pipeline import scale
from pipeline.context import RunContext
from pipeline.data.files import storage_errors
from pipeline.distill.cache_results import CacheResult, HiddenResult, Shard
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.store import file_sha256, write_atomic

RECORD = "shards.json"  # of the shards that are whole
HEADER = 128  # bytes before the values in an .npy file of a short dtype: what its size is guessed by
NAMED = 4  # damaged files that are told by name

SHARDS = TypeAdapter(tuple[Shard, ...])
Sharded = TypeVar("Sharded", CacheResult, HiddenResult)


def fill_shards(
    folder: Path,
    answer: Callable[[int, np.ndarray], np.ndarray],
    rows: np.ndarray,
    views: int,
    size: int,
    content_bytes: int,
    told: str,
    context: RunContext,
    meter: Meter,
) -> tuple[Shard, ...]:
    """The shards of `folder`: of each view, `size` samples of `rows` in each. Those that are whole stay as they are,
    the others are written with what `answer(view, part of rows)` gives.

    How large they will be (`content_bytes`) is told, after the words `told`, and held against the space left, before
    anything is written. Of processes that work together all answer, and process 0 writes. Raises InputError where there
    is no space.
    """
    done = load_record(folder)
    needed = content_bytes + HEADER * views * -(-len(rows) // size)
    if scale.first():
        context.reporter.say(f"  {meter.name}: {told}, {megabytes(needed)}")
        refuse_unless_free(folder, needed - sum(shard.bytes for shard in done.values()))
    meter.advance(sum(shard.count for shard in done.values()))
    missing = [place for place in product(range(views), range(0, len(rows), size)) if place not in done]
    for view, start in scale.from_first(missing) if scale.processes() > 1 else missing:
        part = rows[start : start + size]
        values = answer(view, part)
        if not scale.first():
            continue
        with storage_errors(folder):
            file = folder / f"view{view:02d}.{start // size:05d}.npy"
            done[view, start] = write_shard(file, view, start, len(part), values)
            save_record(folder, done)
    return _in_order(done)


def checked(stage: str, made: Callable[[], Sharded], context: RunContext) -> Sharded:
    """What `made()` gives of the stage `stage`; where shards are no more as they were written, they are made again."""
    result = made()
    damaged = scale.from_first([shard.file.name for shard in result.shards if scale.first() and not is_whole(shard)])
    if not damaged:
        return result
    named = ", ".join(damaged[:NAMED]) + (f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else "")
    context.reporter.say(f"  {stage}: not as written, made again: {named}")
    if scale.first():
        context.store.reopen(stage, result.fingerprint)
    return made()


def write_shard(file: Path, view: int, start: int, count: int, values: np.ndarray) -> Shard:
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    write_atomic(file, content.getvalue())
    return Shard(file, view, start, count, file.stat().st_size, file_sha256(file))


def is_whole(shard: Shard) -> bool:
    """Whether the file is there and as it was written."""
    file = shard.file
    return file.is_file() and file.stat().st_size == shard.bytes and file_sha256(file) == shard.sha256


def save_record(folder: Path, shards: Mapping[tuple[int, int], Shard]) -> None:
    """Notes in `folder` which of its shards, by view and start, are whole."""
    plain = tuple(replace(shard, file=Path(shard.file.name)) for shard in _in_order(shards))
    write_atomic(folder / RECORD, SHARDS.dump_json(plain, indent=1))


def load_record(folder: Path) -> dict[tuple[int, int], Shard]:
    """The shards that are noted in `folder` and whole, by view and start; none where there is no readable note."""
    try:
        noted = SHARDS.validate_json((folder / RECORD).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    placed = (replace(shard, file=folder / shard.file.name) for shard in noted)
    return {(shard.view, shard.start): shard for shard in placed if is_whole(shard)}


def _in_order(shards: Mapping[tuple[int, int], Shard]) -> tuple[Shard, ...]:
    return tuple(shards[place] for place in sorted(shards))


def read_parts(shard: Shard, content_bytes: int, parts: Sequence[tuple[int, np.ndarray]]) -> None:
    """Fills each buffer (uint8) of `parts` with the bytes from its offset in the `content_bytes` that the shard holds.

    Not through a memory map: its pages would count as the process's memory, and a file that is cut short while it is
    mapped ends the process. Raises InputError for a file that is gone or cut short.
    """
    header = shard.bytes - content_bytes
    with storage_errors(shard.file), shard.file.open("rb", buffering=0) as stream:
        for offset, buffer in parts:
            stream.seek(header + offset)
            if stream.readinto(buffer) != buffer.nbytes:  # type: ignore[arg-type]
                raise InputError(f"{shard.file}: cut short while it was in use; run again, it is made anew")


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def refuse_unless_free(folder: Path, needed: int) -> None:
    """Raises InputError where less than `needed` bytes are free in `folder`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: the teacher's answers need {megabytes(needed)}, {megabytes(free)} are free: free some, choose "
            "another folder with --out, or keep less (distill.cache.dtype: float16, distill.cache.top_k, fewer views)"
        )
