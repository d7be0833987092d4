"""A recipe says what is wanted: task, data, teacher, student, and how to distil, prune, quantize and judge.

It never names a device's details. Reading is strict: an unknown key is an error that names the nearest one.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from pipeline.errors import InputError
from targets.profile import Budgets, Task
from targets.strict import Strict, parse, read_yaml

SCHEMA = 1


class Split(Strict):
    """Shares of the samples, stratified by class and drawn once with `seed`. Where the source brings its own
    test set, that one is kept and only the validation share is drawn."""

    test: float = Field(default=0.2, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _leaves_training_samples(self) -> "Split":
        if self.test + self.validation > 0.9:
            raise ValueError(f"test {self.test} + validation {self.validation} leave under 10% to train on")
        return self


class DataSettings(Strict):
    """Where samples come from. `source` is a name in `pipeline.data.sources`; the other keys are its arguments."""

    source: str
    path: Path | None = None  # a folder or file, relative to the recipe
    test_path: Path | None = None  # the source's own test set
    name: str | None = None  # a data set's name on the Hugging Face hub
    config: str | None = None
    text_column: str = "text"
    image_column: str = "image"
    label_column: str = "label"
    where: dict[str, str] = Field(default_factory=dict)  # keep only rows whose column has this value
    limit: int | None = Field(default=None, ge=20)  # a stratified sample of this many
    split: Split = Split()


class ImageInput(Strict):
    """The student's input: RGB pixels, square."""

    size: int = Field(default=64, ge=16, le=1024, multiple_of=8)


class TextInput(Strict):
    """The student's input, in word pieces; longer texts are cut, and how many were is reported."""

    sequence_length: int = Field(default=64, ge=8, le=512)


class Augmentation(Strict):
    """Image views: shifted by up to `shift` of the side, mirrored. View v of sample i is the same for everyone who
    asks, so the student sees exactly what the teacher judged."""

    shift: float = Field(default=0.0, ge=0, le=0.5)
    mirror: bool = False

    @property
    def varies(self) -> bool:
        return self.shift > 0 or self.mirror


class Regularization(Strict):
    """What keeps a training from learning its samples by heart, and from running on or away.

    `ema`: the decay of a moving average of the weights, which is what is judged and kept. `patience`: epochs without
    a better validation accuracy after which training stops. `clip_norm`: the largest norm of all gradients together.
    `mixup`, `cutmix`: parameter of the Beta distribution that the share of the mixed images is drawn from; 0 mixes
    none, and with both set each batch takes one of them.
    """

    ema: float | None = Field(default=None, gt=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    clip_norm: float | None = Field(default=None, gt=0)
    mixup: float = Field(default=0.0, ge=0, le=10)
    cutmix: float = Field(default=0.0, ge=0, le=10)

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


class TeacherSettings(Strict):
    """Any timm image model, or any transformers sequence classifier by folder or name.

    `weights` is `hub` (the library's own download), `none`, a file or folder, or `package:NAME/GLOB`: a file inside
    an installed package. `epochs: 0` uses the teacher as it is.
    """

    model: str
    weights: str = "hub"
    input_size: int | None = Field(default=None, ge=16, le=1024)  # images are resized to it before the teacher
    epochs: int = Field(default=3, ge=0, le=1000)
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0, lt=1)
    batch_size: int = Field(default=64, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    freeze: Literal["none", "embeddings", "backbone"] = "none"
    augmentation: Augmentation = Augmentation()  # of images; each epoch sees another view
    regularization: Regularization = Regularization()


class StudentSettings(Strict):
    """A student by name; `width` scales MobileNets, the four counts shape a TinyBERT."""

    family: str
    width: float = Field(default=1.0, gt=0.1, le=2.0)
    weights: str = "none"  # as the teacher's
    layers: int = Field(default=4, ge=1, le=24)
    hidden: int | None = Field(default=None, ge=32, le=1024)  # None: the teacher's
    heads: int | None = Field(default=None, ge=1, le=16)
    feed_forward: int | None = Field(default=None, ge=32, le=4096)
    start: Literal["random", "embeddings", "layers"] = "random"  # what a TinyBERT takes from its teacher
    dropout: float | None = Field(default=None, ge=0, lt=1)  # before the classifier; of texts in the layers too

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> "StudentSettings":
        if self.hidden and self.heads and self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self


class Ramp(Strict):
    """A figure that goes from `start` to `end` over the training, in a straight line or by half a cosine."""

    start: float = Field(ge=0, le=100)
    end: float = Field(ge=0, le=100)
    shape: Literal["linear", "cosine"] = "linear"


class FeatureMatch(Strict):
    """One layer of the student learns from one of the teacher's, by the modules' names.

    `hint`: mean squared error after a learned projection (FitNets); `attention`: where the activation is large
    (attention transfer)."""

    student: str
    teacher: str
    loss: Literal["hint", "attention"] = "hint"
    weight: float = Field(default=1.0, gt=0)


class LayerLosses(Strict):
    """What a text student learns from its teacher's layers.

    `tinybert`: embeddings, hidden states and attention scores layer by layer, narrower students through one learned
    projection. `minilm`: relations between queries, keys and values of one teacher layer and the student's last.
    `layer_map`: the teacher's layers that the student's learn from, from 1; `uniform` spreads them evenly, `last`
    takes the teacher's last ones. The first `epochs` of the training, on top of `distill.epochs`, learn from layers
    alone (TinyBERT's first phase); then `weight` times their loss joins that of the answers.
    """

    method: Literal["tinybert", "minilm"] = "tinybert"
    layer_map: Literal["uniform", "last"] | tuple[int, ...] = "uniform"
    epochs: int = Field(default=0, ge=0, le=10000)
    weight: float = Field(default=0.0, ge=0)
    learning_rate: float | None = Field(default=None, gt=0, lt=1)  # of the first phase; None: the training's

    @model_validator(mode="after")
    def _has_an_effect(self) -> "LayerLosses":
        if self.epochs == 0 and self.weight == 0:
            raise ValueError("layers: give epochs (a first phase), weight (beside the answers), or both")
        return self


class DistillSettings(Strict):
    """Hinton et al. 2015: loss = alpha * soft target loss + (1 - alpha) * cross-entropy with labels.

    `loss` of the soft targets: `kl` (T^2 * KL of the softened answers), `mse` on logits, or `dist` (correlations).
    After the `epochs`, `hard_label_epochs` more learn from labels alone.
    """

    mode: Literal["cached", "online"] = "cached"
    loss: Literal["kl", "mse", "dist"] = "kl"
    temperature: float | Ramp = 4.0
    alpha: float | Ramp = 0.7
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
    compare_naive: bool = False

    @model_validator(mode="after")
    def _figures_in_range(self) -> "DistillSettings":
        for name, low, high in (("temperature", 1e-3, 100.0), ("alpha", 0.0, 1.0)):
            value = getattr(self, name)
            ends = (value.start, value.end) if isinstance(value, Ramp) else (value,)
            if not all(low <= end <= high for end in ends):
                raise ValueError(f"{name} is {' to '.join(f'{end:g}' for end in ends)}, expected {low:g} to {high:g}")
        return self


class PruneSettings(Strict):
    """Structured pruning: `macs` is the share of multiply-accumulates that is left. For a BERT, the heads and
    feed-forward units of each layer are thinned to that share."""

    macs: float = Field(default=1.0, gt=0.05, le=1.0)  # 1.0: no pruning
    round_to: int = Field(default=8, ge=1, le=64)
    recovery_epochs: int = Field(default=2, ge=0)
    learning_rate: float = Field(default=5e-4, gt=0, lt=1)


class CalibrationSettings(Strict):
    """Training samples for static INT8."""

    samples: int = Field(default=256, ge=1, le=100_000)
    method: Literal["minmax", "percentile", "entropy"] = "minmax"  # of onnxruntime; LiteRT's quantizer uses min-max
    seed: int = Field(default=0, ge=0)


class Recipe(Strict):
    schema_version: int = Field(default=SCHEMA, alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = ""
    task: Task
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)  # of training; None: torch's own choice
    targets: tuple[str, ...] = ()  # used when the command line names none
    data: DataSettings
    image: ImageInput = ImageInput()
    text: TextInput = TextInput()
    teacher: TeacherSettings
    student: StudentSettings
    distill: DistillSettings = DistillSettings()
    prune: PruneSettings = PruneSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    budgets: Budgets = Budgets()

    @model_validator(mode="after")
    def _known_schema_and_fitting_parts(self) -> "Recipe":
        if self.schema_version != SCHEMA:
            raise ValueError(f"schema {self.schema_version} is not known; this edgepress reads {SCHEMA}")
        image = self.task == "image-classification"
        for name, part in (("teacher", self.teacher), ("distill", self.distill)):
            if not image and part.augmentation.varies:
                raise ValueError(f"{name}.augmentation is for images; remove it from this text recipe")
            if not image and part.regularization.mixes:
                raise ValueError(f"{name}.regularization: mixup and cutmix are for images; remove them")
        if image and self.distill.layers is not None:
            raise ValueError("distill.layers is for texts; use distill.features for images")
        return self


def load_recipe(file: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe in `file` with `key.sub=value` overrides applied; paths in it are made absolute.

    Raises InputError for an override that is no `key=value`, TargetError for what is wrong in the file.
    """
    content = read_yaml(file)
    for override in overrides:
        _apply(content, override)
    _resolve_paths(content, file.parent)
    return parse(Recipe, content, str(file))


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override!r}: expected key=value, for example --set distill.epochs=5")
    *parents, last = key.strip().split(".")
    place = content
    for part in parents:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise InputError(f"--set {override!r}: '{part}' holds a value, not settings")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        place[last] = value


def _resolve_paths(content: dict[str, Any], folder: Path) -> None:
    data = content.get("data")
    if isinstance(data, dict):
        for key in ("path", "test_path"):
            if isinstance(data.get(key), str):
                data[key] = str((folder / Path(data[key]).expanduser()).resolve())
    for part in ("teacher", "student"):
        settings = content.get(part)
        if not isinstance(settings, dict):
            continue
        for key in ("model", "weights"):
            value = settings.get(key)
            if isinstance(value, str) and value.startswith((".", "/", "~")):
                settings[key] = str((folder / Path(value).expanduser()).resolve())
