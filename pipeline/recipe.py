"""A recipe says what is wanted: task, data, teacher, student, and how to distil, prune, quantize and judge.

It never names a device's details. Reading is strict: an unknown key is an error that names the nearest one.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from pipeline.errors import InputError
from pipeline.settings import (
    FILE_FORMATS,
    CalibrationSettings,
    ComputeSettings,
    DataSettings,
    DistillSettings,
    EnsembleSettings,
    ImageInput,
    PruneSettings,
    Ramp,
    StudentSettings,
    TeacherSettings,
    TextInput,
)
from targets.profile import Budgets, Task
from targets.strict import Strict, parse, read_yaml

SCHEMA = 1


class Recipe(Strict):
    schema_version: int = Field(default=SCHEMA, alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = ""
    task: Task
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)  # of training; None: torch's own choice
    targets: tuple[str, ...] = ()  # used when the command line names none
    compute: ComputeSettings = ComputeSettings()
    data: DataSettings
    image: ImageInput = ImageInput()
    text: TextInput = TextInput()
    teacher: TeacherSettings
    ensemble: EnsembleSettings | None = None
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
        if image and self.text.vocabulary != "full":
            raise ValueError("text.vocabulary is for texts; remove it from this image recipe")
        if image and self.distill.layers is not None:
            raise ValueError("distill.layers is for texts; use distill.features for images")
        layers = self.distill.layers
        if layers is not None and layers.method == "tinybert" and isinstance(layers.layer_map, tuple):
            named = len(layers.layer_map)
            for learner in (self.student, *self.distill.assistants):
                if named != learner.layers:
                    raise ValueError(f"distill.layers.layer_map names {named} layers, a student has {learner.layers}")
        return self

    @model_validator(mode="after")
    def _compiles_what_none_looks_into(self) -> "Recipe":
        if self.compute.compile and (self.distill.features or self.distill.layers is not None):
            raise ValueError(
                "compute.compile hides the layers that distill.features and distill.layers need; remove it"
            )
        return self

    @model_validator(mode="after")
    def _teachers_fit(self) -> "Recipe":
        image = self.task == "image-classification"
        for name, teacher in self.teachers.items():
            if not image and (teacher.augmentation.varies or teacher.regularization.mixes):
                raise ValueError(f"{name}: augmentation, mixup and cutmix are for images; remove them")
            if not image and teacher.mean is not None:
                raise ValueError(f"{name}: mean and std are for images; remove them")
            if image and teacher.tokenizer is not None:
                raise ValueError(f"{name}: tokenizer is for texts; remove it")
            if not image and teacher.file_format and teacher.tokenizer is None:
                raise ValueError(f"{name}: {teacher.model} brings no tokenizer; give tokenizer: FOLDER")
        weighed = [name for name, teacher in self.teachers.items() if teacher.weight != 1]
        if weighed and (self.ensemble is None or self.ensemble.combine == "learned"):
            reason = "there is one teacher" if self.ensemble is None else "ensemble.combine: learned fits the weights"
            raise ValueError(f"{weighed[0]}: {reason}; remove weight")
        if self.ensemble and self.ensemble.temperature is None and isinstance(self.distill.temperature, Ramp):
            raise ValueError("ensemble.temperature: give one, since distill.temperature changes during training")
        if self.ensemble or self.teacher.file_format:
            self._ask_for_logits_alone("an ensemble" if self.ensemble else self.teacher.model)
        return self

    def _ask_for_logits_alone(self, teacher: str) -> None:
        first = (*self.distill.assistants, self.student)[0]  # the others start from the one before
        deep = {
            "distill.features": bool(self.distill.features),
            "distill.layers": self.distill.layers is not None,
            f"start: {first.start}": first.start != "random",
        }
        for name, used in deep.items():
            if used:
                raise ValueError(f"{name} needs the layers of one PyTorch teacher; {teacher} gives logits alone")

    @property
    def teachers(self) -> dict[str, TeacherSettings]:
        """All of them by where they stand in the recipe."""
        more = self.ensemble.teachers if self.ensemble else ()
        return {"teacher": self.teacher, **{f"ensemble.teachers.{i}": teacher for i, teacher in enumerate(more)}}


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
    ensemble = content.get("ensemble")
    more = ensemble.get("teachers") if isinstance(ensemble, dict) else None
    for settings in (content.get("teacher"), content.get("student"), *(more if isinstance(more, list) else ())):
        if not isinstance(settings, dict):
            continue
        for key in ("model", "weights", "tokenizer"):
            value = settings.get(key)
            if isinstance(value, str):
                settings[key] = _absolute(value, folder)


def _absolute(reference: str, folder: Path) -> str:
    """A path relative to `folder` made absolute; package files and names on a hub stay."""
    start, colon, path = reference.partition(":")
    if colon and start in FILE_FORMATS:
        return reference if path.startswith("package:") else f"{start}:{(folder / Path(path).expanduser()).resolve()}"
    if reference.startswith((".", "/", "~")):
        return str((folder / Path(reference).expanduser()).resolve())
    return reference
