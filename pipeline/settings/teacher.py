"""What a recipe says of the teacher, or of several."""

from typing import Literal, get_args

from pydantic import Field, model_validator

from pipeline.settings.data import Augmentation, DataSettings
from pipeline.settings.training import Regularization
from targets.strict import Strict

FileFormat = Literal["onnx", "keras"]
FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
STORED = "cache"  # a teacher of which only answers are there: cache:FOLDER


class TeacherSettings(Strict):
    """Any timm image model, any transformers sequence classifier by folder or name, or a file of another framework.

    `weights` is `hub` (the library's own download), `none`, a file or folder, or `package:NAME/GLOB`: a file inside
    an installed package. `epochs: 0` uses the teacher as it is.

    `model: onnx:FILE` or `keras:FILE` (.keras, .h5, or a SavedModel's folder) is used as it is: `epochs: 0` must be
    said. Its inputs are pixels 0..255, less `mean` and by `std` where given; a text one needs its `tokenizer`. Its
    `outputs` are logits or probabilities, by `auto` what its answers look like.

    `model: cache:FOLDER` is what `edgepress cache export` wrote of a teacher that is elsewhere: its answers, in
    mode cached; `epochs: 0` must be said.

    `data`: labelled samples of another domain, of the same classes, on which it is fine-tuned instead.
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
    mean: tuple[float, float, float] | None = None  # of red, green and blue, in pixels 0..255
    std: tuple[float, float, float] | None = None
    tokenizer: str | None = None  # a folder, a name on the hub, or package:NAME/FOLDER
    outputs: Literal["auto", "logits", "probabilities"] = "auto"
    weight: float = Field(default=1.0, gt=0, le=1000)  # its say among the teachers of an ensemble
    data: DataSettings | None = None

    @model_validator(mode="after")
    def _own_data_is_learnt_from(self) -> "TeacherSettings":
        if self.data is None:
            return self
        if self.epochs == 0:
            raise ValueError("data is what the teacher is fine-tuned on, with epochs: 0 it is used as it is: remove it")
        if self.data.label_column is None:
            raise ValueError("data.label_column: a teacher learns from labels; name their column")
        if self.data.group_column is not None:
            raise ValueError("data.group_column: groups are audited on the recipe's own data; remove it here")
        return self

    @property
    def file_format(self) -> FileFormat | None:
        """Of a teacher that is a file of another framework; None for PyTorch's."""
        return next((form for form in FILE_FORMATS if self.model.startswith(f"{form}:")), None)

    @property
    def stored(self) -> bool:
        """Whether only its answers are there."""
        return self.model.startswith(f"{STORED}:")

    @model_validator(mode="after")
    def _stored_answers_stay(self) -> "TeacherSettings":
        if self.stored:
            if self.epochs:
                raise ValueError(f"epochs is {self.epochs}: {STORED}: teachers are answers alone, give epochs: 0")
            if self.weights != "hub" or self.input_size is not None or self.freeze != "none":
                raise ValueError(f"{STORED}: teachers are answers alone: remove weights, input_size and freeze")
        return self

    @model_validator(mode="after")
    def _file_settings_are_for_files(self) -> "TeacherSettings":
        form = self.file_format
        if form is None:
            given = [name for name in ("mean", "std", "tokenizer") if getattr(self, name) is not None]
            given += ["outputs"] if self.outputs != "auto" else []
            if given:
                raise ValueError(f"{given[0]} is for onnx: and keras: teachers; {self.model} brings its own")
            return self
        if self.epochs:
            raise ValueError(f"epochs is {self.epochs}: {form}: teachers are used as they are, give epochs: 0")
        if self.weights != "hub":
            raise ValueError(f"weights is {self.weights}: {form}: teachers hold their own, remove it")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both or none")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std is {list(self.std)}, expected numbers above 0")
        return self


class EnsembleSettings(Strict):
    """`teachers` besides the recipe's `teacher`: together they are the one that the student learns from.

    Its answer is the mean of theirs as probabilities softened at `temperature` (None: the distillation's). By
    `combine` a teacher counts with its `weight` (`weighted`), with its weight times how sure it is of the sample
    (`confidence`), or with a weight fitted on the validation split (`learned`).
    """

    teachers: tuple[TeacherSettings, ...] = Field(min_length=1)
    combine: Literal["weighted", "confidence", "learned"] = "weighted"
    temperature: float | None = Field(default=None, ge=1e-3, le=100)
