"""What a recipe says of the student's shape."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from targets.strict import Strict

# The student of a recipe that names none.
DEFAULT_FAMILIES = {"image-classification": "mobilenetv4_conv_small", "text-classification": "tinybert"}

Adapted = Literal["auto", "hard-swish", "hard-sigmoid", "gelu"]


class StudentSettings(Strict):
    """A student by name; `width` scales the channels of images' networks, the four counts shape a TinyBERT, `hidden`,
    `embedding` and `kernels` a BiLSTM and a text CNN. What a family does not take is refused by
    `pipeline.student.check_student`.

    `start: layers` gives it the layers of its teacher: a TinyBERT some of them, of an image network all, where the
    student is the teacher's network.

    `adapt`: operators that others replace in this student from its start, so that it is trained with those
    (`pipeline.students.adapt`); `auto`: those that the targets ban."""

    family: str
    width: float = Field(default=1.0, gt=0.1, le=2.0)
    weights: str = "none"  # as the teacher's
    adapt: tuple[Adapted, ...] = ()
    layers: int = Field(default=4, ge=1, le=24)
    hidden: int | None = Field(default=None, ge=32, le=1024)  # None: the teacher's; a BiLSTM's states, a CNN's filters
    heads: int | None = Field(default=None, ge=1, le=16)
    feed_forward: int | None = Field(default=None, ge=32, le=4096)
    embedding: int | None = Field(default=None, ge=8, le=1024)  # None: 300, or the teacher's where they are narrower
    kernels: tuple[int, ...] = Field(default=(3, 4, 5), min_length=1, max_length=8)  # word pieces that a window sees
    start: Literal["random", "embeddings", "layers"] = "random"  # what it takes from its teacher
    from_layers: tuple[int, ...] | None = None  # the teacher's, from 1, that it starts from; None: evenly spread
    dropout: float | None = Field(default=None, ge=0, lt=1)  # before the classifier; of a TinyBERT in the layers too

    @field_validator("adapt", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _adapted_once(self) -> "StudentSettings":
        if "auto" in self.adapt and len(self.adapt) > 1:
            raise ValueError("adapt: auto finds the operators itself; name it alone, or name operators alone")
        if len(set(self.adapt)) != len(self.adapt):
            raise ValueError(f"adapt names an operator twice: {', '.join(self.adapt)}")
        return self

    @model_validator(mode="after")
    def _kernels_differ(self) -> "StudentSettings":
        if not all(1 <= size <= 16 for size in self.kernels) or len(set(self.kernels)) != len(self.kernels):
            raise ValueError(f"kernels {list(self.kernels)}: expected different sizes of 1 to 16 word pieces")
        return self

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> "StudentSettings":
        if self.hidden and self.heads and self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self

    @model_validator(mode="after")
    def _layers_to_start_from(self) -> "StudentSettings":
        chosen = self.from_layers
        if chosen is None:
            return self
        if self.start != "layers":
            raise ValueError(f"from_layers is for start: layers, found start: {self.start}")
        if len(chosen) != self.layers:
            raise ValueError(f"from_layers names {len(chosen)} layers, the student has {self.layers}: give layers too")
        if chosen[0] < 1 or sorted(set(chosen)) != list(chosen):
            raise ValueError(f"from_layers {list(chosen)}: expected rising numbers from 1")
        return self
