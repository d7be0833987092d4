"""A CSV or Parquet file of texts, looked at before a run: which columns, which classes, how long, what is wrong."""

import csv
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.data.samples import check_columns, checked_label
from pipeline.errors import InputError
from pipeline.start.look import LISTED, Finding, class_findings

GUESSED_FROM = 1000  # rows
TEXT_NAMES = ("text", "sentence", "review", "body", "content", "message", "comment", "utterance", "question", "title")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "intent", "topic", "stars", "rating")
MOST_CLASSES = 1000  # more, and the column is no label
# A word, a mark, or a character of the scripts that write no spaces: what a tokenizer cuts first.
WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[^\w\s]")
FOREIGN = 0.2  # share of letters that are not Latin, from which an English teacher reads the texts badly

Row = tuple[str, dict[str, Any]]  # where it stands, and its values by column


@dataclass(frozen=True)
class Texts:
    """`words`: of how many words and marks the texts are, at the 50th, 95th and 100th percentile."""

    file: Path
    test_file: Path | None
    source: Literal["csv", "parquet"]
    text_column: str
    label_column: str
    columns: tuple[str, ...]
    train: dict[str, int]
    test: dict[str, int] | None
    words: tuple[int, int, int]
    findings: tuple[Finding, ...]

    @property
    def samples(self) -> int:
        return sum(self.train.values())


@dataclass
class _Counts:
    """What one pass over a file gathers."""

    labels: Counter[str]
    words: list[int]
    seen: set[bytes]
    wrong: list[str]
    wrongs: int = 0
    repeated: int = 0

    def refuse(self, text: str) -> None:
        self.wrongs += 1
        if len(self.wrong) < LISTED:
            self.wrong.append(text)


def guess_columns(file: Path) -> tuple[str | None, str | None, tuple[str, ...]]:
    """(the column of the texts, that of the labels, all columns), by their names or by what they hold; None where that
    does not tell. Raises InputError for a file that can't be read."""
    with _table(file) as (columns, rows):
        first = [values for _, values in islice(rows, GUESSED_FROM)]
    if not first:
        raise InputError(f"{file}: holds no rows; expected a header and a text a row")
    text = _named(columns, TEXT_NAMES) or _wordiest(columns, first)
    others = [column for column in columns if column != text]
    return text, _named(others, LABEL_NAMES) or _fewest(others, first), columns


def look_at_texts(file: Path, text: str, label: str, own_test: Path | None = None) -> Texts:
    """Reads every row of `file`, and of the test set in `own_test`.

    Raises InputError for files that can't be read, columns that are not there, and one class alone, or too many.
    """
    train = _counted(file, text, label)
    tested = _counted(own_test, text, label) if own_test else None
    with _table(file) as (columns, rows):
        sample = [str(values.get(text)) for _, values in islice(rows, GUESSED_FROM)]
    if len(train.labels) > MOST_CLASSES:
        raise InputError(
            f"{file}: column '{label}' has {len(train.labels):,} different values, at most {MOST_CLASSES:,} are "
            f"classes; name another with --label-column, of {', '.join(columns)}"
        )
    counts = {name: train.labels[name] for name in sorted(train.labels)}
    test = {name: tested.labels[name] for name in sorted(tested.labels)} if tested else None
    findings = [
        *_wrong(train),
        *(_wrong(tested) if tested else []),
        *class_findings(counts, test),
        *_repeated(train),
        *_script(sample),
    ]
    lengths = tuple(int(n) for n in np.percentile(train.words or [0], [50, 95, 100], method="higher"))
    return Texts(
        file, own_test, _source(file), text, label, columns, counts, test, lengths, tuple(findings),  # type: ignore[arg-type]
    )  # fmt: skip


def _source(file: Path) -> Literal["csv", "parquet"]:
    return "csv" if file.suffix.lower() in (".csv", ".tsv") else "parquet"


@contextmanager
def _table(file: Path) -> Iterator[tuple[tuple[str, ...], Iterator[Row]]]:
    """The columns of a file, and its rows one after the other. A CSV row that is too
    long or short has but the number of its fields, under the key ""."""
    if _source(file) == "csv":
        try:
            with file.open(newline="", encoding="utf-8-sig") as stream:
                csv.field_size_limit(2**31 - 1)  # a text may be longer than the module's 128 KiB
                lines = csv.reader(stream, delimiter="\t" if file.suffix == ".tsv" else ",", strict=True)
                header = next(lines, [])
                yield tuple(header), _csv_rows(lines, header, file)
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(f"{file}: can't be read as CSV in UTF-8 ({error})") from None
        return
    import pyarrow.dataset

    try:
        dataset = pyarrow.dataset.dataset(file, format="parquet")
        yield tuple(dataset.schema.names), _parquet_rows(dataset.to_batches(), file)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise InputError(f"{file}: can't be read as Parquet ({str(error).splitlines()[0]})") from None


def _csv_rows(lines: Any, header: Sequence[str], file: Path) -> Iterator[Row]:
    for row in lines:
        if row:  # no blank line
            place = f"{file}, line {lines.line_num}"
            yield place, dict(zip(header, row, strict=True)) if len(row) == len(header) else {"": len(row)}


def _parquet_rows(batches: Iterable[Any], file: Path) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            yield f"{file}, row {number}", values


def _counted(file: Path, text: str, label: str) -> _Counts:
    found = _Counts(Counter(), [], set(), [])
    with _table(file) as (columns, rows):
        check_columns([text, label], columns, str(file))
        for place, values in rows:
            if text not in values:
                found.refuse(f"{place}: {values['']} fields, expected {len(columns)}")
                continue
            words = values[text]
            if not isinstance(words, str) or not words.strip():
                found.refuse(f"{place}: no text")
                continue
            try:
                name = str(checked_label(values[label], place))
            except InputError as error:
                found.refuse(str(error))
                continue
            found.labels[name] += 1
            found.words.append(len(WORDS.findall(words)))
            digest = hashlib.blake2b(words.encode(), digest_size=16).digest()
            found.repeated += digest in found.seen
            found.seen.add(digest)
    return found


def _named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {column.strip().lower(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)


def _wordiest(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str | None:
    """The column with the longest texts, if its texts are of more than a word."""
    lengths = {
        column: float(np.mean([len(WORDS.findall(v)) if isinstance(v := row.get(column), str) else 0 for row in rows]))
        for column in columns
    }
    best = max(lengths, key=lambda column: lengths[column], default=None)
    return best if best is not None and lengths[best] > 2 else None


def _fewest(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str | None:
    """The column with the fewest different values, if they repeat."""
    kinds = {column: len({str(row.get(column)) for row in rows}) for column in columns}
    kinds = {column: count for column, count in kinds.items() if 2 <= count <= max(2, len(rows) // 2)}
    return min(kinds, key=lambda column: kinds[column], default=None)


def _wrong(found: _Counts) -> list[Finding]:
    if not found.wrongs:
        return []
    more = f"; and {found.wrongs - len(found.wrong):,} more" if found.wrongs > len(found.wrong) else ""
    rows = "1 row" if found.wrongs == 1 else f"{found.wrongs:,} rows"
    return [Finding(f"{rows} that a run refuses: {'; '.join(found.wrong)}{more}", True)]


def _repeated(found: _Counts) -> list[Finding]:
    if not found.repeated:
        return []
    return [
        Finding(
            f"{found.repeated:,} texts are copies of earlier ones; a run leaves them out, and all copies of a text "
            "whose labels differ"
        )
    ]


def _script(texts: Sequence[str]) -> list[Finding]:
    letters = [letter for text in texts for letter in text[:200] if letter.isalpha()]
    foreign = sum(not unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    if not letters or foreign / len(letters) < FOREIGN:
        return []
    return [
        Finding(
            f"{foreign / len(letters):.0%} of the letters are not Latin, and the teacher named in the recipe reads "
            "English: name one that reads the texts' language under teacher.model"
        )
    ]
