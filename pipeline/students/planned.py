"""The student of a recipe held against its family and its targets, before anything runs."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import InputError
from pipeline.recipe import Recipe
from pipeline.settings.student import StudentSettings
from pipeline.student import StudentFamily, check_same_network, check_student, student_family
from pipeline.students.adapt import adaptable, adapted_operators, forms_of
from targets.profile import Profile, Task


def planned_student(recipe: Recipe, profiles: Sequence[Profile]) -> tuple[Recipe, StudentFamily]:
    """The recipe with its student's `adapt: auto` resolved, and the family with the operators that the student is left
    with. One student is for all targets, so what one of them bans is replaced for all.

    Raises InputError for settings that the family of the student, or of an assistant, does not take or can't go
    through.
    """
    teacher = recipe.teacher.model, 1.0
    for assistant in recipe.distill.assistants:
        above = _fitting_family(recipe, assistant, *teacher)
        teacher = above.model, assistant.width
        if "auto" in assistant.adapt:
            raise InputError(
                "distill.assistants: adapt: auto asks what targets ban, and an assistant ships to none: remove it"
            )
    family, adapted = _fitting_family(recipe, recipe.student, *teacher), recipe.student.adapt
    if adapted == ("auto",):
        adapted = adaptable(family.operators, profiles)
        recipe = recipe.model_copy(update={"student": recipe.student.model_copy(update={"adapt": adapted})})
    return recipe, replace(family, operators=adapted_operators(family.operators, adapted, family.name))


def _fitting_family(recipe: Recipe, student: StudentSettings, teacher: str, width: float) -> StudentFamily:
    """`teacher` of `width` is the network that teaches it."""
    family = student_family(student.family, recipe.task)
    check_student(student, family)
    if family.task == "image-classification" and student.start == "layers":
        check_same_network(student, family, teacher, width)
    if not family.layered and recipe.distill.layers is not None:
        raise InputError(
            f"distill.layers compares the layers of transformers, a {family.name} has none: remove it, or use "
            "distill.features"
        )
    return family


def advice_on(family: StudentFamily, profile: Profile) -> str:
    """What to do about operators of `family` that `profile` bans."""
    banned = sorted(family.operators & set(profile.export.banned_ops))
    other = f"use student.family: {family.alternative}" if family.alternative else "choose another student"
    if sorted(adaptable(family.operators, [profile])) != banned:
        return other
    new = ", ".join(f"{name} by {form}" for name, form in forms_of(adaptable(family.operators, [profile])).items())
    return f"set student.adapt: auto, which replaces {new} before the distillation, {other}"


def describe_shape(student: StudentSettings, task: Task) -> str:
    """The width of an image network, the layers of a transformer."""
    if task == "image-classification":
        return f" x{student.width:g}"
    return f", {student.layers} layers" if student_family(student.family, task).layered else ""


def describe_adapted(student: StudentSettings, profiles: Sequence[Profile]) -> str:
    """Which operators others replace, for whose sake, and who gets the same student without asking for it."""
    told = ""
    for name, form in forms_of(student.adapt).items():
        asking = [profile.id for profile in profiles if name in profile.export.banned_ops]
        others = [profile.id for profile in profiles if profile.id not in asking]
        told += f", {name} becomes {form}"
        if asking:
            told += f" for {', '.join(asking)}"
        if asking and others:
            told += f" ({', '.join(others)} get{'s' * (len(others) == 1)} the same student)"
    return told
