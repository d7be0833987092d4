"""A teacher's cached answers as a folder of their own, from which students are distilled where the teacher is not.

`manifest.json` says what the answers are of and gives the SHA-256 of every file; `shards/` holds them as the cache
does, `teacher/` the logits of the validation and test splits, `tokenizer/` what texts were read with.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from pipeline.context import RunContext
from pipeline.data.files import storage_errors
from pipeline.distill.answers import views_of
from pipeline.distill.cache_results import AnswerForm, CacheResult, Shard
from pipeline.distill.shards import refuse_unless_free
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.integrity import MANIFEST, bundle_files, json_text
from pipeline.networks import load_network
from pipeline.recipe import Recipe
from pipeline.results import Accuracy, EpochRecord, NetworkResult, PreparedData
from pipeline.settings.data import Augmentation
from pipeline.store import file_sha256, write_atomic
from pipeline.training.fit import deterministic, prepare_torch
from targets.profile import Task

KIND = "edgepress teacher answers"
SCHEMA = 1
SHARDS, TOKENIZER = "shards", "tokenizer"
TEST_LOGITS, VALIDATION_LOGITS = "teacher/test_logits.npy", "teacher/validation_logits.npy"


@dataclass(frozen=True)
class DataMark:
    """What tells the data of the answers from any other: the source's content, which samples are in which split with
    which label, and the shape of one sample."""

    source: str
    content_sha256: str
    split_sha256: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TeacherMark:
    """What a report and a student's shape need to know of the teacher. `config` is of a text teacher; `float32_bytes`
    the size of its ONNX file, or of the file that it is."""

    name: str
    parameters: int
    macs: int | None
    float32_bytes: int
    accuracy: Accuracy
    validation_accuracy: float
    best_epoch: int | None
    curve: tuple[EpochRecord, ...]
    notes: tuple[str, ...]
    config: dict[str, Any] | None


@dataclass(frozen=True)
class Export:
    """The manifest. `shards` have names below `shards/`; `files` are all but the manifest, by their names in the
    folder with their SHA-256."""

    kind: str
    schema: int
    task: Task
    labels: tuple[str, ...]
    seed: int
    augmentation: Augmentation | None
    views: int
    samples: int
    shard: int
    form: AnswerForm
    data: DataMark
    teacher: TeacherMark
    shards: tuple[Shard, ...]
    files: dict[str, str]


EXPORT = TypeAdapter(Export)


def mark_of(data: PreparedData) -> DataMark:
    split = hashlib.sha256()
    for name in ("train", "validation", "test"):
        split.update(f"{name}\0".encode() + data.rows(name).astype("<i8").tobytes())
    split.update(data.targets.astype("<i8").tobytes())
    shape = tuple(int(side) for side in data.inputs.shape[1:])
    return DataMark(data.source, data.content_sha256, split.hexdigest(), shape)


def refuse_unexportable(recipe: Recipe) -> None:
    """Raises InputError for a recipe whose teacher's answers are not all kept."""
    if recipe.distill.mode != "cached":
        raise InputError(
            f"distill.mode is {recipe.distill.mode}, which asks the teacher while the student learns; an export holds "
            "all answers: use distill.mode: cached"
        )
    if recipe.distill.transfer:
        raise InputError(
            "distill.transfer: an export holds the answers to the recipe's own training samples alone: remove it"
        )
    if recipe.teacher.stored:
        raise InputError(f"teacher.model {recipe.teacher.model} is an exported cache already: copy its folder")


def export_cache(
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult,
    float32_bytes: int,
    recipe: Recipe,
    context: RunContext,
    folder: Path,
) -> Path:
    """Writes `folder`, beside and renamed: the same bytes for the same recipe, seed and machine. An earlier export
    there is replaced. Raises InputError for a folder that holds anything else, and where there is no space."""
    folder = folder.absolute()
    beside, old = (folder.with_name(f".{folder.name}.{part}") for part in ("part", "old"))
    with storage_errors(folder):
        _clear(folder, beside, old)  # a run was killed while it wrote
        _refuse_foreign(folder)
        beside.mkdir(parents=True)
        try:
            refuse_unless_free(beside, cache.bytes)
            _write_files(data, teacher, cache, context, beside)
            export = _describe(data, teacher, cache, float32_bytes, recipe, beside)
            write_atomic(beside / MANIFEST, json_text(EXPORT.dump_python(export, mode="json")))
            if folder.exists():
                folder.rename(old)
            beside.rename(folder)
        finally:
            _clear(folder, beside, old)
    return folder


def _clear(folder: Path, beside: Path, old: Path) -> None:
    if old.exists() and not folder.exists():
        old.rename(folder)
    for leftover in (beside, old):
        shutil.rmtree(leftover, ignore_errors=True)


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not _says_its_kind(folder):
        raise InputError(f"{folder}: holds something else than an exported cache; give --out another folder")


def _says_its_kind(folder: Path) -> bool:
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


def _write_files(
    data: PreparedData, teacher: NetworkResult, cache: CacheResult, context: RunContext, folder: Path
) -> None:
    (folder / SHARDS).mkdir()
    for shard in cache.shards:
        shutil.copyfile(shard.file, folder / SHARDS / shard.file.name)
    (folder / TEST_LOGITS).parent.mkdir()
    np.save(folder / TEST_LOGITS, teacher.test_logits, allow_pickle=False)
    network, rows = load_network(teacher).to(prepare_torch(context)), data.rows("validation")
    with context.reporter.stage("teacher's validation", len(rows), "samples") as meter, deterministic():
        np.save(folder / VALIDATION_LOGITS, predict(network, data, rows, meter=meter), allow_pickle=False)
    if data.tokenizer_folder is not None:
        shutil.copytree(data.tokenizer_folder, folder / TOKENIZER)


def _describe(
    data: PreparedData,
    teacher: NetworkResult,
    cache: CacheResult,
    float32_bytes: int,
    recipe: Recipe,
    folder: Path,
) -> Export:
    config = teacher.architecture.get("config")
    return Export(
        kind=KIND,
        schema=SCHEMA,
        task=data.task,
        labels=data.labels,
        seed=recipe.seed,
        augmentation=views_of(data, recipe.distill)[0],
        views=cache.views,
        samples=cache.samples,
        shard=cache.shard,
        form=cache.form,
        data=mark_of(data),
        teacher=TeacherMark(
            name=teacher.name,
            parameters=teacher.parameters,
            macs=teacher.macs,
            float32_bytes=float32_bytes,
            accuracy=teacher.accuracy,
            validation_accuracy=teacher.validation_accuracy,
            best_epoch=teacher.best_epoch,
            curve=teacher.curve,
            notes=teacher.notes,
            config=config if isinstance(config, dict) else None,
        ),
        shards=tuple(replace(shard, file=Path(shard.file.name)) for shard in cache.shards),
        files={name: file_sha256(folder / name) for name in bundle_files(folder)},
    )


def read_export(folder: Path) -> Export:
    """The manifest of `folder`. Raises InputError if it is none, not whole, or of another schema."""
    file = folder / MANIFEST
    if not _says_its_kind(folder):
        raise InputError(f"{folder}: not a folder that edgepress cache export wrote (its {MANIFEST} does not say so)")
    content = json.loads(file.read_bytes())
    if content.get("schema") != SCHEMA:
        raise InputError(f"{file}: schema {content.get('schema')!r} is not known, this edgepress reads {SCHEMA}")
    try:
        export = EXPORT.validate_python(content)
        listed = {f"{SHARDS}/{shard.file.name}" for shard in export.shards} | {TEST_LOGITS, VALIDATION_LOGITS}
        if absent := sorted(listed - set(export.files)):
            raise ValueError(f"files has no {absent[0]}")
        if len(export.shards) != export.views * -(-export.samples // export.shard):
            raise ValueError(f"{len(export.shards)} shards are not all")
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: not a whole manifest ({reason}); copy the folder again, or export anew") from None
    return export


def verify_export(folder: Path, export: Export) -> None:
    """Raises InputError for a file of `folder` that is missing or not as it was written."""
    for name, expected in export.files.items():
        place = folder / name
        if not Path(os.path.abspath(place)).is_relative_to(os.path.abspath(folder)):
            raise InputError(f"{folder / MANIFEST}: names {name}, which lies outside of the folder; export anew")
        with storage_errors(place):
            if not place.is_file() or file_sha256(place) != expected:
                state = "changed since it was exported" if place.is_file() else "missing"
                raise InputError(f"{place}: {state}; copy the folder again, or export anew")
