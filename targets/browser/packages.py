"""The runtimes for pages: got by npm as package-lock.json pins them, the few files that a page needs kept in the cache
folder, and proof that these are still what was installed.

<cache>/browser/<package>/...   files of `KEPT`, as they lie in their packages
"""

import errno
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from targets.errors import TargetError
from targets.installation import Room, Say, disk_for, write_record

HERE = Path(__file__).parent
LOCK, MANIFEST, SIZES = HERE / "package-lock.json", HERE / "package.json", HERE / "sizes.json"
ROOM = Room("browser", "the runtimes for browsers", "edgepress targets install-browser")
RUNTIME_PACKAGES = {"onnxruntime": "onnxruntime-web", "litert": "@litertjs/core"}

# Per package, what a page loads: of LiteRT one build for one thread and one for several.
KEPT = {
    "onnxruntime-web": ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
    "@litertjs/core": (
        "dist/index.js",
        *(f"wasm/litert_wasm_{build}.{end}" for build in ("internal", "threaded_internal") for end in ("js", "wasm")),
    ),
    "@litertjs/wasm-utils": ("dist/index.js",),
}


@dataclass(frozen=True)
class Installed:
    """A whole installation; `versions` by package, `digest` of all its files."""

    folder: Path
    versions: dict[str, str]
    digest: str

    def files(self) -> dict[str, Path]:
        """The files by their paths below `folder`."""
        return {f"{package}/{name}": self.folder / package / name for package, names in KEPT.items() for name in names}


@dataclass(frozen=True)
class InstallPlan:
    """What is to be got: bytes to download, by name and version."""

    folder: Path
    packages: dict[str, int]

    @property
    def download(self) -> int:
        return sum(self.packages.values())

    @property
    def disk(self) -> int:
        """Bytes that are needed on the way, downloads included."""
        return disk_for(self.download)

    def rows(self) -> list[tuple[str, str, str]]:
        """(what, size in MB, from where), for who is asked; small ones together."""
        large = {name: size for name, size in self.packages.items() if size >= 1e6}
        rest = self.download - sum(large.values())
        rows = [(name, f"{size / 1e6:.1f}", "npm") for name, size in large.items()]
        return [*rows, (f"{len(self.packages) - len(large)} packages that these name", f"{rest / 1e6:.1f}", "npm")]


def installed() -> Installed:
    """The installation in the cache folder, every file of which is as it was installed.

    Raises TargetError if there is none, it is not of this edgepress's versions, or a file is missing or changed.
    """
    return checked(ROOM.folder)


@cache  # a process reads the files once
def checked(folder: Path) -> Installed:
    """The installation in `folder`: see `installed`."""
    facts, files = ROOM.read(folder)
    if facts.get("lock") != _lock_digest():
        raise TargetError(
            f"{folder}: holds other versions of the runtimes than this edgepress pins; run '{ROOM.command}' again"
        )
    found = ROOM.prove(folder, files)
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    return Installed(folder, {name: version for name, version in _locked().items() if name in KEPT}, digest)


def is_whole() -> bool:
    """Whether nothing is left to get."""
    try:
        installed()
    except TargetError:
        return False
    return True


def plan_install() -> InstallPlan:
    """What has to be got, with its size. Raises TargetError where it can't be got here, or there is no space for it."""
    npm()
    sizes = json.loads(SIZES.read_text(encoding="utf-8"))
    packages = {f"{name} {version}": int(sizes[name]["bytes"]) for name, version in _locked().items()}
    plan = InstallPlan(ROOM.folder, packages)
    ROOM.refuse_without_space(plan.folder, plan.disk, shutil.disk_usage(ROOM.make_work()).free)
    return plan


def install(plan: InstallPlan, say: Say = lambda _: None) -> None:
    """Carries out `plan`. What was fetched by a try that was stopped is used; an installation that was there stands
    until the new one is whole. Raises TargetError for what went wrong."""
    with ROOM.making() as work:
        _install(plan, work, say)
    checked.cache_clear()


def npm() -> str:
    """The npm program. Raises TargetError if it, or the Node.js that runs it, is not here."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise TargetError(
                f"no {program} here, which gets the runtimes; install Node.js with npm (Debian: apt-get install npm)"
            )
    return str(shutil.which("npm"))


def _install(plan: InstallPlan, work: Path, say: Say) -> None:
    got, made = work / "npm", work / "whole"
    for leftover in (got, made):
        shutil.rmtree(leftover, ignore_errors=True)
    got.mkdir()
    for file in (MANIFEST, LOCK):
        shutil.copyfile(file, got / file.name)
    say(f"fetching {len(plan.packages)} packages")
    _npm_ci(got, work / "fetched")
    for package, names in KEPT.items():
        for name in names:
            place = made / package / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(got / "node_modules" / package / name, place)
    write_record(made, {"lock": _lock_digest()})
    ROOM.put(made)


def _npm_ci(folder: Path, fetched: Path) -> None:
    """Installs what the lock in `folder` pins, each package by its SHA-512; no script of a package runs. `fetched`
    keeps downloads for a later try."""
    command = [
        npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline",
        "--cache", str(fetched),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    if done.returncode == 0:
        return
    errors = [line.removeprefix("npm error").strip() for line in done.stderr.splitlines() if line.startswith("npm err")]
    told = " ".join(line for line in errors if line and not line.startswith("A complete log"))[:400]
    if "ENOSPC" in told:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "EINTEGRITY" in told:
        raise TargetError(f"npm got a package that is not the one edgepress pins (SHA-512 differs): {told}")
    raise TargetError(
        f"npm could not get the runtimes: {told or f'exit code {done.returncode}'}; see that npm reaches its registry "
        "(`npm ping`), and run the command again: what was fetched is kept"
    )


def _locked() -> dict[str, str]:
    """Version by package, as pinned."""
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    return {name.removeprefix("node_modules/"): entry["version"] for name, entry in lock["packages"].items() if name}


def _lock_digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()
