"""What a recipe says of licences."""

from pydantic import Field, field_validator

from targets.strict import Strict


class LicenceSettings(Strict):
    """Under which licences what goes into the model may be used, for the model card and the SBOM: SPDX expressions
    (`Apache-2.0`, `MIT OR CC-BY-4.0`), or a name of your own. Left out, it is what packages and data sets state of
    themselves; what nobody states is told as unknown. `model` is the licence that you release the model under."""

    model: str | None = Field(default=None, min_length=1, max_length=200)
    data: str | None = Field(default=None, min_length=1, max_length=200)
    teacher: str | None = Field(default=None, min_length=1, max_length=200)  # of the weights of all teachers
    student: str | None = Field(default=None, min_length=1, max_length=200)  # of the weights that it starts from
    transfer: str | None = Field(default=None, min_length=1, max_length=200)  # of all samples without labels

    @field_validator("*")
    @classmethod
    def _one_line(cls, text: str | None) -> str | None:
        if text is not None and (not text.isprintable() or not text.strip()):
            raise ValueError("expected an SPDX expression or a name, on one line")
        return text
