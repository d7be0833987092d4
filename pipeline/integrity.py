"""The manifest of a bundle: what was written, and proof that it still is what was written."""

import json
import re
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.store import file_sha256
from targets.profile import Profile
from targets.strict import parse

MANIFEST = "manifest.json"
REPORT = "report.json"
SIGNATURE = "manifest.json.minisig"  # of the manifest, where the bundle is signed (`pipeline.provenance.signature`)

# What Git LFS keeps in a repository in the place of a large file.
# Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/\S+\n(?:[^\n]+\n)*?oid sha256:([0-9a-f]{64})\n")
_LONGEST_POINTER = 1024  # bytes, by the specification


def bundle_files(folder: Path) -> list[str]:
    """Relative names, with forward slashes, of every file in `folder` but the manifest and its signature; sorted."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted({path.relative_to(folder).as_posix() for path in found} - {MANIFEST, SIGNATURE})


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file of a bundle. Raises InputError if it is missing or no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; expected a bundle, a folder that edgepress run wrote") from None
    except OSError as error:
        raise InputError(f"{file}: can't be read: {error.strerror or error}") from None
    except ValueError as error:
        _refuse_pointer(file)
        raise InputError(f"{file}: not valid JSON ({error}); the bundle is damaged, make it anew") from None
    if not isinstance(content, dict):
        raise InputError(f"{file}: found {type(content).__name__}, expected a JSON object")
    return content


def bundle_profile(folder: Path) -> Profile:
    """The profile that the bundle in `folder` was made for. Raises InputError if its manifest holds none, or none that
    is whole."""
    content: Any = read_json(folder / MANIFEST).get("profile")
    if not isinstance(content, dict):
        raise InputError(f"{folder / MANIFEST}: holds no profile; make the bundle again")
    return parse(Profile, content, f"{folder / MANIFEST}: profile")


def verify_bundle(folder: Path, *, pointers: bool = False) -> dict[str, Any]:
    """The manifest of the bundle in `folder`, every file of which has the SHA-256 that the manifest gives; with
    `pointers`, a Git LFS pointer to the file will do.

    Raises InputError that names the first file that is changed, missing or not in the manifest.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a bundle, a folder that edgepress run wrote")
    manifest = read_json(folder / MANIFEST)
    listed = manifest.get("files")
    if manifest.get("schema") != 1 or not isinstance(listed, dict):
        raise InputError(f"{folder / MANIFEST}: schema {manifest.get('schema')!r} is not known, expected 1")
    found = bundle_files(folder)
    for name in sorted(set(listed) - set(found)):
        raise InputError(f"{folder / name}: missing from the bundle; copy the bundle again or make it again")
    for name in sorted(set(found) - set(listed)):
        raise InputError(f"{folder / name}: not in the bundle's manifest; remove it")
    for name in found:
        expected = listed[name].get("sha256") if isinstance(listed[name], dict) else None
        if file_sha256(folder / name) == expected or (pointers and pointer_sha256(folder / name) == expected):
            continue
        if expected is not None:
            _refuse_pointer(folder / name)
        raise InputError(
            f"{folder / name}: changed since the bundle was written (its SHA-256 is not the manifest's); "
            "copy the bundle again or make it again"
        )
    return manifest


def pointer_sha256(file: Path) -> str | None:
    """Of the file that a Git LFS pointer stands for; None where `file` is no pointer."""
    with file.open("rb") as stream:
        found = _POINTER.match(stream.read(_LONGEST_POINTER))
    return found[1].decode() if found else None


def _refuse_pointer(file: Path) -> None:
    if pointer_sha256(file) is not None:
        raise InputError(f"{file}: a Git LFS pointer, not the file itself; git lfs pull brings it")


# An array of numbers over several lines. Only json.dumps's own layout has a line break there: in a string it is \n.
_NUMBERS = re.compile(r"\[\n\s*([-+.\deE,\s]+?)\n\s*\]")


def json_text(value: Any) -> str:
    """`value` as JSON with sorted keys, the same text for equal values; arrays of numbers stay on one line.
    Raises ValueError for a number that is not finite."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"
