"""What a recipe says of how the student learns from its teacher."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from pipeline.settings.cache import CacheSettings
from pipeline.settings.data import Augmentation, TransferSettings
from pipeline.settings.student import StudentSettings
from pipeline.settings.training import Regularization
from targets.strict import Strict


class Ramp(Strict):
    """A figure that goes from `start` to `end` over the training, in a straight line or by half a cosine."""

    start: float = Field(ge=0, le=100)
    end: float = Field(ge=0, le=100)
    shape: Literal["linear", "cosine"] = "linear"


def _written_as(value: object) -> str:
    return "(ramp)" if isinstance(value, (dict, Ramp)) else "(number)"


# One kind of error, not one for each of the two.
Figure = Annotated[Annotated[float, Tag("(number)")] | Annotated[Ramp, Tag("(ramp)")], Discriminator(_written_as)]


class FeatureMatch(Strict):
    """One layer of the student learns from one of the teacher's, by the modules' names in timm's or transformers'
    network (`blocks.3`, `bert.encoder.layer.1`). `weight` times its loss is added to that of the answers.

    `hint`: mean squared error after a learned projection (FitNets); `attention`: where the activation is large
    (attention transfer)."""

    student: str = Field(min_length=1)
    teacher: str = Field(min_length=1)
    loss: Literal["hint", "attention"] = "hint"
    weight: float = Field(default=1.0, gt=0)


class LayerLosses(Strict):
    """What a text student learns from its teacher's layers.

    `tinybert`: embeddings, hidden states and attention scores layer by layer, students of another width through
    learned projections; as many heads as the teacher. `minilm`: relations between queries, keys and values of one
    teacher layer and the student's last, in `relation_heads` parts that both widths are multiples of (None: the most
    there can be), whatever their heads. `layer_map`: the teacher's layers that the student's learn from, from 1;
    `uniform` spreads them evenly, `last` takes the teacher's last ones; minilm takes the last or a list of one.
    The first `epochs` of the training, on top of `distill.epochs`, learn from layers alone (TinyBERT's first phase);
    then `weight` times their loss joins that of the answers.
    """

    method: Literal["tinybert", "minilm"] = "tinybert"
    layer_map: Literal["uniform", "last"] | tuple[int, ...] = "uniform"
    epochs: int = Field(default=0, ge=0, le=10000)
    weight: float = Field(default=0.0, ge=0)
    learning_rate: float | None = Field(default=None, gt=0, lt=1)  # of the first phase; None: the training's
    relation_heads: int | None = Field(default=None, ge=1, le=1024)

    @model_validator(mode="after")
    def _has_an_effect(self) -> "LayerLosses":
        if self.epochs == 0 and self.weight == 0:
            raise ValueError("layers: give epochs (a first phase), weight (beside the answers), or both")
        if self.method == "tinybert" and self.relation_heads is not None:
            raise ValueError("layers.relation_heads is for method: minilm; remove it")
        if isinstance(self.layer_map, tuple) and min(self.layer_map, default=0) < 1:
            raise ValueError(f"layers.layer_map {list(self.layer_map)}: list the teacher's layers, the first is 1")
        if self.method == "minilm" and isinstance(self.layer_map, tuple) and len(self.layer_map) != 1:
            raise ValueError("layers.layer_map: minilm learns from one layer of the teacher; list one")
        return self


class Refresh(Strict):
    """What the teacher judges anew in mode `mixed`: each epoch after the first `fraction` of the samples, those whose
    views are oldest, or those on which the student disagrees most with the teacher."""

    fraction: float = Field(default=0.2, gt=0, le=1)
    by: Literal["age", "disagreement"] = "age"


class DistillSettings(Strict):
    """Hinton et al. 2015: loss = alpha * soft target loss + (1 - alpha) * cross-entropy with labels.

    `loss` of the soft targets: `kl` (T^2 * KL of the softened answers), `mse` on logits, or `dist` (correlations).
    After the `epochs`, `hard_label_epochs` more learn from labels alone. `assistants`, of sizes between teacher and
    student, stand between the two: the first learns from the teacher, each next one and the student from the one
    before (Mirzadeh et al. 2020).

    `ahead`: how many batches a teacher that is asked may be ahead of the student, in a process or on a device of its
    own; 0 asks it in turn.

    `transfer`: one set or several of samples without labels. They join the student's epochs, all of them or
    `transfer_per_epoch` in turn; what the teacher says about them counts like the rest, and the labels' loss is the
    mean over the labelled samples of a batch.
    """

    mode: Literal["cached", "online", "mixed"] = "cached"
    refresh: Refresh = Refresh()  # of mode mixed
    cache: CacheSettings = CacheSettings()  # of modes cached and mixed
    ahead: int = Field(default=0, ge=0, le=64)
    loss: Literal["kl", "mse", "dist"] = "kl"
    temperature: Figure = 4.0
    alpha: Figure = 0.7
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    epochs: int = Field(default=10, ge=1, le=10000)
    hard_label_epochs: int = Field(default=0, ge=0, le=10000)
    learning_rate: float = Field(default=2e-3, gt=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0, lt=1)
    batch_size: int = Field(default=64, ge=1)
    views: int = Field(default=1, ge=1, le=64)  # augmented views of each sample; epoch e sees view e mod views
    augmentation: Augmentation = Augmentation()
    regularization: Regularization = Regularization()
    features: tuple[FeatureMatch, ...] = ()
    layers: LayerLosses | None = None
    assistants: tuple[StudentSettings, ...] = ()
    transfer: tuple[TransferSettings, ...] = ()
    transfer_per_epoch: int | None = Field(default=None, ge=1)
    compare_naive: bool = False

    @field_validator("transfer", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, (dict, TransferSettings)) else value

    @model_validator(mode="after")
    def _transfer_has_an_effect(self) -> "DistillSettings":
        if self.transfer_per_epoch is not None and not self.transfer:
            raise ValueError("transfer_per_epoch is for a transfer set: give transfer, or remove it")
        if self.transfer and self.alpha == 0 and not self.features and self.layers is None:
            raise ValueError("transfer samples have no labels, and alpha: 0 learns from labels alone: raise alpha")
        return self

    @model_validator(mode="after")
    def _ahead_of_questions(self) -> "DistillSettings":
        if self.ahead and self.mode == "cached":
            raise ValueError("ahead: in mode cached the teacher has answered already; remove it, or use mode online")
        if self.ahead and (self.features or (self.layers is not None and self.layers.weight > 0)):
            raise ValueError("ahead: the teacher hands over its answers alone: remove it, or features and layers")
        return self

    @model_validator(mode="after")
    def _figures_in_range(self) -> "DistillSettings":
        if self.mode == "mixed" and not self.augmentation.varies:
            raise ValueError("mode mixed shows new views: give an augmentation, or use mode cached")
        if self.mode == "mixed" and self.views != 1:
            raise ValueError(f"mode mixed makes its views as it goes: remove views (it is {self.views})")
        if self.assistants and self.features:
            raise ValueError("features name one teacher's layers: remove them, or the assistants")
        for name, low, high in (("temperature", 1e-3, 100.0), ("alpha", 0.0, 1.0)):
            value = getattr(self, name)
            ends = (value.start, value.end) if isinstance(value, Ramp) else (value,)
            if not all(low <= end <= high for end in ends):
                raise ValueError(f"{name} is {' to '.join(f'{end:g}' for end in ends)}, expected {low:g} to {high:g}")
        return self

    @model_validator(mode="after")
    def _cache_serves(self) -> "DistillSettings":
        self.cache.refuse_unless_it_serves(
            mode=self.mode,
            loss=self.loss,
            one_temperature=not isinstance(self.temperature, Ramp),
            looks_inside=bool(self.features) or self.layers is not None,
            mixes_images=self.regularization.mixes,
        )
        return self
