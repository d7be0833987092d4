"""What an app wrote of its inferences, one line each: CSV or JSON lines, read strictly (`docs/field.md`)."""

import csv
import datetime
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError

NEEDED = ("label", "confidence", "ms")
OPTIONAL = ("time", "app_version", "file")
SUFFIXES = (".csv", ".jsonl", ".ndjson")
LEAST = 100  # inferences; of fewer, tests tell but the coarsest drift
LISTED = 5  # wrong lines that a message names


@dataclass(frozen=True)
class Observed:
    """N inferences in the order of their time where lines tell it, else in that of the lines. `labels` int64 [N] into
    the bundle's, `confidence` float64 [N], `ms` float64 [N]; `times` float64 [N], seconds since 1970, and `versions` of
    the app are None where a line lacks them."""

    labels: np.ndarray
    confidence: np.ndarray
    ms: np.ndarray
    times: np.ndarray | None
    versions: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: np.ndarray | slice) -> "Observed":
        """Some of them, in the same order."""
        versions = None if self.versions is None else tuple(np.array(self.versions, dtype=object)[rows].tolist())
        times = None if self.times is None else self.times[rows]
        return Observed(self.labels[rows], self.confidence[rows], self.ms[rows], times, versions)


def read_observed(log: Path, labels: Sequence[str], files: Sequence[str], name: str) -> Observed:
    """The inferences of the file `name`, one of the bundle's `files`; lines that say another `file` are left out.

    Raises InputError for a file that is none, wrong columns, and wrong lines, each with its number; and for fewer than
    `LEAST` inferences.
    """
    index = {name: number for number, label in enumerate(labels) for name in (label, " ".join(label.split()))}
    rows: list[tuple[int, float, float, float | None, str | None]] = []
    wrong: list[str] = []
    wrongs = 0
    for number, values in _lines(log):
        try:
            of = values.get("file")
            if of is not None and of not in files:
                raise ValueError(f"file {of!r} is none of the bundle's: {', '.join(files)}")
            row = _row(values, index)
        except ValueError as error:
            wrongs += 1
            if len(wrong) < LISTED:
                wrong.append(f"line {number}: {error}")
            continue
        if of in (None, name):
            rows.append(row)
    if wrongs:
        more = f"; and {wrongs - len(wrong):,} more" if wrongs > len(wrong) else ""
        many = "1 line is wrong" if wrongs == 1 else f"{wrongs:,} lines are wrong"
        raise InputError(f"{log}: {many}: {'; '.join(wrong)}{more}")
    if len(rows) < LEAST:
        raise InputError(f"{log}: holds {len(rows)} inferences of {name}, at least {LEAST} are needed to tell a drift")
    return _observed(rows)


def _observed(rows: Sequence[tuple[int, float, float, float | None, str | None]]) -> Observed:
    labels, confidence, ms, times, versions = zip(*rows, strict=True)
    found = Observed(
        np.array(labels, dtype=np.int64),
        np.array(confidence),
        np.array(ms),
        None if None in times else np.array(times, dtype=np.float64),
        None if None in versions else tuple(versions),
    )
    return found if found.times is None else found.part(np.argsort(found.times, kind="stable"))


def _lines(log: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if log.suffix.lower() not in SUFFIXES:
        raise InputError(f"{log}: found a name that ends in '{log.suffix}', expected {', '.join(SUFFIXES)}")
    try:
        with log.open(newline="", encoding="utf-8-sig") as stream:
            yield from _csv_lines(stream, log) if log.suffix.lower() == ".csv" else _json_lines(stream, log)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{log}: can't be read as UTF-8 text ({error})") from None


def _csv_lines(stream: Any, log: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = csv.reader(stream, strict=True)
    header = [name.strip() for name in next(rows, [])]
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise InputError(
            f"{log}, line 1: no column {', '.join(missing)}; found {', '.join(header) or 'nothing'}. The header is "
            f"{','.join(NEEDED)} and, where the app tells them, {','.join(OPTIONAL)}"
        )
    for row in rows:
        if len(row) != len(header):
            if row:
                yield rows.line_num, {"": f"{len(row)} fields, expected {len(header)}"}
            continue
        yield rows.line_num, {name: value for name, value in zip(header, row, strict=True) if value != ""}


def _json_lines(stream: Any, log: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            yield number, {"": f"no JSON ({error})"}
            continue
        if not isinstance(values, dict):
            yield number, {"": f"found {type(values).__name__}, expected a JSON object"}
            continue
        yield number, {name: value for name, value in values.items() if value is not None}


def _row(values: dict[str, Any], index: dict[str, int]) -> tuple[int, float, float, float | None, str | None]:
    """One inference. Raises ValueError that says what is wrong with the line."""
    if "" in values:
        raise ValueError(values[""])
    missing = [name for name in NEEDED if name not in values]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    label = str(values["label"])
    if label not in index:
        raise ValueError(f"label {label!r} is none of the bundle's labels.txt")
    confidence, ms = _number(values, "confidence"), _number(values, "ms")
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence {confidence:g}, expected 0 to 1")
    if ms <= 0:
        raise ValueError(f"ms {ms:g}, expected the milliseconds of one inference")
    version = values.get("app_version")
    time = None if "time" not in values else _seconds(values["time"])
    return index[label], confidence, ms, time, None if version is None else str(version)


def _number(values: dict[str, Any], name: str) -> float:
    try:
        value = float(values[name]) if not isinstance(values[name], bool) else math.nan
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} {values[name]!r} is no number")
    return value


def _seconds(value: Any) -> float:
    """Of a number of seconds since 1970, or ISO 8601; without a zone, of UTC."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        try:
            time = datetime.datetime.fromisoformat(str(value))
        except ValueError:
            raise ValueError(f"time {value!r}, expected ISO 8601 or seconds since 1970") from None
        seconds = (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()
    if not math.isfinite(seconds):
        raise ValueError(f"time {value!r}, expected ISO 8601 or seconds since 1970")
    return seconds
