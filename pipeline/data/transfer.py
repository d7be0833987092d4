"""A transfer set: samples without labels that only the teacher judges, behind the labelled ones of a `PreparedData`."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.context import RunContext
from pipeline.data import images
from pipeline.data.files import storage_errors, write_npy
from pipeline.data.overlap import digests, held_out, row_chunks
from pipeline.data.samples import Samples, Source
from pipeline.data.sentences import split_sentences
from pipeline.data.sources import open_source
from pipeline.data.split import stratified_sample
from pipeline.data.texts import load_tokenizer, piece_chunks
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.results import UNLABELLED, PreparedData, SplitName
from pipeline.settings.data import DataSettings, TransferSettings


@dataclass
class _Candidates:
    """Samples as the networks read them, before copies go. `lengths` and `cut`, of texts, fill while `chunks` runs."""

    count: int
    chunks: Iterator[np.ndarray]
    texts: list[str] | None = None
    lengths: list[np.ndarray] = field(default_factory=list)
    cut: int = 0


def add_transfer(data: PreparedData, sets: Sequence[TransferSettings], context: RunContext) -> PreparedData:
    """`data` with the samples of `sets` as its split `transfer`: the labelled rows and splits as they were, the others
    behind them with label -1. `data` itself where there are no sets.

    A result of its own, so that whoever does not learn from the transfer set does not depend on it. The labelled rows
    are copied into it. A sample is left out if it is twice there, if the train split holds it, or the validation or
    test split; where texts are cut into sentences, also if it is a sentence of a text that these two hold.

    Raises InputError for sources that can't be read and where no sample is left.
    """
    if not sets:
        return data
    sources: list[tuple[TransferSettings, Source]] = []
    for settings in sets:
        with _told_of_transfer():
            sources.append((settings, open_source(_unlabelled(settings), data.task)))

    def make(folder: Path, key: str, meter: Meter) -> PreparedData:
        with storage_errors(folder), _told_of_transfer():
            found = _read(data, sources, meter)
            shape = (found.count, *data.inputs.shape[1:])
            file = folder / "candidates.npy"
            write_npy(file, shape, data.inputs.dtype.type, found.chunks)
            candidates = np.load(file, mmap_mode="r")
            kept, summary = _keep(candidates, data, any(settings.split_sentences for settings in sets))
            _write(folder, data, found, candidates, kept)
            file.unlink()
        meter.text = summary + (f", {found.cut} texts cut" if found.cut else "")
        meter.show()
        text = data.task == "text-classification"
        return replace(
            data,
            fingerprint=key,
            inputs_file=folder / "inputs.npy",
            labels_file=folder / "labels.npy",
            split_file=folder / "split.npz",
            lengths_file=folder / "lengths.npy" if text else None,
            texts_file=folder / "texts.jsonl" if text else None,
            tokenizer_folder=folder / "tokenizer" if text else None,
            groups_file=None,
        )

    inputs = {
        "data": data.fingerprint,
        "sets": [
            {"settings": settings.model_dump(mode="json", exclude={"path"}), "content": source.content_sha256}
            for settings, source in sources
        ],
    }
    return context.stage("transfer", inputs, PreparedData, make, unit="samples", title="transfer set")


def _unlabelled(settings: TransferSettings) -> DataSettings:
    """The source, to be read without labels."""
    told = settings.model_dump(exclude={"limit", "seed", "split_sentences"})
    return DataSettings(**told, label_column=None)


@contextmanager
def _told_of_transfer() -> Iterator[None]:
    """What is wrong with a source is told of `data`, whose settings it takes."""
    try:
        yield
    except InputError as error:
        raise InputError(f"distill.transfer: {error}") from None


def _read(data: PreparedData, sources: Sequence[tuple[TransferSettings, Source]], meter: Meter) -> _Candidates:
    """The drawn samples of all sources, one after the other."""
    if data.task == "text-classification":
        words = [text for settings, source in sources for text in _drawn_texts(settings, source)]
        meter.total = len(words)
        return _text_candidates(data, words, meter.advance)
    picked: list[tuple[Samples, int]] = []
    for settings, source in sources:
        samples = source.read().train
        picked += [(samples, int(index)) for index in _drawn(len(samples.labels), settings)]
    meter.total = len(picked)
    ignored: list[bytes] = []
    return _Candidates(len(picked), images.pixel_chunks(picked, int(data.inputs.shape[1]), ignored, meter.advance))


def _drawn(count: int, settings: TransferSettings) -> np.ndarray:
    """Sorted numbers of the samples that `settings.limit` leaves of `count`."""
    return stratified_sample(np.zeros(count, np.int64), settings.limit or count, settings.seed)


def _drawn_texts(settings: TransferSettings, source: Source) -> list[str]:
    texts = source.read().train.texts
    assert texts is not None, "a text task has texts"
    if settings.split_sentences:
        texts = [sentence for text in texts for sentence in split_sentences(text)]
    return [texts[index] for index in _drawn(len(texts), settings)]


def _text_candidates(data: PreparedData, words: list[str], advance: Callable[[int], None]) -> _Candidates:
    assert data.tokenizer_folder is not None, "texts have a tokenizer"
    tokenizer, length = load_tokenizer(data.tokenizer_folder), int(data.inputs.shape[1])

    def chunks() -> Iterator[np.ndarray]:
        for ids, real, over in piece_chunks(words, tokenizer, length):
            found.lengths.append(real)
            found.cut += over
            yield ids
            advance(len(ids))

    found = _Candidates(len(words), chunks(), words)
    return found


def _keep(candidates: np.ndarray, data: PreparedData, sentences: bool) -> tuple[np.ndarray, str]:
    """int64: the candidates that stay, see `add_transfer`; and how many did not, in words."""
    judged = set(held_out(data))
    if sentences:
        judged |= _held_out_sentences(data)
    seen = set(digests(data.inputs, data.rows("train")))
    kept, copies, leaks = [], 0, 0
    for number, digest in enumerate(digests(candidates)):
        if digest in judged:
            leaks += 1
        elif digest in seen:
            copies += 1
        else:
            seen.add(digest)
            kept.append(number)
    summary = f"{len(kept)} samples without labels"
    if copies:
        summary += f", {copies} copies left out"
    if leaks:
        summary += f", {leaks} of the validation or test split left out"
    if not kept:
        raise InputError(f"no sample is left ({summary}): give another source, or remove it")
    return np.array(kept, dtype=np.int64), summary


def _held_out_sentences(data: PreparedData) -> set[bytes]:
    """Digests of the sentences of the validation and test texts."""
    words = _texts(data)
    rows = chain(data.rows("validation"), data.rows("test"))
    found = _text_candidates(data, [part for row in rows for part in split_sentences(words[row])], lambda count: None)
    return {digest for chunk in found.chunks for digest in digests(chunk)}


def _texts(data: PreparedData) -> list[str]:
    assert data.texts_file is not None, "texts have texts"
    with data.texts_file.open(encoding="utf-8") as lines:
        return [str(json.loads(line)) for line in lines]


def _write(folder: Path, data: PreparedData, found: _Candidates, candidates: np.ndarray, kept: np.ndarray) -> None:
    """The files of the result: the labelled rows, then those `kept`."""
    before, total = data.inputs, len(data.inputs) + len(kept)
    parts: Any = chain(row_chunks(before, np.arange(len(before))), row_chunks(candidates, kept))
    write_npy(folder / "inputs.npy", (total, *before.shape[1:]), before.dtype.type, parts)
    labels = [data.targets, np.full(len(kept), UNLABELLED, np.int64)]
    write_npy(folder / "labels.npy", (total,), np.int64, labels)
    parted: tuple[SplitName, ...] = ("train", "validation", "test")
    splits: dict[str, Any] = {part: data.rows(part) for part in parted}
    np.savez(folder / "split.npz", **splits, transfer=np.arange(len(before), total, dtype=np.int64))
    if found.texts is None:
        return
    assert data.texts_file is not None
    assert data.tokenizer_folder is not None
    lengths = np.concatenate(found.lengths)[kept]
    write_npy(folder / "lengths.npy", (total,), np.int32, [data.lengths, lengths])
    shutil.copyfile(data.texts_file, folder / "texts.jsonl")
    with (folder / "texts.jsonl").open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(found.texts[number]) + "\n" for number in kept)
    shutil.copytree(data.tokenizer_folder, folder / "tokenizer", dirs_exist_ok=True)
