"""What a teacher's modules give for every training sample and view, kept so that features and layers are learned from
without running the teacher."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.context import RunContext
from pipeline.data.batches import Batch, evaluation_batches
from pipeline.distill.answers import views_of
from pipeline.distill.cache_results import HiddenOutput, HiddenResult
from pipeline.distill.features import feature_guides
from pipeline.distill.forms import rounded
from pipeline.distill.inside import FrozenTeacher, Seen, frozen_teacher
from pipeline.distill.layers import layer_guide
from pipeline.distill.shards import checked, fill_shards, read_parts
from pipeline.networks import build_network, device_of, example_inputs
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData
from pipeline.settings.distill import DistillSettings
from pipeline.training.fit import deterministic, prepare_torch

STAGE = "teacher-hidden"
LARGEST_SHARD = 16e6  # bytes, as far as one sample allows: what building holds in memory
BATCH = 64  # samples that the teacher looks at together


def cache_hidden(
    data: PreparedData,
    teacher: NetworkResult,
    architecture: dict[str, object],
    settings: DistillSettings,
    context: RunContext,
) -> HiddenResult:
    """What `settings.features` and `settings.layers` of a student of `architecture` need to see of the teacher, in
    evaluation mode, in each view of the taught rows.

    Told, held against the space left, made in parts and checked as the answers are. Raises InputError for modules
    that are none or can't be compared, where there is no space, and for values that float16 can't hold.
    """
    augmentation, views = views_of(data, settings)
    rows, dtype = data.taught_rows, settings.cache.dtype

    def make(folder: Path, key: str, meter: Meter) -> HiddenResult:
        frozen = frozen_teacher(teacher, prepare_torch(context))
        outputs = _outputs(frozen, build_network(architecture), data, settings)
        sizes = _sizes(outputs, data)
        widest = int(sizes.max()) * np.dtype(dtype).itemsize
        size = max(1, min(settings.cache.shard, int(LARGEST_SHARD // widest)))
        names = [output.name for output in outputs]

        def look(view: int, part: np.ndarray) -> np.ndarray:
            records: list[np.ndarray] = [np.empty(0)] * len(part)
            for batch in evaluation_batches(data, part, BATCH, context.seed, augmentation, view):
                with deterministic():
                    seen = frozen.look(tuple(tensor.to(device_of(frozen.network)) for tensor in batch.inputs), names)
                given = [seen.outputs[name].cpu().numpy() for name in names]
                for index, (place, real) in enumerate(zip(batch.positions, _real_tokens(batch), strict=True)):
                    shown = [
                        out[index, :real] if o.tokens else out[index] for o, out in zip(outputs, given, strict=True)
                    ]
                    records[place] = np.concatenate([values.ravel() for values in shown])
                meter.advance(len(batch.rows))
            return rounded(np.concatenate(records), dtype)

        content = views * int(sizes.sum()) * np.dtype(dtype).itemsize
        told = f"{views} view{'s' * (views > 1)} x {len(rows):,} samples x {len(outputs)} modules in {dtype}"
        shards = fill_shards(folder, look, rows, views, size, content, told, context, meter)
        return HiddenResult(key, views, len(rows), size, dtype, outputs, shards)

    layers = settings.layers
    config = architecture.get("config")
    inputs = {
        "data": data.fingerprint,
        "teacher": teacher.fingerprint,
        "augmentation": augmentation,
        "views": views,
        "dtype": dtype,
        "shard": settings.cache.shard,
        "features": sorted({match.teacher for match in settings.features}),
        "layers": None if layers is None else layers.model_dump(include={"method", "layer_map"}),
        "student layers": config.get("num_hidden_layers") if isinstance(config, dict) else None,
    }

    def made() -> HiddenResult:
        total = views * len(rows)
        title = "teacher's hidden states"
        return context.stage(STAGE, inputs, HiddenResult, make, total=total, unit="samples", title=title)

    return checked(STAGE, made, context)


def _outputs(
    frozen: FrozenTeacher, student: nn.Module, data: PreparedData, settings: DistillSettings
) -> tuple[HiddenOutput, ...]:
    """What the guides of a student look at, and the shape of it."""
    device = device_of(frozen.network)
    example = tuple(tensor.to(device) for tensor in example_inputs(data))
    guides = [guide for _, guide in feature_guides(settings.features, student.to(device), frozen, example)]
    names = {name for guide in guides for name in guide.of_teacher}
    if settings.layers is not None:
        names |= set(layer_guide(settings.layers, student, frozen).of_teacher)
    seen = frozen.look(example, names)
    found = []
    for name in sorted(names):
        shape = tuple(int(side) for side in seen.outputs[name].shape[1:])
        tokens = len(example) == 3 and len(shape) == 2 and shape[0] == example[0].shape[1]
        found.append(HiddenOutput(name, shape[1:] if tokens else shape, tokens))
    return tuple(found)


def _sizes(outputs: Iterable[HiddenOutput], data: PreparedData) -> np.ndarray:
    """int64 [R]: how many values are kept of each training sample."""
    rows = data.taught_rows
    fixed = sum(math.prod(output.shape) for output in outputs if not output.tokens)
    by_token = sum(math.prod(output.shape) for output in outputs if output.tokens)
    return np.full(len(rows), fixed) + (by_token * data.lengths[rows].astype(np.int64) if by_token else 0)


def _real_tokens(batch: Batch) -> list[int]:
    """Of texts; of images zeros, which nothing asks for."""
    return batch.inputs[1].sum(1).tolist() if len(batch.inputs) == 3 else [0] * len(batch.rows)


class RememberedTeacher:
    """What a teacher's modules gave, read for one batch at a time."""

    def __init__(self, kept: HiddenResult, data: PreparedData) -> None:
        self.kept, self.rows = kept, data.taught_rows
        self.ends = np.concatenate([[0], np.cumsum(_sizes(kept.outputs, data))])

    def recall(self, batch: Batch) -> Seen:
        """Of the batch's samples in their views. Where the teacher would see padding there are zeros. Raises InputError
        for a file that is gone or cut short."""
        kept, device = self.kept, batch.inputs[0].device
        places, itemsize = np.searchsorted(self.rows, batch.rows), np.dtype(kept.dtype).itemsize
        numbers = batch.views * -(-kept.samples // kept.shard) + places // kept.shard
        records = [
            np.empty(int(self.ends[p + 1] - self.ends[p]), np.dtype(kept.dtype).newbyteorder("<")) for p in places
        ]
        for number in np.unique(numbers):
            shard = kept.shards[number]
            first, last = self.ends[shard.start], self.ends[shard.start + shard.count]
            chosen = np.flatnonzero(numbers == number)
            parts = [(int(self.ends[places[i]] - first) * itemsize, records[i].view(np.uint8)) for i in chosen]
            read_parts(shard, int(last - first) * itemsize, parts)
        outputs = {name: value.to(device) for name, value in self._unpacked(batch, records).items()}
        return Seen(batch.inputs, outputs)

    def _unpacked(self, batch: Batch, records: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """float32, [B, longest, *shape] of tokens, else [B, *shape]."""
        longest, done = batch.inputs[0].shape[1], np.zeros(len(records), np.int64)
        found = {}
        for output in self.kept.outputs:
            spread = (longest, *output.shape) if output.tokens else output.shape
            values = np.zeros((len(records), *spread), np.float32)
            for index, (record, real) in enumerate(zip(records, _real_tokens(batch), strict=True)):
                shape = (real, *output.shape) if output.tokens else output.shape
                count = math.prod(shape)
                part = record[done[index] : done[index] + count].reshape(shape)
                if output.tokens:
                    values[index, :real] = part
                else:
                    values[index] = part
                done[index] += count
            found[output.name] = torch.from_numpy(values)
        return found
