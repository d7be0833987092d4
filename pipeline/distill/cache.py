"""The teacher's logits for every training sample and view, made once for all students and targets."""

import shutil
from itertools import product
from pathlib import Path

from pipeline.context import RunContext
from pipeline.data.files import storage_errors
from pipeline.distill.answers import views_of
from pipeline.distill.shards import (
    in_order,
    is_whole,
    load_record,
    pack_answers,
    planned_bytes,
    save_record,
    write_shard,
)
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.networks import load_network
from pipeline.progress import Meter
from pipeline.results import AnswerForm, CacheResult, NetworkResult, PreparedData
from pipeline.settings import DistillSettings, Ramp
from pipeline.training import deterministic, prepare_torch

STAGE = "teacher-cache"
NAMED = 4  # damaged files that are told by name


def cache_teacher(
    data: PreparedData, teacher: NetworkResult, settings: DistillSettings, context: RunContext
) -> CacheResult:
    """Asks the teacher, in evaluation mode, about each view of the train split. Of the settings only the augmentation,
    the number of views and the form that answers are kept in count (with `top_k` the temperature too), so students
    trained in other ways share the files.

    Its size is told and held against the space left before anything is written. A pass that was killed goes on after
    the last whole shard, and shards that are no more as they were written are made again. Raises InputError where
    there is no space, or for answers that the form can't hold.
    """
    augmentation, views = views_of(data, settings)
    rows = data.rows("train")
    form = answer_form(data, settings)
    size, shape = settings.cache.shard, (views, len(rows), form.classes)

    def make(folder: Path, key: str, meter: Meter) -> CacheResult:
        done = load_record(folder)
        needed = planned_bytes(shape, size, form)
        context.reporter.say(f"  teacher cache: {describe(shape, form)}, {megabytes(needed)}")
        refuse_unless_free(folder, needed - sum(shard.bytes for shard in done.values()))
        network = load_network(teacher).to(prepare_torch(context))
        meter.advance(sum(shard.count for shard in done.values()))
        with storage_errors(folder), deterministic():
            for view, start in product(range(views), range(0, len(rows), size)):
                if (view, start) in done:
                    continue
                part = rows[start : start + size]
                logits = predict(
                    network, data, part, meter=meter, augmentation=augmentation, view=view, seed=context.seed
                )
                file = folder / f"view{view:02d}.{start // size:05d}.npy"
                done[view, start] = write_shard(file, view, start, pack_answers(logits, form))
                save_record(folder, done)
        return CacheResult(key, views, len(rows), size, form, in_order(done))

    inputs = {
        "data": data.fingerprint,
        "teacher": teacher.fingerprint,
        "augmentation": augmentation,
        "views": views,
        "form": form,
        "shard": size,
    }

    def made() -> CacheResult:
        return context.stage(
            STAGE, inputs, CacheResult, make, total=views * len(rows), unit="samples", title="teacher cache"
        )

    cache = made()
    damaged = [shard.file.name for shard in cache.shards if not is_whole(shard)]
    if not damaged:
        return cache
    named = ", ".join(damaged[:NAMED]) + (f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else "")
    context.reporter.say(f"  teacher cache: not as written, made again: {named}")
    context.store.reopen(STAGE, cache.fingerprint)
    return made()


def answer_form(data: PreparedData, settings: DistillSettings) -> AnswerForm:
    """Raises InputError for a `top_k` that leaves no class out."""
    classes, top_k = len(data.labels), settings.cache.top_k
    if top_k is None:
        return AnswerForm(classes, settings.cache.dtype)
    if top_k >= classes:
        raise InputError(f"distill.cache.top_k is {top_k}, the data has {classes} classes: lower it, or remove it")
    assert not isinstance(settings.temperature, Ramp), "refused with the settings"
    return AnswerForm(classes, settings.cache.dtype, top_k, settings.temperature)


def describe(shape: tuple[int, int, int], form: AnswerForm) -> str:
    """In words, such as `5 views x 3,600 samples x 10 classes in float32`."""
    views, samples, classes = shape
    kept = f"the top {form.top_k} of {classes:,}" if form.top_k else f"{classes:,}"
    return f"{views} view{'s' * (views > 1)} x {samples:,} samples x {kept} classes in {form.dtype}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def refuse_unless_free(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: the teacher's answers need {megabytes(needed)}, {megabytes(free)} are free: free some, choose "
            "another folder with --out, or keep less (distill.cache.dtype: float16, distill.cache.top_k, fewer views)"
        )
