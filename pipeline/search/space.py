"""What a search varies: settings of the recipe by dotted keys, checked before anything runs, and a space of its own for
recipes that name none."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from pipeline.errors import InputError
from pipeline.recipe import Recipe, set_setting
from pipeline.settings.distill import Ramp
from pipeline.settings.search import Hyperparameter
from pipeline.student import student_family
from targets.errors import TargetError
from targets.strict import model_in, parse

Space = Mapping[str, Hyperparameter]

# All else stays as it is, so that one data set, one teacher and one cache of its answers serve every trial; of
# image.size, all trials of one size.
SEARCHED = (
    "student",
    "distill",
    "prune",
    "quantize",
    "calibration",
    "text.vocabulary",
    "text.least_count",
    "image.size",
)

DIGITS = 4  # significant, of the numbers that trials use: a recipe that a person reads


def check_space(recipe: Recipe, space: Space) -> None:
    """Raises ValueError for a key that the recipe has not or a search may not change, and for a range or choice that
    makes a wrong recipe."""
    for key, parameter in space.items():
        kind = number_type(key)
        wholes = [other for other in space if key.startswith(f"{other}.")]
        if wholes:
            raise ValueError(f"search.space: '{key}' is a part of '{wholes[0]}': search one of them")
        if parameter.choices is None:
            if kind is None:
                raise ValueError(f"search.space: '{key}' is no number: give choices instead of low and high")
            for end in parameter.ends:
                if kind is int and not end.is_integer():
                    raise ValueError(f"search.space: '{key}' takes whole numbers, found {end:g}")
        _check_condition(key, space)
        if key == "image.size":
            _check_sizes(recipe, parameter)
        for value in outermost(key, parameter):
            try:
                with_values(recipe, {key: value}, left_out(space, {key: value}))
            except (InputError, TargetError) as error:
                raise ValueError(f"search.space: {error}") from None


def _check_condition(key: str, space: Space) -> None:
    for other, wanted in (space[key].when or {}).items():
        known = space[other].choices if other in space else None
        if known is None or space[other].when is not None:
            raise ValueError(
                f"search.space: '{key}' is drawn when '{other}' is one of some choices: give that one choices in the "
                "space, and no `when` of its own"
            )
        unknown = [value for value in wanted if value not in known]
        if unknown or not wanted:
            found = ", ".join(map(str, unknown)) or "nothing"
            raise ValueError(
                f"search.space: '{key}' is drawn when '{other}' is {found}, its choices are "
                f"{', '.join(map(str, known))}"
            )


def _check_sizes(recipe: Recipe, parameter: Hyperparameter) -> None:
    if recipe.task != "image-classification":
        raise ValueError("search.space: image.size is for images; remove it from this text recipe")
    if recipe.teacher.stored:
        raise ValueError(f"search.space: image.size: {recipe.teacher.model} holds answers of one size; remove it")
    if parameter.choices is None:
        raise ValueError("search.space: image.size: give choices, each size has data and a teacher cache of its own")


def left_out(space: Space, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of the space whose condition one of `values` rules out."""

    def ruled_out(parameter: Hyperparameter) -> bool:
        return any(key in values and values[key] not in wanted for key, wanted in (parameter.when or {}).items())

    return tuple(key for key, parameter in space.items() if ruled_out(parameter))


def with_values(recipe: Recipe, values: Mapping[str, Any], left_out: Iterable[str] = ()) -> Recipe:
    """The recipe with other values for some of its settings, by dotted keys, and without its search; those `left_out`
    have their defaults. Raises InputError or TargetError where they do not fit."""
    content = recipe.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"search"})
    for key in left_out:
        remove_setting(content, key)
    for key, value in values.items():
        try:
            set_setting(content, key, value)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
    return parse(Recipe, content, "with " + ", ".join(f"{key} {value}" for key, value in values.items()))


def remove_setting(content: dict[str, Any], key: str) -> None:
    """Leaves the setting `key` of a recipe's content to its default."""
    *parents, last = key.split(".")
    place: Any = content
    for part in parents:
        place = place.get(part) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place.pop(last, None)


def outermost(key: str, parameter: Hyperparameter) -> tuple[Any, ...]:
    """Every choice, or the two ends of a range."""
    if parameter.choices is not None:
        return parameter.choices
    kind = number_type(key) or float
    return tuple(kind(end) for end in parameter.ends)


def rounded(value: float, parameter: Hyperparameter) -> float:
    """A number from within the range to `DIGITS` digits, and still within it."""
    low, high = parameter.ends
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)


def value_of(recipe: Recipe, key: str) -> Any:
    """What the recipe says, or leaves to the default; None where a part of the key is not there."""
    place: Any = recipe.model_dump(mode="json", by_alias=True)
    for part in key.split("."):
        if not isinstance(place, (dict, list)):
            return None
        place = place[int(part)] if isinstance(place, list) else place.get(part)
    return place


def number_type(key: str) -> type[int] | type[float] | None:
    """int or float where that is what the setting `key` takes (others may be allowed besides). Raises ValueError for a
    key that is no setting which can be searched."""
    if not any(key == part or key.startswith(f"{part}.") for part in SEARCHED):
        part = key.split(".")[0]
        hint = "" if part in Recipe.model_fields else _nearest(part, [known.split(".")[0] for known in SEARCHED])
        reason = hint or ": trials share data and teacher"
        raise ValueError(f"search.space: '{key}'{reason}; searched are {', '.join(SEARCHED)}")
    model: type[BaseModel] | None = Recipe
    annotation: Any = None
    for part in key.split("."):
        if part.isdecimal():
            continue  # one of a list, whose model stays
        fields = {field.alias or name: field for name, field in model.model_fields.items()} if model else {}
        if part not in fields:
            known = f"; known there: {', '.join(sorted(fields))}" if fields else " holds no settings"
            raise ValueError(f"search.space: unknown key '{key}'{_nearest(part, list(fields)) or known}")
        annotation = fields[part].annotation
        model = model_in(annotation)
    kinds = set(_kinds(annotation))
    return float if float in kinds else int if int in kinds else None


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else ""


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that stand for themselves in an annotation: not those inside of tuples."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        yield annotation
    elif get_origin(annotation) not in (tuple, Literal):
        for part in get_args(annotation):
            yield from _kinds(part)


def default_space(recipe: Recipe) -> dict[str, Hyperparameter]:
    """The settings that decide most in what this recipe uses: temperature and alpha, the learning rate, the weights of
    its losses from inside the teacher, the student's width or its counts; around the recipe's own values."""
    distill, student = recipe.distill, recipe.student
    space: dict[str, Hyperparameter] = {}
    if distill.loss != "mse":  # which knows no temperature
        space[_start("distill.temperature", distill.temperature)] = Hyperparameter(low=1, high=8, log=True)
    space[_start("distill.alpha", distill.alpha)] = Hyperparameter(low=0.1, high=0.95)
    space["distill.learning_rate"] = _around(distill.learning_rate, 4, below=0.5)
    for index, match in enumerate(distill.features):
        space[f"distill.features.{index}.weight"] = _around(match.weight, 10)
    if distill.layers is not None and distill.layers.weight:
        space["distill.layers.weight"] = _around(distill.layers.weight, 10)
    if recipe.task == "image-classification":
        if student.weights == "none":  # those that are given have a width already
            widths = (round(student.width * share, 2) for share in (0.5, 0.7, 1, 1.4))
            space["student.width"] = Hyperparameter(choices=tuple(width for width in widths if 0.1 < width <= 2))
        return space
    if not student_family(student.family, recipe.task).layered:
        if student.hidden:
            space["student.hidden"] = Hyperparameter(choices=_halved_and_doubled(student.hidden, 32, 1024))
        return space
    listed = distill.layers is not None and isinstance(distill.layers.layer_map, tuple)
    if student.from_layers is None and not listed:  # a list of layers has their number already
        space["student.layers"] = Hyperparameter(low=max(1, student.layers // 2), high=student.layers + 2)
    if student.feed_forward:
        space["student.feed_forward"] = Hyperparameter(choices=_halved_and_doubled(student.feed_forward, 32, 4096))
    return space


def _halved_and_doubled(count: int, least: int, most: int) -> tuple[int, ...]:
    return tuple(near for near in (count // 2, count, 2 * count) if least <= near <= most)


def _start(key: str, figure: float | Ramp) -> str:
    return f"{key}.start" if isinstance(figure, Ramp) else key


def _around(value: float, times: float, below: float = float("inf")) -> Hyperparameter:
    low, high = (float(f"{end:.{DIGITS}g}") for end in (value / times, min(value * times, below)))
    return Hyperparameter(low=low, high=max(high, value), log=True)
