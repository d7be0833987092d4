"""The teacher's logits for every sample that a student is taught with and view, made once for all students and
targets."""

from pathlib import Path

import numpy as np

from pipeline.context import RunContext
from pipeline.distill.answers import views_of
from pipeline.distill.cache_results import CacheResult
from pipeline.distill.forms import answer_form, describe_form, pack_answers, record_of
from pipeline.distill.shards import checked, fill_shards
from pipeline.evaluate import predict
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.teachers.inference import load_answering
from pipeline.training.fit import deterministic, prepare_torch

STAGE = "teacher-cache"


def cache_teacher(
    data: PreparedData, teacher: NetworkResult, settings: DistillSettings, context: RunContext
) -> CacheResult:
    """Asks the teacher, in evaluation mode, about each view of the data's `taught_rows`. Of the settings only the
    augmentation, the number of views and the form that answers are kept in count (with `top_k` the temperature too),
    so students trained in other ways share the files.

    A pass that was killed goes on after the last whole shard, and shards that are no more as they were written are
    made again. Raises InputError where there is no space, or for answers that the form can't hold.
    """
    augmentation, views = views_of(data, settings)
    rows = data.taught_rows
    form, size = answer_form(data, settings), settings.cache.shard
    told = f"{views} view{'s' * (views > 1)} x {len(rows):,} samples x {describe_form(form)}"

    def make(folder: Path, key: str, meter: Meter) -> CacheResult:
        network = load_answering(teacher, prepare_torch(context))

        def answer(view: int, part: np.ndarray) -> np.ndarray:
            with deterministic():
                logits = predict(
                    network, data, part, meter=meter, augmentation=augmentation, view=view, seed=context.seed
                )
            return pack_answers(logits, form)

        content = views * len(rows) * record_of(form).itemsize
        shards = fill_shards(folder, answer, rows, views, size, content, told, context, meter)
        return CacheResult(key, views, len(rows), size, form, shards)

    inputs = {
        "data": data.fingerprint,
        "teacher": teacher.fingerprint,
        "augmentation": augmentation,
        "views": views,
        "form": form,
        "shard": size,
    }

    def made() -> CacheResult:
        total = views * len(rows)
        title = "teacher cache"
        return context.stage(STAGE, inputs, CacheResult, make, total=total, unit="samples", title=title, together=True)

    return checked(STAGE, made, context)
