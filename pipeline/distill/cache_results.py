"""A teacher's cached answers, as results: in which form, in which files, of which samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class AnswerForm:
    """How the answer to one sample is kept: `classes` logits of `dtype`, or the `top_k` largest of them and what the
    others weigh together at `temperature` (None without `top_k`: whole logits serve any)."""

    classes: int
    dtype: Literal["float32", "float16"] = "float32"
    top_k: int | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Shard:
    """The answers to `count` samples, from place `start` of the taught rows, in one view: an .npy file."""

    file: Path
    view: int
    start: int
    count: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class CacheResult:
    """The teacher's answers to `samples` samples, in the order of the data's `taught_rows`, in each view.

    `shards`: view after view, each holding `shard` samples, the last of a view the rest. `pipeline.distill.cached`
    reads them.
    """

    fingerprint: str
    views: int
    samples: int
    shard: int
    form: AnswerForm
    shards: tuple[Shard, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Views, samples, classes."""
        return self.views, self.samples, self.form.classes

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    @property
    def logits(self) -> np.ndarray:
        """Whole logits, float32 [views, samples, classes], all of them in memory: training reads what it needs."""
        assert self.form.top_k is None, "of top-k answers there are no whole logits"
        return np.concatenate([np.load(shard.file) for shard in self.shards], dtype=np.float32).reshape(self.shape)


@dataclass(frozen=True)
class HiddenOutput:
    """What a module of the teacher, by its full name, gives for one sample: an array of `shape`, or one for each real
    token of a text (`tokens`)."""

    name: str
    shape: tuple[int, ...]
    tokens: bool


@dataclass(frozen=True)
class HiddenResult:
    """What modules of the teacher gave for `samples` samples, in the order of the taught rows, in each view.

    `shards`: as those of a cache, each a plain array: sample after sample what the `outputs` gave, in their order.
    """

    fingerprint: str
    views: int
    samples: int
    shard: int
    dtype: Literal["float32", "float16"]
    outputs: tuple[HiddenOutput, ...]
    shards: tuple[Shard, ...]
