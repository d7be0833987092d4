"""What every source gives: labelled texts or images, read when asked, and how rows of tables become them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import InputError

Label = str | int

MOST_GROUPS = 50  # more, and the column is no grouping: ids, dates, free text
NO_GROUP = "(none)"  # of samples whose column is empty
NO_LABEL = ""  # of samples that are read without labels


@dataclass(frozen=True)
class Samples:
    """Samples in the source's order: `texts`, or `image(i)` which opens (not yet decodes) image i.

    `origin(i)` says where sample i stands, for messages. `groups`: the group of each, where the recipe names a column.
    """

    labels: Sequence[Label]
    origin: Callable[[int], str]
    texts: Sequence[str] | None = None
    image: Callable[[int], Image.Image] | None = None
    groups: Sequence[str] | None = None


@dataclass(frozen=True)
class Contents:
    """`names`: the classes in their given order, labels are then these names; None: sorted from the labels.

    `published`: the test set is part of a published data set, which a user can't mend: training samples that
    are also in it are left out, where with the user's own files they are an error.
    """

    train: Samples
    test: Samples | None = None
    names: tuple[str, ...] | None = None
    published: bool = False


@dataclass(frozen=True)
class Source:
    """A source found, its content hashed; `read` loads it. `licence` as the source states it."""

    content_sha256: str
    licence: str | None
    read: Callable[[], Contents]


def class_names(labels: Sequence[Label]) -> tuple[str, ...]:
    """The distinct labels as text: in numeric order if all are whole numbers, else alphabetical."""
    names = {str(label) for label in labels}
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(names))


def class_indices(samples: Samples, names: tuple[str, ...]) -> np.ndarray:
    """int64 [N], the class of each sample. Raises InputError for a label that is not in `names`."""
    index = {name: number for number, name in enumerate(names)}
    found = np.array([index.get(str(label), -1) for label in samples.labels], dtype=np.int64)
    unknown = np.flatnonzero(found < 0)
    if len(unknown):
        first = int(unknown[0])
        raise InputError(
            f"{samples.origin(first)}: label '{samples.labels[first]}' is not one of the classes to learn: "
            f"{_shown(names)} ({len(unknown)} such samples)"
        )
    return found


def check_same_classes(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raises InputError if the classes of a teacher's data are not those that its student is to learn."""
    missing = [name for name in wanted if name not in names]
    more = [name for name in names if name not in wanted]
    if missing or more:
        found = [f"{what} {_shown(classes)}" for what, classes in (("lacks", missing), ("has", more)) if classes]
        raise InputError(
            f"teacher.data: it {' and '.join(found)}; the classes of the recipe's data are {_shown(wanted)}, and a "
            "teacher must know exactly these, by name: rename labels, or choose rows with where"
        )


# ---- rows of tables


def check_columns(wanted: Sequence[str], present: Sequence[str], origin: str) -> None:
    """Raises InputError if a wanted column is not there."""
    missing = [name for name in wanted if name not in present]
    if missing:
        raise InputError(
            f"{origin}: no column {_shown(missing)}; it has {_shown(list(present))}. Set data.text_column, "
            "data.image_column, data.label_column, data.group_column or data.where to columns that are there"
        )


def matching_rows(table: Mapping[str, Sequence[Any]], where: Mapping[str, str], origin: str) -> list[int]:
    """Numbers of the rows whose columns have the values of `where`. Raises InputError if none has."""
    rows = list(range(len(next(iter(table.values())))))
    if not rows:
        raise InputError(f"{origin}: holds no samples")
    for column, value in where.items():
        kept = [row for row in rows if str(table[column][row]) == value]
        if not kept:
            values = sorted({str(table[column][row]) for row in rows})
            raise InputError(f"{origin}: no row where {column} is '{value}'; found there: {_shown(values)}")
        rows = kept
    return rows


def table_samples(
    table: Mapping[str, Sequence[Any]],
    text: str,
    label: str | None,
    where: Mapping[str, str],
    origin: str,
    group: str | None = None,
) -> Samples:
    """Texts, labels and groups from columns; no column `label`, no labels. Raises InputError for a text that is empty
    or no text, and no label."""
    rows = matching_rows(table, where, origin)

    def place(index: int) -> str:
        return f"{origin}, row {rows[index] + 1}"

    texts = [table[text][row] for row in rows]
    for index, value in enumerate(texts):
        if not isinstance(value, str):
            found = "nothing" if _is_null(value) else f"{value!r}"
            raise InputError(f"{place(index)}: column '{text}' holds {found}, expected a text")
        if not value.strip():
            raise InputError(f"{place(index)}: the text is empty; remove the row or fill it in")
    labels = row_labels(table, label, rows, place)
    return Samples(labels, place, texts=texts, groups=column_groups(table, group, rows, origin))


def row_labels(
    table: Mapping[str, Sequence[Any]], column: str | None, rows: Sequence[int], place: Callable[[int], str]
) -> list[Label]:
    """The label of each of `rows`; `NO_LABEL` without a column."""
    if column is None:
        return [NO_LABEL] * len(rows)
    return [checked_label(table[column][row], place(index)) for index, row in enumerate(rows)]


def checked_label(value: Any, origin: str) -> Label:
    """A label as text or whole number. Raises InputError for none, and for what can't be a class."""
    if _is_null(value) or (isinstance(value, str) and not value.strip()):
        raise InputError(f"{origin}: no label; remove the row or fill it in")
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and "\n" in value:
        raise InputError(f"{origin}: label {value!r} has a line break; labels stand one a line in labels.txt")
    if isinstance(value, (str, int)):
        return value
    raise InputError(f"{origin}: label {value!r} is no class; expected a text or a whole number")


def column_groups(
    table: Mapping[str, Sequence[Any]], column: str | None, rows: Sequence[int], origin: str
) -> list[str] | None:
    """The group of each of `rows`, a line of text; None without a column. Samples without a value are a group too.

    Raises InputError for values that are no plain ones, and for more than `MOST_GROUPS` groups.
    """
    if column is None:
        return None
    groups = [_group(table[column][row], f"{origin}, row {row + 1}: column '{column}'") for row in rows]
    distinct = len(set(groups))
    if distinct > MOST_GROUPS:
        raise InputError(
            f"{origin}: column '{column}' has {distinct} different values, at most {MOST_GROUPS} are groups; "
            "name another data.group_column, or sort the values into fewer"
        )
    return groups


def _group(value: Any, place: str) -> str:
    if _is_null(value) or (isinstance(value, str) and not value.strip()):
        return NO_GROUP
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int, float)):
        raise InputError(f"{place} holds {value!r}, expected a text or a number to group samples by")
    return " ".join(str(value).split())


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _shown(names: Sequence[str], most: int = 10) -> str:
    text = ", ".join(f"'{name}'" for name in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")
