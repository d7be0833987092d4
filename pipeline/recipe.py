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

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> "StudentSettings":
        if self.hidden and self.heads and self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self


class DistillSettings(Strict):
    """Hinton et al. 2015: loss = alpha * T^2 * KL(teacher_T || student_T) + (1 - alpha) * cross-entropy."""

    mode: Literal["cached", "online"] = "cached"
    temperature: float = Field(default=4.0, gt=0, le=100)
    alpha: float = Field(default=0.7, ge=0, le=1)
    epochs: int = Field(default=10, ge=1, le=10000)
    learning_rate: float = Field(default=2e-3, gt=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0, lt=1)
    batch_size: int = Field(default=64, ge=1)
    views: int = Field(default=1, ge=1, le=64)  # augmented views of each sample; epoch e sees view e mod views
    augmentation: Augmentation = Augmentation()
    compare_naive: bool = False


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
        augmented = self.teacher.augmentation.varies or self.distill.augmentation.varies
        if self.task == "text-classification" and augmented:
            raise ValueError("augmentation is for images; remove it from this text recipe")
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
