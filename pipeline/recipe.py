"""A recipe says what is wanted: task, data, teacher, student, and how to distil, prune, quantize and judge.

It never names a device's details. Reading is strict: an unknown key is an error that names the nearest one.
"""

import copy
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from pipeline.errors import InputError
from pipeline.settings.data import DataSettings, ImageInput, TextInput
from pipeline.settings.distill import DistillSettings, Ramp
from pipeline.settings.licences import LicenceSettings
from pipeline.settings.peers import Peers
from pipeline.settings.prune import RECOVERING, PruneSettings
from pipeline.settings.release import CalibrationSettings, ExplainSettings, QuantizeSettings
from pipeline.settings.search import SearchSettings
from pipeline.settings.student import DEFAULT_FAMILIES, StudentSettings
from pipeline.settings.teacher import FILE_FORMATS, STORED, EnsembleSettings, TeacherSettings
from pipeline.settings.training import ComputeSettings
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
    tracking: str | None = None  # a tracker that Accelerate knows, such as tensorboard: curves of every training
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
    quantize: QuantizeSettings = QuantizeSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    explain: ExplainSettings | None = None  # None: nobody asks why
    budgets: Budgets = Budgets()
    peers: Peers = ()  # to which the report holds what was made
    licences: LicenceSettings = LicenceSettings()
    search: SearchSettings = SearchSettings()

    @model_validator(mode="before")
    @classmethod
    def _student_by_task(cls, content: Any) -> Any:
        family = DEFAULT_FAMILIES.get(str(content.get("task"))) if isinstance(content, dict) else None
        student = content.get("student", {}) if family else None
        if isinstance(student, dict) and "family" not in student:
            return {**content, "student": {"family": family, **student}}
        return content

    @model_validator(mode="before")
    @classmethod
    def _order_by_start(cls, content: Any) -> Any:
        """A student that starts as its teacher ends better if it is pruned before it is distilled: the default, where
        nothing is said of when, nor of what comes after."""
        if not isinstance(content, dict) or content.get("task") != "image-classification":
            return content
        student, prune = content.get("student"), content.get("prune")
        if not isinstance(student, dict) or not isinstance(prune, dict) or student.get("start") != "layers":
            return content
        told = prune.keys() & {"when", "sparsity", *RECOVERING}
        return content if told else {**content, "prune": {**prune, "when": "before"}}

    @model_validator(mode="after")
    def _known_schema_and_fitting_parts(self) -> "Recipe":
        if self.schema_version != SCHEMA:
            raise ValueError(f"schema {self.schema_version} is not known; this edgepress reads {SCHEMA}")
        image = self.task == "image-classification"
        if self.data.label_column is None:
            raise ValueError("data.label_column: name one; samples without labels stand under distill.transfer")
        if image and any(settings.split_sentences for settings in self.distill.transfer):
            raise ValueError("distill.transfer.split_sentences is for texts; remove it from this image recipe")
        for name, part in (("teacher", self.teacher), ("distill", self.distill)):
            if not image and part.augmentation.varies:
                raise ValueError(f"{name}.augmentation is for images; remove it from this text recipe")
            if not image and part.regularization.mixes:
                raise ValueError(f"{name}.regularization: mixup and cutmix are for images; remove them")
        for_images = [*self.quantize.repairs, *(["aware"] if self.quantize.aware is not None else [])]
        if not image and for_images:
            raise ValueError(f"quantize.{for_images[0]} is for convolutional networks; remove it from this text recipe")
        if not image and self.quantize.measured is not None:
            raise ValueError("quantize: sensitivity and max_drop are for convolutional networks; remove them")
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

    @model_validator(mode="after")
    def _stored_answers_fit(self) -> "Recipe":
        """Of a teacher that is elsewhere there are the answers that were exported, and no others."""
        for name, teacher in self.teachers.items():
            if teacher.stored and self.ensemble:
                raise ValueError(f"{name}: {teacher.model} is no member of an ensemble: export the ensemble's answers")
        if self.teacher.stored:
            if self.distill.mode != "cached":
                raise ValueError(
                    f"distill.mode {self.distill.mode} asks the teacher as it goes, {self.teacher.model} holds its "
                    "answers alone: use mode: cached"
                )
            if self.distill.transfer:
                raise ValueError(f"distill.transfer: {self.teacher.model} holds no answers to other samples; remove it")
            self._ask_for_logits_alone(self.teacher.model)
        return self

    @model_validator(mode="after")
    def _can_be_explained(self) -> "Recipe":
        explain = self.explain
        if explain is None:
            return self
        if self.task == "image-classification" and self.image.size % explain.grid:
            raise ValueError(f"explain.grid {explain.grid} does not divide image.size {self.image.size}")
        if self.task == "text-classification" and explain.grid != ExplainSettings().grid:
            raise ValueError("explain.grid is for images; remove it from this text recipe")
        files = [teacher.model for teacher in self.teachers.values() if teacher.file_format]
        if self.teacher.stored:
            raise ValueError(f"explain: {self.teacher.model} holds answers, no network to be explained; remove explain")
        if files and explain.method == "integrated_gradients":
            raise ValueError(f"explain: {files[0]} has no gradients; use method: occlusion")
        return self

    @model_validator(mode="after")
    def _can_be_pruned(self) -> "Recipe":
        prune = self.prune
        prune.refuse_for(self.task)
        if prune.layers is not None and prune.layers > self.student.layers:
            raise ValueError(f"prune.layers {prune.layers}: the student has {self.student.layers}")
        if prune.importance == "hessian" and prune.when == "after" and self.distill.loss == "dist":
            raise ValueError("prune.importance: hessian judges sample by sample, distill.loss: dist compares samples")
        if prune.when == "before" and prune.prunes:
            if self.student.weights == "none" and self.student.start == "random":
                raise ValueError(
                    "prune.when: before cuts what the student starts from, and it starts at random: give "
                    "student.weights (images) or student.start (texts), or use when: after"
                )
            if self.distill.layers is not None:
                raise ValueError("prune.when: before leaves other heads than distill.layers compares; use when: after")
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

    @model_validator(mode="after")
    def _search_fits(self) -> "Recipe":
        if self.search.space:
            from pipeline.search.space import check_space

            check_space(self, self.search.space)
        return self

    @property
    def teachers(self) -> dict[str, TeacherSettings]:
        """All of them by where they stand in the recipe."""
        more = self.ensemble.teachers if self.ensemble else ()
        return {"teacher": self.teacher, **{f"ensemble.teachers.{i}": teacher for i, teacher in enumerate(more)}}


def load_recipe(file: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe in `file` with `key.sub=value` overrides applied; paths in it are made absolute.

    Raises InputError for an override that is no `key=value`, TargetError for what is wrong in the file.
    """
    _, content = read_recipe(file, overrides)
    return parse(Recipe, content, str(file))


def read_recipe(file: Path, overrides: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `file` says but for the overrides: as it stands there, and with its paths made absolute. Not yet checked;
    raises what `load_recipe` raises."""
    content = read_yaml(file)
    for override in overrides:
        _apply(content, override)
    resolved = copy.deepcopy(content)
    _resolve_paths(resolved, file.parent)
    return content, resolved


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override!r}: expected key=value, for example --set distill.epochs=5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    try:
        set_setting(content, key.strip(), value)
    except InputError as error:
        raise InputError(f"--set {override!r}: {error}") from None


def set_setting(content: dict[str, Any], key: str, value: Any) -> None:
    """Sets `key` (`distill.epochs`; of a list by number: `distill.features.0.weight`) in the content of a recipe.
    Raises InputError where a part of the key holds no settings."""
    *parents, last = key.split(".")
    place: Any = content
    for part in parents:
        place = place[_number(place, part)] if isinstance(place, list) else place.setdefault(part, {})
        if not isinstance(place, (dict, list)):
            raise InputError(f"'{part}' holds a value, not settings")
    place[_number(place, last) if isinstance(place, list) else last] = value


def _number(items: list[Any], part: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        raise InputError(f"'{part}' is no number from 0 to {len(items) - 1} of that list")
    return int(part)


def _resolve_paths(content: dict[str, Any], folder: Path) -> None:
    _resolve_data(content.get("data"), folder)
    distill = content.get("distill")
    transfer = distill.get("transfer") if isinstance(distill, dict) else None
    for settings in transfer if isinstance(transfer, list) else (transfer,):
        _resolve_data(settings, folder)
    ensemble = content.get("ensemble")
    more = ensemble.get("teachers") if isinstance(ensemble, dict) else None
    for settings in (content.get("teacher"), content.get("student"), *(more if isinstance(more, list) else ())):
        if not isinstance(settings, dict):
            continue
        _resolve_data(settings.get("data"), folder)
        for key in ("model", "weights", "tokenizer"):
            value = settings.get(key)
            if isinstance(value, str):
                settings[key] = _absolute(value, folder)


def _resolve_data(data: Any, folder: Path) -> None:
    """`path` and `test_path` of a data set's settings, made absolute in place."""
    if isinstance(data, dict):
        for key in ("path", "test_path"):
            if isinstance(data.get(key), str):
                data[key] = str((folder / Path(data[key]).expanduser()).resolve())


def _absolute(reference: str, folder: Path) -> str:
    """A path relative to `folder` made absolute; package files and names on a hub stay."""
    start, colon, path = reference.partition(":")
    if colon and start in (*FILE_FORMATS, STORED):
        return reference if path.startswith("package:") else f"{start}:{(folder / Path(path).expanduser()).resolve()}"
    if reference.startswith((".", "/", "~")):
        return str((folder / Path(reference).expanduser()).resolve())
    return reference
