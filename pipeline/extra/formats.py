"""Which formats can be had beside those of a target's runtimes, in which schemes, and with which packages."""

import importlib.util
from dataclasses import dataclass

from pipeline.errors import InputError
from targets.profile import ExtraFormat, Profile, Quantization
from targets.schemes import Scheme


@dataclass(frozen=True)
class Extra:
    """`module`: what makes the files; it comes with edgepress's extra of the format's name. None where nothing more is
    needed. `schemes`: those of targets for which they can be made; None: all."""

    suffix: str
    module: str | None = None
    schemes: tuple[Scheme, ...] | None = None


EXTRAS: dict[ExtraFormat, Extra] = {
    "ort": Extra("ort"),
    "executorch": Extra("pte", "executorch", ("float32",)),
    "coreml": Extra("mlpackage", "coremltools", ("float32", "float16")),
}


def refuse_unfit(profile: Profile, quantization: Quantization) -> None:
    """Raises InputError for a format that the target asks for and that can't be made, with the reason."""
    for name in profile.export.extra_formats:
        extra = EXTRAS[name]
        if extra.schemes is not None and quantization.scheme not in extra.schemes:
            raise InputError(
                f"target {profile.id} asks for {name}, which is made in {' or '.join(extra.schemes)}, its scheme is "
                f"{quantization.scheme}: leave {name} out of export.extra_formats, or give it a target of its own in "
                "such a scheme"
            )
        if extra.module is not None and importlib.util.find_spec(extra.module) is None:
            raise InputError(
                f"target {profile.id} asks for {name}, which needs {extra.module}: pip install 'edgepress[{name}]', or "
                "leave it out of export.extra_formats"
            )


def extra_names(profile: Profile, label: str) -> list[str]:
    """Names of the files that a target gets beside those of its runtimes, in a scheme by its label."""
    return [f"model.{label}.{EXTRAS[name].suffix}" for name in profile.export.extra_formats]
