"""How the teacher's answers are kept: a part of a recipe."""

from typing import Literal

from pydantic import Field

from targets.strict import Strict


class CacheSettings(Strict):
    """How the teacher's answers are kept, where they are. `dtype` of the logits; float16 halves them.

    `top_k`: only so many of the largest, with their classes; all other classes share what is left evenly at the
    distillation's temperature (Shen and Xing 2022). `shard`: samples in a file; a killed pass goes on after the last
    whole one. `hidden`: what `features` and `layers` look at in the teacher is kept too, so that it is not run while
    the student learns.
    """

    dtype: Literal["float32", "float16"] = "float32"
    top_k: int | None = Field(default=None, ge=1)
    shard: int = Field(default=4096, ge=1, le=1_000_000)
    hidden: bool = False

    def refuse_unless_it_serves(
        self, mode: str, loss: str, one_temperature: bool, looks_inside: bool, mixes_images: bool
    ) -> None:
        """Raises ValueError where a distillation of these settings could not learn from what is kept."""
        if mode == "online" and self != CacheSettings():
            raise ValueError("mode online asks the teacher in every step and keeps nothing: remove distill.cache")
        if self.top_k is not None:
            if mode == "mixed":
                raise ValueError("cache.top_k is for mode cached: mixed keeps whole answers; remove it, or use float16")
            if loss != "kl":
                raise ValueError(f"loss {loss} compares all classes: use kl, or remove cache.top_k")
            if not one_temperature:
                raise ValueError("cache.top_k keeps answers of one temperature: give temperature a number")
        if self.hidden:
            if mode != "cached":
                raise ValueError(
                    "cache.hidden is for mode cached: mixed shows views of which nothing is kept; remove it"
                )
            if not looks_inside:
                raise ValueError("cache.hidden keeps what features and layers look at: give some, or remove it")
            if mixes_images:
                raise ValueError("cache.hidden knows no mixed images: remove it, or regularization's mixup and cutmix")
