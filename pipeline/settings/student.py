"""What a recipe says of the student's shape."""

from typing import Literal

from pydantic import Field, model_validator

from targets.strict import Strict


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
    from_layers: tuple[int, ...] | None = None  # the teacher's, from 1, that it starts from; None: evenly spread
    dropout: float | None = Field(default=None, ge=0, lt=1)  # before the classifier; of texts in the layers too

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
