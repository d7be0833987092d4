"""The teacher's logits for every training sample and view: one memory-mapped file, made once for all
targets."""

import os
from pathlib import Path

import numpy as np

from pipeline import scale
from pipeline.context import RunContext
from pipeline.distill.answers import views_of
from pipeline.evaluate import predict
from pipeline.networks import load_network
from pipeline.progress import Meter
from pipeline.results import CacheResult, NetworkResult, PreparedData
from pipeline.settings import DistillSettings
from pipeline.training import deterministic, prepare_torch


def cache_teacher(
    data: PreparedData, teacher: NetworkResult, settings: DistillSettings, context: RunContext
) -> CacheResult:
    """Asks the teacher, in evaluation mode, about each view of the train split. Of the settings only the
    augmentation and the number of views count, so students trained in other ways share the file."""
    augmentation, views = views_of(data, settings)
    rows = data.rows("train")

    def make(folder: Path, key: str, meter: Meter) -> CacheResult:
        network = load_network(teacher).to(prepare_torch(context))
        file = folder / "teacher_logits.npy" if scale.first() else Path(os.devnull)  # all ask, one writes
        shape = (views, len(rows), len(data.labels))
        # Written as a stream, not through a memory map: a full disk is then an error, not a crash.
        with file.open("wb") as stream, deterministic():
            np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for view in range(views):
                logits = predict(
                    network, data, rows, meter=meter, augmentation=augmentation, view=view, seed=context.seed
                )
                stream.write(logits.astype("<f4").tobytes())
        return CacheResult(key, file, views, file.stat().st_size)

    inputs = {
        "data": data.fingerprint,
        "teacher": teacher.fingerprint,
        "augmentation": augmentation,
        "views": views,
    }
    return context.stage(
        "teacher-cache", inputs, CacheResult, make, total=views * len(rows), unit="samples", title="teacher cache",
        together=True,
    )  # fmt: skip
