"""The teacher `cache:FOLDER`: what `edgepress cache export` wrote of a teacher, in its place."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.distill.answers import views_of
from pipeline.distill.cache_results import AnswerForm, CacheResult
from pipeline.distill.exported import (
    SHARDS,
    TEST_LOGITS,
    VALIDATION_LOGITS,
    DataMark,
    mark_of,
    read_export,
    verify_export,
)
from pipeline.distill.forms import answer_form
from pipeline.errors import InputError
from pipeline.integrity import MANIFEST
from pipeline.metrics import accuracy
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.data import Augmentation
from pipeline.settings.distill import DistillSettings
from pipeline.settings.teacher import STORED, TeacherSettings
from pipeline.store import file_sha256, fingerprint
from pipeline.teachers.model_files import model_path


def is_stored(teacher: NetworkResult) -> bool:
    return teacher.architecture["kind"] == STORED


def stored_teacher(data: PreparedData, settings: TeacherSettings) -> NetworkResult:
    """The teacher of an exported cache: its figures, and no network. Raises InputError for a folder that is none, is
    damaged, or holds answers to other data than `data`."""
    folder = model_path(settings.model)
    export = read_export(folder)
    verify_export(folder, export)
    if export.task != data.task:
        raise InputError(f"{folder}: its answers are for {export.task}, the recipe's task is {data.task}")
    if export.labels != data.labels:
        raise InputError(f"{folder}: its classes are {', '.join(export.labels)}, the data's {', '.join(data.labels)}")
    _refuse_other_data(mark_of(data), export.data, folder)
    told = export.teacher
    architecture: dict[str, object] = {"kind": STORED, "bytes": told.float32_bytes}
    if told.config is not None:
        architecture["config"] = told.config
    test, validation = (np.load(folder / name, allow_pickle=False) for name in (TEST_LOGITS, VALIDATION_LOGITS))
    return NetworkResult(
        fingerprint=fingerprint({"answers": file_sha256(folder / MANIFEST), "data": data.fingerprint}),
        role="teacher",
        name=told.name,
        checkpoint_file=folder / MANIFEST,
        architecture=architecture,
        parameters=told.parameters,
        macs=told.macs,
        accuracy=accuracy(test, data.targets[data.rows("test")]),
        test_logits_file=folder / TEST_LOGITS,
        validation_accuracy=accuracy(validation, data.targets[data.rows("validation")]).value,
        curve=told.curve,
        best_epoch=told.best_epoch,
        notes=told.notes,
    )


def _refuse_other_data(found: DataMark, expected: DataMark, folder: Path) -> None:
    if found.content_sha256 != expected.content_sha256:
        raise InputError(
            f"{folder}: its answers are to {expected.source} of SHA-256 {expected.content_sha256[:12]}..., the "
            f"recipe's data is {found.source} of {found.content_sha256[:12]}...: give the data of the export"
        )
    if found.shape != expected.shape:
        raise InputError(
            f"{folder}: its teacher saw samples of shape {list(expected.shape)}, the recipe prepares "
            f"{list(found.shape)}: set image.size, or text.sequence_length, as in the recipe of the export"
        )
    if found.split_sha256 != expected.split_sha256:
        raise InputError(
            f"{folder}: its data was split otherwise, or other samples of it were taken: set data.split, data.limit "
            "and data.where as in the recipe of the export"
        )


def stored_cache(data: PreparedData, teacher: NetworkResult, settings: DistillSettings, seed: int) -> CacheResult:
    """The answers of `teacher`, which `stored_teacher` gave. Raises InputError for settings that ask for others than
    were exported."""
    folder = teacher.checkpoint_file.parent
    export = read_export(folder)
    augmentation, views = views_of(data, settings)
    if (augmentation, views) != (export.augmentation, export.views):
        raise InputError(
            f"{folder}: holds {_views(export.augmentation, export.views)}, the recipe asks for "
            f"{_views(augmentation, views)}: set distill.views and distill.augmentation as in the recipe of the export"
        )
    if augmentation is not None and seed != export.seed:
        raise InputError(f"{folder}: its views were drawn with seed {export.seed}, the recipe's is {seed}: set seed")
    if answer_form(data, settings) != export.form:
        raise InputError(f"{folder}: its answers are kept as {_settings_of(export.form)}: say so in distill")
    shards = tuple(replace(shard, file=folder / SHARDS / shard.file.name) for shard in export.shards)
    key = fingerprint({"answers of": teacher.fingerprint})
    return CacheResult(key, export.views, export.samples, export.shard, export.form, shards)


def _views(augmentation: Augmentation | None, views: int) -> str:
    if augmentation is None:
        return "1 view without augmentation"
    return f"{views} view(s) of augmentation {json.dumps(augmentation.model_dump(mode='json'))}"


def _settings_of(form: AnswerForm) -> str:
    """What `distill` must say for answers of this form."""
    if form.top_k is None:
        return f"cache: {{dtype: {form.dtype}}}"
    return f"cache: {{dtype: {form.dtype}, top_k: {form.top_k}}}, temperature: {form.temperature:g}"
