"""The plugin that counts instructions: compiled when it is first used, kept by the hash of its source."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from targets.emulator.classes import CLASSES, c_table
from targets.errors import TargetError
from targets.installation import cache_folder

SOURCE = Path(__file__).parent / "count.c"
COMPILERS = ("cc", "gcc", "clang")
MARK_CALL = 125  # sched_get_priority_max on arm64, which no library calls with these arguments
FIRST, LAST = 0x45500001, 0x45500002


def compiled_plugin() -> Path:
    """The plugin as a shared library. Raises TargetError without a C compiler, or if it can't compile it."""
    options = [
        "-O2", "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden",
        f"-DCLASSES={len(CLASSES)}", f"-DSCALAR={CLASSES.index('scalar')}",
        f"-DMARK_CALL={MARK_CALL}", f"-DFIRST={FIRST:#x}u", f"-DLAST={LAST:#x}u",
    ]  # fmt: skip
    key = hashlib.sha256("\0".join([SOURCE.read_text(encoding="utf-8"), c_table(), *options]).encode()).hexdigest()
    library = cache_folder() / "plugin" / f"count-{key[:24]}.so"
    if library.exists():
        return library
    program = compiler()
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        (Path(folder) / "classes.h").write_text(c_table())
        beside = Path(folder) / library.name
        command = [program, *options, f"-I{folder}", "-o", str(beside), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            said = lines[0].strip() if lines else "it said nothing"
            raise TargetError(
                f"{program} can't compile QEMU's plugin: {said}; is the C library's development package there? "
                "Debian: apt-get install gcc libc6-dev"
            )
        os.replace(beside, library)
    return library


def compiler() -> str:
    """The system's C compiler. Raises TargetError if there is none."""
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise TargetError(
            f"no C compiler ({', '.join(COMPILERS)}): counting instructions needs one for QEMU's plugin; "
            "Debian: apt-get install gcc libc6-dev"
        )
    return found


def read_counts(file: Path, regions: int) -> np.ndarray:
    """int64 [regions, classes], from what the plugin wrote. Raises TargetError if that is not one line for each."""
    lines = file.read_text().splitlines() if file.exists() else []
    rows = [[int(word) for word in line.split() if word.isdecimal()] for line in lines]
    rows = [row for row in rows if len(row) == len(CLASSES)]
    if len(rows) != regions:
        raise TargetError(
            f"QEMU's plugin counted {len(rows)} regions, expected {regions}: this QEMU does not show the plugin "
            "the guest's system calls as 7.2 does; use Debian 12's qemu-user"
        )
    return np.array(rows, dtype=np.int64)
