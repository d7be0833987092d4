"""A Hugging Face data set, by its name on the hub or as a local folder."""

import hashlib
import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipeline.data.files import storage_errors
from pipeline.data.samples import (
    Contents,
    Samples,
    Source,
    check_columns,
    column_groups,
    matching_rows,
    row_labels,
    table_samples,
)
from pipeline.errors import InputError
from pipeline.settings.data import DataSettings
from pipeline.store import file_sha256
from targets.profile import Task

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

CHUNK = 1000  # rows hashed at once


def open_huggingface(settings: DataSettings, task: Task) -> Source:
    """`name` (with `config`) on the hub, or a folder of CSV, Parquet or image files as `name` or `path`.

    Its split `train` (or the only one) is the training data; its split `test`, if it has one with labels, the
    test set. Other splits are not used.
    """
    if (settings.name is None) == (settings.path is None):
        raise InputError("data: source 'huggingface' needs either 'name' (on the hub) or 'path' (a folder)")
    origin = settings.name or str(settings.path)
    splits = _loaded(origin, settings.config)
    if "train" not in splits and len(splits) > 1:
        raise InputError(f"{origin}: no split 'train'; it has {', '.join(splits)}")
    train = splits["train"] if "train" in splits else next(iter(splits.values()))
    label = settings.label_column
    test = splits.get("test") if train is not splits.get("test") and label is not None else None
    content = settings.image_column if task == "image-classification" else settings.text_column
    more = [column for column in (label, *settings.where, settings.group_column) if column is not None]
    columns = list(dict.fromkeys([content, *more]))
    train = _columns(train, columns, content, task, origin)
    test = None if test is None else _columns(test, columns, content, task, origin)
    if test is not None and all(value in (-1, None) for value in test[str(label)]):
        test = None  # a competition's test set, its labels withheld
    digest = "".join(_content_sha256(part) for part in (train, test) if part is not None)
    names = None if label is None else getattr(train.features[label], "names", None)

    def samples(part: "Dataset", split: str) -> Samples:
        return _samples(part, task, content, settings, f"{origin}, {split}")

    def read() -> Contents:
        return Contents(
            samples(train, "train"),
            None if test is None else samples(test, "test"),
            None if names is None else tuple(names),
            published=not Path(origin).exists(),
        )

    return Source(hashlib.sha256(digest.encode()).hexdigest(), train.info.license or None, read)


def _loaded(origin: str, config: str | None) -> "DatasetDict":
    import datasets

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(origin, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines()[0]
        what = (
            "expected a folder of CSV, Parquet or image files"
            if Path(origin).exists()
            else "check name and config, and be online, or download it first and set data.path to its folder"
        )
        raise InputError(f"data set '{origin}': can't be loaded ({reason}); {what}") from None


def _columns(part: "Dataset", columns: list[str], content: str, task: Task, origin: str) -> "Dataset":
    """The columns that count; images as their files' bytes, so that decoding is ours.

    Raises InputError if one is missing or `content` is not what the task needs.
    """
    import datasets

    check_columns(columns, part.column_names, origin)
    part = part.select_columns(columns)
    kind = part.features[content]
    if task == "image-classification":
        if not isinstance(kind, datasets.Image):
            raise InputError(f"{origin}: column '{content}' holds {kind}, expected images")
        return part.cast_column(content, datasets.Image(decode=False))
    if not isinstance(kind, datasets.Value) or kind.dtype not in ("string", "large_string"):
        raise InputError(f"{origin}: column '{content}' holds {kind}, expected texts")
    return part


def _content_sha256(part: "Dataset") -> str:
    """Over every value; of images that lie in files beside, over the files' bytes and not their paths."""
    import datasets

    total = hashlib.sha256(str(part.features).encode())
    for column, kind in part.features.items():
        values = part[column]
        if isinstance(kind, datasets.Image):
            for image in values:
                total.update(_image_sha256(image).encode())
        else:
            for start in range(0, len(part), CHUNK):
                total.update(json.dumps(values[start : start + CHUNK], default=str).encode())
    return total.hexdigest()


def _image_sha256(image: dict[str, Any] | None) -> str:
    if image is None:
        return "none"
    if image["bytes"] is not None:
        return hashlib.sha256(image["bytes"]).hexdigest()
    with storage_errors(Path(image["path"])):
        return file_sha256(Path(image["path"]))


def _samples(part: "Dataset", task: Task, content: str, settings: DataSettings, origin: str) -> Samples:
    label, group = settings.label_column, settings.group_column
    table = {name: part[name][:] for name in part.column_names if name != content}
    for column in filter(None, (label, group)):
        names = getattr(part.features.get(column), "names", None)
        if names is not None:
            table[column] = [names[number] if number is not None and number >= 0 else None for number in table[column]]
    if task == "text-classification":
        texts = {content: part[content][:]}
        return table_samples({**table, **texts}, content, label, settings.where, origin, group)
    rows = matching_rows({content: range(len(part)), **table}, settings.where, origin)

    def place(index: int) -> str:
        return f"{origin}, row {rows[index] + 1}"

    labels = row_labels(table, label, rows, place)
    groups = column_groups(table, group, rows, origin)
    return Samples(labels, place, image=lambda index: _opened(part[rows[index]][content]), groups=groups)


def _opened(image: dict[str, Any] | None) -> Image.Image:
    if image is None:
        raise ValueError("no image")
    return Image.open(BytesIO(image["bytes"]) if image["bytes"] is not None else image["path"])
