"""The React Native examples of a bundle compiled and run: against the packages and by the compiler that
typescript/package-lock.json pins, got by npm into the cache folder."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from pipeline.app.model import AppModel
from pipeline.errors import InputError
from targets.browser.packages import npm
from targets.installation import cache_folder

HERE = Path(__file__).parent / "typescript"
LOCK = HERE / "package-lock.json"
RECORD = "lock.sha256"  # of the lock that was installed, written when it is whole
INSTALL = "edgepress check-app BUNDLE --install"
SECONDS = 120  # for the compiler, and for the examples


def tools_folder() -> Path:
    return cache_folder() / "app"


def installed() -> Path:
    """The folder that holds node_modules. Raises InputError if it is not there, or of other versions."""
    npm()  # says if Node.js is missing
    record = tools_folder() / RECORD
    if not record.is_file():
        raise InputError(f"{tools_folder()}: the TypeScript compiler and the packages are not here; run '{INSTALL}'")
    if record.read_text(encoding="utf-8").strip() != _lock_digest():
        raise InputError(f"{tools_folder()}: holds other versions than this edgepress pins; run '{INSTALL}' again")
    return tools_folder()


def install(say: Callable[[str], None] = lambda _: None) -> None:
    """Gets what the lock pins, each package by its SHA-512; no script of a package runs. What was there stands until
    the new is whole. Raises InputError if npm can't get it, or another process is at it."""
    folder = tools_folder()
    beside = folder.with_name(f"{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(beside.with_suffix(".lock"), timeout=0):
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(HERE / name, beside / name)
            say(f"fetching {len(json.loads(LOCK.read_text(encoding='utf-8'))['packages']) - 1} packages")
            _npm_ci(beside)
            (beside / RECORD).write_text(_lock_digest() + "\n", encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
    except Timeout:
        raise InputError(f"{folder}: another process is installing it; wait for it") from None
    except OSError as error:
        raise InputError(f"{folder}: can't be written: {error.strerror or error}") from None


@contextmanager
def compiled(bundle: Path) -> Iterator[Path]:
    """The folder with the JavaScript of a bundle's examples, for as long as the block runs.

    Raises InputError with what the compiler says if their types are wrong, or it is not installed.
    """
    tools = installed()
    with tempfile.TemporaryDirectory(prefix="edgepress-app-") as work:
        place = Path(work)
        for file in (bundle / "app/react-native").glob("*.ts"):
            shutil.copyfile(file, place / file.name)
        shutil.copyfile(HERE / "tsconfig.json", place / "tsconfig.json")
        (place / "node_modules").symlink_to(tools / "node_modules")
        done = _node([str(tools / "node_modules/typescript/bin/tsc"), "--project", str(place)], "")
        if done.returncode:
            raise InputError(f"{bundle / 'app/react-native'}: does not compile: {' '.join(done.stdout.split())[:600]}")
        (place / "compiled/package.json").write_text('{"type": "module"}\n', encoding="utf-8")
        yield place / "compiled"


def run_preprocessing(javascript: Path, model: AppModel, samples: Sequence[Any], vocabulary: str | None) -> list[Any]:
    """What the compiled examples make of `samples`, each uint8 [H, W, 3 or 4] or a text: for pictures `pixels` and, by
    file, the tensors; for texts `ids` and, by file, the inputs by name. Raises InputError if they fail."""
    asked = {
        "module": str(javascript / "preprocessing.js"),
        "vocabulary": vocabulary,
        "files": [file.variable for file in model.files],
        "samples": [_sample(sample) for sample in samples],
    }
    done = _node([str(HERE / "golden.mjs")], json.dumps(asked))
    if done.returncode:
        raise InputError(f"the examples' preprocessing failed: {' '.join(done.stderr.split())[:600]}")
    found: list[Any] = json.loads(done.stdout)
    return found


def _sample(sample: Any) -> dict[str, Any]:
    if isinstance(sample, str):
        return {"text": sample}
    height, width = np.shape(sample)[:2]
    return {"pixels": base64.b64encode(sample.tobytes()).decode(), "width": width, "height": height}


def _node(arguments: list[str], given: str) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    assert node is not None, "npm() has found it"
    try:
        return subprocess.run(
            [node, *arguments], input=given, capture_output=True, encoding="utf-8", errors="replace", timeout=SECONDS,
            check=False, env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(f"node did not end within {SECONDS} s; is this computer very busy?") from None


def _npm_ci(folder: Path) -> None:
    command = [npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--legacy-peer-deps"]
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    if done.returncode:
        told = " ".join(done.stderr.split())[:400] or f"exit code {done.returncode}"
        raise InputError(f"npm could not get the packages: {told}; see that npm reaches its registry (`npm ping`)")


def _lock_digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()
