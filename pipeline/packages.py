"""Files that come inside installed packages: `package:NAME/GLOB` in a recipe."""

import importlib.util
from pathlib import Path

from pipeline.errors import InputError

PREFIX = "package:"


def package_folder(name: str) -> Path:
    """The folder of the installed package with import name `name`, without importing it.

    Raises InputError if it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"package '{name}' is not installed; the ready recipes' packages come with pip install 'edgepress[recipes]'"
        )
    return Path(spec.submodule_search_locations[0])


def package_path(reference: str) -> Path:
    """The one file or folder that `package:NAME/GLOB` names. Raises InputError for none or several."""
    name, _, pattern = reference.removeprefix(PREFIX).partition("/")
    folder = package_folder(name)
    found = sorted(folder.glob(pattern)) if pattern else [folder]
    if len(found) != 1:
        raise InputError(
            f"{reference}: found {len(found)} files that match '{pattern}' in package '{name}', expected one"
        )
    return found[0]


def require_extra(module: str, extra: str) -> None:
    """Raises InputError if `module`, which comes with one of edgepress's extras, is not installed."""
    if importlib.util.find_spec(module) is None:
        raise InputError(
            f"'{extra}' in the recipe needs {module}: pip install 'edgepress[{extra}]', or remove it from the recipe"
        )
