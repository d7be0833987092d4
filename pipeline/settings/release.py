"""What a recipe says of quantization and calibration, and of explaining what was made."""

from typing import Literal

from pydantic import Field, model_validator

from targets.profile import Scheme
from targets.strict import Strict


class AwareSettings(Strict):
    """Quantization-aware training of the student for targets that ask for static INT8: so many `epochs` more, taught
    by the recipe's `teacher` as before, or by the float `student`."""

    epochs: int = Field(default=2, ge=1, le=1000)
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    teacher: Literal["teacher", "student"] = "teacher"


class SensitivitySettings(Strict):
    """What each layer costs in 8 bits by itself, over so many `samples` of the validation split."""

    samples: int = Field(default=256, ge=10, le=100_000)


class QuantizeSettings(Strict):
    """What is done for the accuracy of static INT8 files; by default the student is quantized as it is.

    `scheme`: another one than the target's profile asks for, of those that the target takes; None: the profile's.

    Repairs without training, in this order. `equalize`: channels between two convolutions fill the range that they
    share. `round`: each weight goes to the `nearest` of its 255 levels, or `adaround` learns whether it goes up or
    down. `correct_biases`: takes back what rounding shifts in the mean of each channel.

    `max_drop`: points that a file may be less accurate than the float file, on the validation split; as few layers as
    that takes stay in float. It needs their `sensitivity`, which may be asked for by itself.
    """

    scheme: Scheme | None = None
    equalize: bool = False
    round: Literal["nearest", "adaround"] = "nearest"
    correct_biases: bool = False
    aware: AwareSettings | None = None
    sensitivity: SensitivitySettings | None = None
    max_drop: float | None = Field(default=None, ge=0, le=100)

    @property
    def measured(self) -> SensitivitySettings | None:
        """How sensitivity is measured; None where nobody asks."""
        return self.sensitivity or (None if self.max_drop is None else SensitivitySettings())

    @property
    def repairs(self) -> tuple[str, ...]:
        """What is repaired without training, by the settings' names."""
        asked = {"equalize": self.equalize, "round": self.round != "nearest", "correct_biases": self.correct_biases}
        return tuple(name for name, wanted in asked.items() if wanted)

    @model_validator(mode="after")
    def _trained_or_repaired(self) -> "QuantizeSettings":
        learned = {"equalize": "ranges", "round": "weights", "correct_biases": "biases"}
        if self.aware is not None and self.repairs:
            name = self.repairs[0]
            raise ValueError(f"{name}: quantize.aware learns its {learned[name]}; remove one of the two")
        return self


class CalibrationSettings(Strict):
    """Training samples for static INT8, and what is made of them; one calibration serves ONNX and TFLite alike.

    `select`: `stratified` by class, `random`, by `coverage` (those that leave no other far away in the space of the
    features that the student's last layer takes) or by the teacher's `uncertainty` (most uncertain first); the last
    two choose among 4,096 drawn at random. `settle`: `samples` is then a limit, and fewer are taken if two chunks of
    samples in a row move the ranges by less than this share of their width.
    """

    samples: int = Field(default=256, ge=1, le=100_000)
    select: Literal["stratified", "random", "coverage", "uncertainty"] = "stratified"
    method: Literal["minmax", "moving_average", "percentile", "entropy", "mse"] = "minmax"
    settle: float | None = Field(default=None, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)


class ExplainSettings(Strict):
    """Whether teacher and student decide for the same reasons: their attributions of `samples` test samples, drawn with
    `seed` and stratified by class, compared (`pipeline.explanation.explain`).

    `integrated_gradients` adds up gradients in `steps` steps from nothing to the input; `occlusion` takes away a square
    of `window` cells, or `window` word pieces, at a time and needs no gradients. Attributions of images are summed over
    `grid` x `grid` cells. `top` is the share of the input that counts as what decided most.
    """

    samples: int = Field(default=64, ge=10, le=100_000)
    method: Literal["integrated_gradients", "occlusion"] = "integrated_gradients"
    steps: int = Field(default=64, ge=8, le=1000)
    window: int = Field(default=1, ge=1, le=64)
    grid: int = Field(default=8, ge=2, le=64)
    top: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _settings_of_the_method(self) -> "ExplainSettings":
        other = {"integrated_gradients": "window", "occlusion": "steps"}[self.method]
        if other in self.model_fields_set and getattr(self, other) != type(self).model_fields[other].default:
            raise ValueError(f"{other} is no setting of method {self.method}; remove it")
        if self.window > self.grid:
            raise ValueError(f"window {self.window} is wider than the grid of {self.grid} cells")
        return self
