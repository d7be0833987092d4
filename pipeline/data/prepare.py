"""Data as every later stage reads it: decoded once, without duplicates, split once, memory-mapped."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.context import RunContext
from pipeline.data import images, texts
from pipeline.data.files import storage_errors, write_npy
from pipeline.data.groups import write_groups
from pipeline.data.overlap import digests, held_out, row_chunks
from pipeline.data.samples import Contents, Samples, check_same_classes, class_indices, class_names
from pipeline.data.sources import open_source
from pipeline.data.split import split, stratified_sample
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.results import PreparedData, SplitName
from pipeline.settings.data import DataSettings, ImageInput, TextInput
from targets.profile import Task


@dataclass(frozen=True)
class _Picked:
    """Samples chosen from a source, training samples first: `where` they stand and their class."""

    where: list[tuple[Samples, int]]
    classes: np.ndarray  # int64 [N]
    own_test: int  # how many at the end are the source's own test set


@dataclass(frozen=True)
class _Kept:
    rows: np.ndarray  # int64, into what was picked
    removed: int
    conflicting: int  # of these, copies that disagree about the label


def prepare(
    settings: DataSettings,
    task: Task,
    image: ImageInput,
    text: TextInput,
    tokenizer: Path | str | None,
    context: RunContext,
    beside: PreparedData | None = None,
) -> PreparedData:
    """The samples of `settings` for `task`: images resized to `image.size`, texts as word pieces of `tokenizer`
    (a folder or a hub name), `text.sequence_length` of them.

    Exact duplicates (same pixels before resizing, same text) are removed before the split, all but the first;
    where copies disagree about the label, all of them. A test set that the source brings stays as it is; samples
    of the user's own files that are in both are an InputError, of a published data set they leave training.
    `settings.limit` samples are drawn before all this, and not from such a test set.

    `beside`: the data of a student whose teacher learns from this. Its classes must be the same, and what its
    validation or test split holds is in no split here but the test split.

    Raises InputError for data that can't be used: says what was found, where, and what to do.
    """
    source = open_source(settings, task)
    inputs: dict[str, Any] = {
        # Content counts, not where it lies.
        "settings": settings.model_dump(mode="json", exclude={"path", "test_path"}),
        "content": source.content_sha256,
        "task": task,
    }
    if task == "image-classification":
        inputs |= {"size": image.size, "pillow": metadata.version("pillow")}
    else:
        if tokenizer is None:
            raise InputError("texts need a tokenizer; the teacher brings it")
        inputs |= {
            "sequence_length": text.sequence_length,
            "tokenizer": texts.tokenizer_sha256(tokenizer),
            "tokenizers": metadata.version("tokenizers"),
        }

    if beside is not None:
        inputs["beside"] = beside.fingerprint

    def make(folder: Path, fingerprint: str, meter: Meter) -> PreparedData:
        contents = source.read()
        names, picked = _pick(contents, settings, None if beside is None else beside.labels)
        _split(picked.classes, names, settings, picked.own_test)  # says what is missing before the long work
        meter.total = len(picked.where)
        with storage_errors(folder):
            if task == "image-classification":
                kept = _write_images(folder, picked, contents.published, image.size, meter)
                cut = 0
            else:
                assert tokenizer is not None
                kept = _keep(_text_digests(picked), picked, contents.published)
                cut = _write_texts(folder, picked, kept, tokenizer, text.sequence_length, meter)
            classes = picked.classes[kept.rows]
            splits = _split(classes, names, settings, picked.own_test)
            if beside is not None:
                splits = _apart(splits, np.load(folder / "inputs.npy", mmap_mode="r"), classes, names, beside)
            write_npy(folder / "labels.npy", classes.shape, np.int64, [classes])
            np.savez(folder / "split.npz", **splits)  # type: ignore[arg-type]
            if settings.group_column is not None:
                write_groups(folder / "groups.npz", settings.group_column, _groups(picked, kept))
        meter.text = _summary(kept, cut)
        meter.show()
        named = f"{settings.source} {Path(settings.name).name}" if settings.name else settings.source
        is_text = task == "text-classification"
        return PreparedData(
            fingerprint=fingerprint,
            task=task,
            source=named,
            licence=source.licence,
            content_sha256=source.content_sha256,
            labels=names,
            counts=_counts(classes, splits, names),
            duplicates_removed=kept.removed,
            truncated_texts=cut,
            inputs_file=folder / "inputs.npy",
            labels_file=folder / "labels.npy",
            split_file=folder / "split.npz",
            lengths_file=folder / "lengths.npy" if is_text else None,
            texts_file=folder / "texts.jsonl" if is_text else None,
            tokenizer_folder=folder / "tokenizer" if is_text else None,
            groups_file=folder / "groups.npz" if settings.group_column is not None else None,
        )

    title = "data" if beside is None else "teacher's data"
    return context.stage("data", inputs, PreparedData, make, unit="samples", title=title)


def _pick(
    contents: Contents, settings: DataSettings, wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], _Picked]:
    """`wanted`: the classes that there must be, whose order is then taken."""
    names = contents.names or class_names(contents.train.labels)
    if wanted is not None:
        check_same_classes(names, wanted)
        names = wanted
    classes = class_indices(contents.train, names)
    rows = np.arange(len(classes))
    if settings.limit is not None:
        rows = stratified_sample(classes, settings.limit, settings.split.seed)
    where = [(contents.train, int(row)) for row in rows]
    classes = classes[rows]
    if contents.test is None:
        return names, _Picked(where, classes, 0)
    tested = class_indices(contents.test, names)
    where += [(contents.test, row) for row in range(len(tested))]
    return names, _Picked(where, np.concatenate([classes, tested]), len(tested))


def _apart(
    splits: dict[SplitName, np.ndarray],
    inputs: np.ndarray,
    classes: np.ndarray,
    names: tuple[str, ...],
    beside: PreparedData,
) -> dict[SplitName, np.ndarray]:
    """The splits without what `beside` judges a student by. Raises InputError if that leaves a class nothing."""
    known = held_out(beside)
    kept = dict(splits)
    for part in ("train", "validation"):
        rows = splits[part]
        kept[part] = rows[[digest not in known for digest in digests(inputs, rows)]]
        for index, name in enumerate(names):
            if not (classes[kept[part]] == index).any():
                raise InputError(
                    f"teacher.data: every sample of class '{name}' in the {part} split is also in the validation or "
                    "test split of the recipe's data, on which a teacher must not learn: give it other samples"
                )
    return kept


def _text_digests(picked: _Picked) -> list[bytes]:
    return [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in _texts(picked.where)]


def _texts(where: Sequence[tuple[Samples, int]]) -> list[str]:
    return [samples.texts[index] for samples, index in where if samples.texts is not None]


def _groups(picked: _Picked, kept: _Kept) -> list[str]:
    where = (picked.where[row] for row in kept.rows)
    return [samples.groups[index] for samples, index in where if samples.groups is not None]


def _keep(digests: Sequence[bytes], picked: _Picked, published: bool) -> _Kept:
    """Which of the samples stay: see `prepare`."""
    trained = len(digests) - picked.own_test
    first: dict[bytes, int] = {}
    conflicting: set[bytes] = set()
    for row in range(trained):
        seen = first.setdefault(digests[row], row)
        if picked.classes[seen] != picked.classes[row]:
            conflicting.add(digests[row])
    tested = {digests[row]: row for row in range(trained, len(digests))}
    shared = [row for row in range(trained) if digests[row] in tested]
    if shared and not published:
        one, other = (
            samples.origin(index)
            for samples, index in (picked.where[shared[0]], picked.where[tested[digests[shared[0]]]])
        )
        raise InputError(
            f"{len(shared)} training samples are also in the test set, for example {one} = {other}; "
            "remove them from one of the two, or accuracy says nothing about new data"
        )
    kept = [
        row
        for row in range(trained)
        if first[digests[row]] == row and digests[row] not in conflicting and digests[row] not in tested
    ]
    disagreeing = sum(digests[row] in conflicting for row in range(trained))
    rows = np.array(kept + list(range(trained, len(digests))), dtype=np.int64)
    return _Kept(rows, len(digests) - len(rows), disagreeing)


def _write_images(folder: Path, picked: _Picked, published: bool, size: int, meter: Meter) -> _Kept:
    """inputs.npy, in the memory of a few hundred images."""
    every, final = folder / "decoded.npy", folder / "inputs.npy"
    digests: list[bytes] = []
    chunks = images.pixel_chunks(picked.where, size, digests, meter.advance)
    write_npy(every, (len(picked.where), size, size, 3), np.uint8, chunks)
    kept = _keep(digests, picked, published)
    if len(kept.rows) == len(digests):
        every.replace(final)
        return kept
    pixels = np.load(every, mmap_mode="r")
    write_npy(final, (len(kept.rows), size, size, 3), np.uint8, row_chunks(pixels, kept.rows))
    every.unlink()
    return kept


def _write_texts(folder: Path, picked: _Picked, kept: _Kept, tokenizer: Path | str, length: int, meter: Meter) -> int:
    """inputs.npy, lengths.npy, texts.jsonl and the tokenizer; returns how many texts were cut."""
    words = _texts([picked.where[row] for row in kept.rows])
    loaded = texts.load_tokenizer(tokenizer)
    texts.save_tokenizer(loaded, folder / "tokenizer")
    with (folder / "texts.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(text) + "\n" for text in words)
    lengths, cut = [], []
    meter.total = len(words)

    def chunks() -> Any:
        for ids, real, over in texts.piece_chunks(words, loaded, length):
            lengths.append(real)
            cut.append(over)
            yield ids
            meter.advance(len(ids))

    write_npy(folder / "inputs.npy", (len(words), length), np.int32, chunks())
    write_npy(folder / "lengths.npy", (len(words),), np.int32, lengths)
    return sum(cut)


def _split(
    classes: np.ndarray, names: tuple[str, ...], settings: DataSettings, own_test: int
) -> dict[SplitName, np.ndarray]:
    tested = np.arange(len(classes) - own_test, len(classes), dtype=np.int64) if own_test else None
    return split(classes, names, settings.split, tested)


def _counts(
    classes: np.ndarray, splits: dict[SplitName, np.ndarray], names: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    return {
        part: dict(zip(names, np.bincount(classes[rows], minlength=len(names)).tolist(), strict=True))
        for part, rows in splits.items()
    }


def _summary(kept: _Kept, cut: int) -> str:
    text = f"{len(kept.rows)} samples"
    if kept.removed:
        text += f", {kept.removed} duplicates removed"
    if kept.conflicting:
        text += f" ({kept.conflicting} copies with different labels)"
    if cut:
        text += f", {cut} texts cut"
    return text
