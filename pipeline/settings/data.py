"""What a recipe says of data, inputs and views."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from targets.strict import Strict


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
    label_column: str | None = "label"  # None: samples without labels, which only a transfer set may be
    where: dict[str, str] = Field(default_factory=dict)  # keep only rows whose column has this value
    group_column: str | None = None  # of the groups that are audited; None: bins of text length, brightness, contrast
    limit: int | None = Field(default=None, ge=20)  # a stratified sample of this many
    split: Split = Split()

    @model_validator(mode="after")
    def _groups_are_not_the_classes(self) -> "DataSettings":
        if self.group_column is not None and self.group_column == self.label_column:
            raise ValueError(f"group_column '{self.group_column}' holds the labels, and classes are audited anyway")
        return self


class TransferSettings(Strict):
    """Samples that only the teacher judges: a source as under `data`, whose labels, if it has any, are not read.

    Of a source with a test set the training part is taken; an image folder needs no folders for classes.
    `split_sentences`: long texts are cut by `pipeline.data.sentences`. `limit`: so many samples, or sentences, drawn
    with `seed`.
    """

    source: str
    path: Path | None = None
    name: str | None = None
    config: str | None = None
    text_column: str = "text"
    image_column: str = "image"
    where: dict[str, str] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    split_sentences: bool = False


class ImageInput(Strict):
    """The student's input: RGB pixels, square."""

    size: int = Field(default=64, ge=16, le=1024, multiple_of=8)


class TextInput(Strict):
    """The student's input, in word pieces; longer texts are cut, and how many were is reported.

    `vocabulary: task` leaves the trained student only the word pieces that its training texts hold at least
    `least_count` times, special tokens, and the whole alphabet, from which other words are spelt; nothing is trained
    again.
    """

    sequence_length: int = Field(default=64, ge=8, le=512)
    vocabulary: Literal["full", "task"] = "full"
    least_count: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _counts_for_a_task(self) -> "TextInput":
        if self.least_count > 1 and self.vocabulary == "full":
            raise ValueError(f"least_count {self.least_count} is for vocabulary: task; the full one keeps every piece")
        return self


class RandAugment(Strict):
    """Cubuk et al. 2020: so many operations, drawn for each image from rotation, shear, shift, colour, contrast and
    the like, at a common magnitude (of torchvision's 31 steps)."""

    operations: int = Field(default=0, ge=0, le=8)
    magnitude: int = Field(default=9, ge=0, le=30)


class Augmentation(Strict):
    """Image views: through RandAugment, shifted by up to `shift` of the side, mirrored. View v of sample i is the same
    for everyone who asks, so the student sees exactly what the teacher judged."""

    shift: float = Field(default=0.0, ge=0, le=0.5)
    mirror: bool = False
    randaugment: RandAugment = RandAugment()

    @property
    def varies(self) -> bool:
        return self.shift > 0 or self.mirror or self.randaugment.operations > 0
