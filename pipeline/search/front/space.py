"""What a search over the front varies where the recipe names nothing, and what of a space a target rules out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pipeline.errors import USER_ERRORS, InputError
from pipeline.plan import make_plan
from pipeline.recipe import Recipe
from pipeline.search.space import Space, default_space, left_out, outermost, with_values
from pipeline.settings.search import Hyperparameter
from pipeline.student import STUDENTS
from targets.profile import Scheme

SHARES = (1.0, 0.75, 0.5)  # of multiply-accumulates, and of an image's side
WIDTHS = (0.35, 0.5, 0.75, 1.0)
SMALLEST = 32  # side of an image in pixels


@dataclass(frozen=True)
class RuledOut:
    """A choice that no trial can make, whatever the others are."""

    key: str
    choice: Any
    reason: str


def default_front_space(recipe: Recipe) -> dict[str, Hyperparameter]:
    """Family, width, pruning and scheme of images, layers and feed-forward units, pruning and scheme of texts. The
    images' size where no teacher has to be trained for each; `reachable` leaves what the target takes."""
    student = recipe.student
    space: dict[str, Hyperparameter] = {}
    if recipe.task == "image-classification":
        families = tuple(name for name, family in STUDENTS.items() if family.task == recipe.task)
        if student.weights == "none" and not recipe.distill.features:  # which are of one family
            space["student.family"] = Hyperparameter(choices=families)
        if student.weights == "none":
            space["student.width"] = Hyperparameter(choices=tuple(sorted({*WIDTHS, student.width})))
        sizes = {8 * round(share * recipe.image.size / 8) for share in SHARES}
        sizes = {size for size in sizes if size >= SMALLEST} | {recipe.image.size}
        untaught = all(teacher.epochs == 0 and not teacher.stored for teacher in recipe.teachers.values())
        if untaught and len(sizes) > 1:
            space["image.size"] = Hyperparameter(choices=tuple(sorted(sizes)))
    else:
        space |= {key: found for key, found in default_space(recipe).items() if key.startswith("student.")}
    space["prune.macs"] = Hyperparameter(choices=tuple(sorted({*SHARES, recipe.prune.macs}, reverse=True)))
    space["quantize.scheme"] = Hyperparameter(choices=get_args(Scheme))
    return space


def reachable(recipe: Recipe, space: Space, target: str) -> tuple[dict[str, Hyperparameter], list[RuledOut]]:
    """The space without the choices that `target` refuses by themselves, and those with the target's reason. Raises
    InputError where a setting has none left."""
    kept, gone = dict[str, Hyperparameter](), list[RuledOut]()
    for key, parameter in space.items():
        if parameter.choices is None:
            for value in outermost(key, parameter):
                make_plan(with_values(recipe, {key: value}, left_out(space, {key: value})), (target,))
            kept[key] = parameter
            continue
        refused: Mapping[int, str] = {
            index: reason
            for index, choice in enumerate(parameter.choices)
            if (reason := _refusal(recipe, space, key, choice, target)) is not None
        }
        left = tuple(choice for index, choice in enumerate(parameter.choices) if index not in refused)
        gone += [RuledOut(key, parameter.choices[index], reason) for index, reason in refused.items()]
        if not left:
            raise InputError(f"search.space: '{key}' has no choice left for {target}: {gone[-1].reason}")
        kept[key] = parameter.model_copy(update={"choices": left})
    return kept, gone


def _refusal(recipe: Recipe, space: Space, key: str, choice: Any, target: str) -> str | None:
    try:
        make_plan(with_values(recipe, {key: choice}, left_out(space, {key: choice})), (target,))
    except USER_ERRORS as error:
        return str(error)
    return None
