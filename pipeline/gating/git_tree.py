"""What a commit of a git repository holds, read from its objects: no checkout, no filter, no shell."""

import io
import subprocess
from pathlib import Path

from pipeline.errors import InputError
from pipeline.gating.unpack import Room

PLAIN = ("100644", "100755", "100664")  # modes of files; others are links and submodules


def lay_out(reference: str, beside: Path, folder: Path) -> Path:
    """Writes what `REF[:PATH]` holds in the repository of the current folder into `folder`, and returns that folder, or
    the one file that it is. Without a PATH it is that of `beside`, a bundle of the same repository.

    Blobs as they were committed: `git archive` would change line endings and call the filters that attributes name.
    Raises InputError where there is no git, no repository, no such ref or path, and for links and submodules.
    """
    ref, _, path = reference.partition(":")
    if not ref or ref.startswith("-") or not reference.isprintable():
        raise InputError(f"--baseline git:{reference}: expected git:REF or git:REF:PATH, such as git:main")
    root = Path(_text("rev-parse", "--show-toplevel", wrong="the current folder is in no git repository"))
    path = _inside(path) if path else _path_of(beside, root, ref)
    lost = f"git knows no commit '{ref}'; in a clone without history fetch it first: git fetch --depth=1 origin REF"
    commit = _text("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", wrong=lost)
    place = f"{commit}:{path}"
    kind = _text("cat-file", "-t", place, wrong=f"git {ref} holds no '{path}'; give git:{ref}:PATH")
    if kind == "blob":
        file = folder / Path(path).name
        file.write_bytes(_run("cat-file", "blob", place))
        return file
    if kind != "tree":
        raise InputError(f"git {ref}: '{path}' is a {kind}, expected a bundle's folder or a file")
    room = Room(folder, f"git {ref}:{path}")
    for entry in filter(None, _run("ls-tree", "-r", "-z", "--full-tree", place).split(b"\0")):
        told, _, name = entry.partition(b"\t")
        mode, _, blob = told.decode().split(" ")[:3]
        text = name.decode("utf-8", "replace")
        if mode not in PLAIN:
            raise room.refusal(text, "a link or a submodule")
        room.place(text, io.BytesIO(_run("cat-file", "blob", blob)))
    return folder


def _inside(path: str) -> str:
    """A path as git names it, from the repository's root."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise InputError(f"'{path}': expected a path from the repository's root, without '..'")
    return "/".join(parts)


def _path_of(bundle: Path, root: Path, ref: str) -> str:
    try:
        inside = bundle.resolve().relative_to(root.resolve())
    except ValueError:
        raise InputError(
            f"{bundle} lies outside of the repository {root}, so its place in {ref} is not known: give git:{ref}:PATH"
        ) from None
    return "/".join(inside.parts)  # nothing for the root itself


def _text(*arguments: str, wrong: str) -> str:
    return _run(*arguments, wrong=wrong).decode("utf-8", "replace").strip()


def _run(*arguments: str, wrong: str = "git can't read it") -> bytes:
    """What git answers. Raises InputError that says `wrong` where it answers with an error."""
    try:
        ended = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S607
    except FileNotFoundError:
        raise InputError("--baseline git: needs the git command, which is not installed") from None
    if ended.returncode:
        said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        raise InputError(f"{wrong} ({said[-1]})" if said else wrong)
    return ended.stdout
