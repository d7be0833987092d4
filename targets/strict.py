"""YAML read strictly into pydantic models: an unknown key, a wrong type or a value out of range is one
error that names the place and, for a misspelt key, the nearest right one."""

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from targets.errors import TargetError

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """Base of every settings class: frozen, finite numbers, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key that stands twice is an error: plain YAML would drop the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key '{twice}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises TargetError if it can't be read or is no mapping."""
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - it is a SafeLoader
    except FileNotFoundError:
        raise TargetError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{file}: can't be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise TargetError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise TargetError(f"{file}: found {type(content).__name__}, expected a mapping of settings")
    return content


def parse(model: type[M], content: dict[str, Any], origin: str) -> M:
    """`content` as a `model`. Raises TargetError that lists every wrong setting with its place."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_explain(model, dict(problem)) for problem in error.errors()]
        raise TargetError(f"{origin}: " + "; ".join(lines)) from None


def _explain(model: type[BaseModel], problem: dict[str, Any]) -> str:
    # A part in brackets is the name of one form of a setting that may be written in several.
    place = [part for part in map(str, problem["loc"]) if not part.startswith("(")]
    name = ".".join(place) or "(top level)"
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, place[:-1])
        near = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(sorted(known))}"
        return f"unknown key '{name}': {hint}"
    if problem["type"] == "missing":
        return f"'{name}' is missing"
    found = problem.get("input")
    shown = "" if isinstance(found, dict) else f" (found {found!r})"
    return f"'{name}': {problem['msg'].removeprefix('Value error, ')}{shown}"


def _keys_at(model: type[BaseModel], place: list[str]) -> list[str]:
    current: type[BaseModel] = model
    for part in place:
        field = current.model_fields.get(part)
        nested = model_in(field.annotation) if field else None
        current = nested or current  # a list index keeps the model of its items
    return [field.alias or name for name, field in current.model_fields.items()]


def model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := model_in(inner))), None)
