"""Where results live: one folder a fingerprint, written beside and renamed, so what is there is whole.

A fingerprint is the SHA-256 of everything that went into a result: the stage, its settings, the fingerprints of the
results it built on, the code that the stage can reach and the versions of the libraries. A run that was stopped finds
what it had made; a second target finds what the first made.
"""

import ast
import dataclasses
import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from pydantic import BaseModel, TypeAdapter

from pipeline.errors import InputError

R = TypeVar("R")
ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "targets", "calibration")

LIBRARIES = (
    "torch", "torchvision", "timm", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime",
    "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "torch-pruning", "numpy",
)  # fmt: skip


@cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries whose behaviour is part of a result; without importing them."""

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "absent"

    return {name: version(name) for name in LIBRARIES}


def canonical(value: Any) -> Any:
    """`value` in the plain types of JSON, the same for equal settings whatever made them."""
    if isinstance(value, BaseModel):
        return canonical(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: canonical(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} can't be part of a fingerprint")


def fingerprint(value: Any) -> str:
    """SHA-256, in hexadecimal, of `value` in canonical JSON."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(file: Path, content: str | bytes) -> None:
    """Writes beside `file` and renames, so a reader sees the old content or the new, never a part."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    data = content.encode() if isinstance(content, str) else content
    try:
        with beside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


@cache
def _code_of(module_file: str) -> str:
    """Digest of the project's code that `module_file` can reach by its imports, itself included."""
    reached, left = set[Path](), [Path(module_file)]
    while left:
        file = left.pop()
        if file not in reached:
            reached.add(file)
            left += _imported(file)
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(reached))).hexdigest()


@cache
def _imported(file: Path) -> tuple[Path, ...]:
    """The project's modules that the source of `file` imports, anywhere in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    ours = [ROOT.joinpath(*name.split(".")) for name in names if name.split(".")[0] in PACKAGES]
    return tuple(place.with_suffix(".py") for place in ours if place.with_suffix(".py").is_file())


@dataclasses.dataclass(frozen=True)
class Store:
    """Results under `root/<stage>/<fingerprint>/`; a relative `root` is that of now, wherever the process goes.

    After an error of the kinds `discards` the unfinished folder goes too, since nobody will go on from it.
    """

    root: Path
    discards: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root.absolute())

    def key(self, stage: str, inputs: Mapping[str, Any], make: Callable[..., Any]) -> str:
        code = _code_of(inspect.getfile(inspect.unwrap(make)))
        return fingerprint({"stage": stage, "inputs": inputs, "code": code, "libraries": library_versions()})

    def find(self, stage: str, key: str, kind: type[R]) -> R | None:
        """The stored result, its paths made absolute; None if there is none."""
        folder = self.root / stage / key[:24]
        record = folder / "result.json"
        if not record.exists():
            return None
        try:
            result = TypeAdapter(kind).validate_json(record.read_bytes())
        except ValueError as error:
            raise InputError(
                f"{record}: not a stored result ({str(error).splitlines()[0]}); delete the folder and run again"
            ) from None
        return _with_paths(result, lambda path: folder / path)

    def work_folder(self, stage: str, key: str) -> Path:
        """Where a result is made until it is whole."""
        return self.root / stage / f"{key[:24]}.partial"

    def make(self, stage: str, key: str, kind: type[R], make: Callable[[Path], R]) -> R:
        """Runs `make(folder)` in a folder beside, stores what it returns, renames, and reads it back.

        The folder of an earlier, killed try is handed over as it was: a stage may find its own checkpoints in
        `folder/resume/`, which is removed when the result is whole. Of several processes that want the same result
        one makes it, the others wait for it.
        """
        work = self.work_folder(stage, key)
        final = work.with_suffix("")
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = work.with_suffix(".lock")
        with FileLock(lock):  # the kernel frees it when its process dies
            try:
                if self.find(stage, key, kind) is None:
                    self._write(work, final, kind, make)
            except self.discards:
                shutil.rmtree(work, ignore_errors=True)
                lock.unlink()
                raise
            lock.unlink()  # whoever comes now finds the result
        stored = self.find(stage, key, kind)
        assert stored is not None
        return stored

    def _write(self, work: Path, final: Path, kind: type[R], make: Callable[[Path], R]) -> None:
        work.mkdir(exist_ok=True)
        result = make(work)
        shutil.rmtree(work / "resume", ignore_errors=True)
        plain = _with_paths(result, lambda path: path.relative_to(work) if path.is_absolute() else path)
        write_atomic(work / "result.json", TypeAdapter(kind).dump_json(plain, indent=1))
        if final.exists():
            shutil.rmtree(final)
        work.rename(final)

    def reopen(self, stage: str, key: str) -> None:
        """Makes a result unfinished: the next `make` is handed its folder as it is, and may keep what it can use."""
        work = self.work_folder(stage, key)
        with FileLock(work.with_suffix(".lock")):
            if work.with_suffix("").exists():  # else another process has done so
                shutil.rmtree(work, ignore_errors=True)
                work.with_suffix("").rename(work)


def _with_paths(value: Any, change: Callable[[Path], Path]) -> Any:
    """`value` with every Path inside it changed."""
    if isinstance(value, Path):
        return change(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: _with_paths(getattr(value, f.name), change) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(_with_paths(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _with_paths(item, change) for key, item in value.items()}
    return value
