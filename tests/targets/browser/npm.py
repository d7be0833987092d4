"""A stand-in for npm that needs no network: it leaves the files that pages need, each holding its own name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from targets.browser.packages import KEPT, LOCK, checked

NPM = """#!/bin/sh
for word in "$@"; do echo "$word"; done > "$0.arguments"
while [ "$1" != --cache ]; do shift; done
mkdir -p "$2" && echo fetched >> "$2/fetched"
if [ -e "$0.broken" ]; then cat "$0.broken" >&2; exit 1; fi
cmp package-lock.json LOCK >&2 || exit 1
for file in FILES; do mkdir -p "node_modules/${file%/*}" && echo "$file" > "node_modules/$file"; done
echo more > node_modules/onnxruntime-web/dist/ort.webgpu.js
"""


@contextmanager
def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Puts it, and a cache folder below `folder`, in the place of the real ones; yields the folder of programs. It
    writes its arguments to npm.arguments there, and fails with what npm.broken holds."""
    programs = folder / "bin"
    programs.mkdir()
    files = " ".join(f"{package}/{name}" for package, names in KEPT.items() for name in names)
    (programs / "npm").write_text(NPM.replace("LOCK", str(LOCK)).replace("FILES", files))
    (programs / "node").write_text("#!/bin/sh\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("EDGEPRESS_CACHE", str(folder / "cache"))
    checked.cache_clear()
    yield programs
    checked.cache_clear()
