"""What the emulator needs of Debian's and Python's packages, and the package managers that get it.

apt is given folders of its own and arm64 as its architecture: it needs no root, changes nothing of the system's, and
verifies every .deb by its signed index. The wheels are those of `wheels.json`, by their hashes.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from targets.errors import TargetError

WHEELS = Path(__file__).parent / "wheels.json"
MACHINES = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64")  # what the wheels are built for
RETRY = "check the connection and the package sources, and run the command again: what was got is kept"


@dataclass(frozen=True)
class Deb:
    """One package's file, as apt calls it in its archives."""

    file: str
    bytes: int


@dataclass(frozen=True)
class Wheel:
    """An aarch64 wheel for one Python, such as 3.11."""

    name: str
    version: str
    python: str
    sha256: str
    bytes: int


def wheels_for(python: str) -> tuple[Wheel, ...]:
    """The wheels for Python `python`. Raises TargetError if none are listed for it."""
    listed = [Wheel(**row) for row in json.loads(WHEELS.read_text(encoding="utf-8"))]
    found = tuple(wheel for wheel in listed if wheel.python == python)
    if not found:
        known = ", ".join(sorted({wheel.python for wheel in listed}))
        raise TargetError(
            f"this system's package sources have Python {python} for arm64, the emulator's wheels are for {known}: "
            "use Debian 12 or 13, in a container if need be"
        )
    return found


def update_index(folder: Path) -> None:
    """Fetches the index of the system's package sources for arm64 into `folder`."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()  # nothing is installed there, so apt names every package that is needed
    _run([*_apt("apt-get", folder), "-qq", "update"], "the package index for arm64 can't be fetched")


def guest_packages(folder: Path) -> tuple[str, tuple[str, ...]]:
    """(version of the sources' Python, such as 3.11; names of the packages that the guest is made of)."""
    said = _run([*_apt("apt-cache", folder), "depends", "python3-minimal"], "the package index can't be read")
    found = re.search(r"python(3\.\d+)-minimal", said)
    if not found:
        raise TargetError(
            "the system's package sources have no Python for arm64: the emulator needs Debian's (sources of "
            "Ubuntu keep arm64 elsewhere); use Debian 12 or 13, in a container if need be"
        )
    return found[1], (f"python{found[1]}-minimal", f"libpython{found[1]}-stdlib", "libstdc++6")


def needed_debs(folder: Path, packages: tuple[str, ...]) -> tuple[Deb, ...]:
    """Every .deb that `packages` need, themselves included."""
    return read_uris(_run([*_install(folder, packages), "--print-uris"], "apt can't resolve the packages for arm64"))


def read_uris(text: str) -> tuple[Deb, ...]:
    """What `apt-get --print-uris` prints: 'ADDRESS' FILE BYTES HASH, a package a line."""
    found = re.findall(r"^'[^']*' (\S+\.deb) (\d+)(?: |$)", text, re.MULTILINE)
    return tuple(Deb(file, int(size)) for file, size in found)


def fetch_debs(folder: Path, packages: tuple[str, ...]) -> None:
    """Downloads into `folder`/archives what is not there yet."""
    _run([*_install(folder, packages), "--download-only"], "the packages for arm64 can't be fetched")


def unpack_debs(folder: Path, debs: tuple[Deb, ...], root: Path) -> None:
    """Unpacks the downloaded .deb files below `root`; no script of theirs is run."""
    for deb in debs:
        _run(["dpkg-deb", "-x", str(folder / "archives" / deb.file), str(root)], f"{deb.file} can't be unpacked")
    shutil.rmtree(root / "usr/share/doc", ignore_errors=True)


def install_wheels(wheels: tuple[Wheel, ...], site: Path) -> None:
    """Downloads the wheels, verifies their hashes and unpacks them below `site`, with pip or uv."""
    python = wheels[0].python
    listed = site.with_name("wheels.txt")
    listed.write_text("".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in wheels))
    common = ["--no-deps", "--require-hashes", "--python-version", python, "--target", str(site), "-r", str(listed)]
    if pip := _pip():
        options = ["--only-binary=:all:", "--implementation=cp", "--no-compile", "--disable-pip-version-check", "-q"]
        command = [*pip, "install", *options, *(f"--platform={machine}" for machine in MACHINES), *common]
    elif uv := shutil.which("uv"):
        machine = MACHINES[0].split("_", 1)[1].removesuffix("_aarch64")
        platform = f"aarch64-manylinux_{machine}"
        command = [uv, "pip", "install", "-q", "--only-binary=:all:", f"--python-platform={platform}", *common]
    else:
        raise TargetError("neither pip nor uv is here to get the emulator's wheels: pip install uv")
    _run(command, "the aarch64 wheels can't be installed")
    listed.unlink()


def install_qemu() -> None:
    """Installs QEMU's user mode on this system; for root."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "qemu-user"]
    _run(command, "qemu-user can't be installed", environment)


def _apt(program: str, folder: Path) -> list[str]:
    path = shutil.which(program)
    if path is None or shutil.which("dpkg-deb") is None:
        raise TargetError(
            f"no {program} with dpkg-deb: the emulator's arm64 Python comes from Debian's packages; "
            "use Debian 12 or 13, in a container if need be"
        )
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Dir::State": str(folder),
        "Dir::State::lists": str(folder / "lists"),
        "Dir::State::status": str(folder / "status"),
        "Dir::Cache": str(folder),
        "Dir::Cache::archives": str(folder / "archives"),
        "Acquire::Languages": "none",
        # apt's own user for downloads can't enter a private cache folder; what it gets is verified all the same.
        **({"APT::Sandbox::User": "root"} if os.geteuid() == 0 else {}),
    }
    return [path, *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]


def _install(folder: Path, packages: tuple[str, ...]) -> list[str]:
    return [*_apt("apt-get", folder), "install", "-qq", "-y", "--no-install-recommends", *packages]


def _pip() -> list[str] | None:
    """This Python's pip, or another's: for another platform's wheels any will do."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    return None if shutil.which("uv") or not shutil.which("pip3") else ["pip3"]


def _run(command: list[str], what: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=environment,
        check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return done.stdout
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    wrong = [line for line in lines if re.match(r"(E:|ERROR|error|dpkg-deb: error)", line)] or lines[-1:]
    said = wrong[0] if wrong else f"exit code {done.returncode}"
    if "No space left" in done.stderr:
        raise TargetError(f"{what}: no space left on the device; make room and run the command again")
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr or "Hash mismatch" in done.stderr:
        raise TargetError(f"{what}: a download's SHA-256 is not the one listed, so nothing of it was used; {RETRY}")
    raise TargetError(f"{what}: {said}; {RETRY}")
