"""How a benchmark writes what it measured, and runs edgepress as a user would."""

import argparse
import json
import operator
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.store import library_versions, write_atomic
from targets.machine import describe_machine

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
OPERATORS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True)
class Bar:
    """A figure that was asked for: met or not, it stands in the result."""

    name: str
    value: float
    op: str
    want: float

    @property
    def met(self) -> bool:
        return bool(OPERATORS[self.op](self.value, self.want))


@dataclass(frozen=True)
class Ended:
    """One finished command. `peak_mb`: the most resident memory of the command and its children together, looked at
    every 50 ms (pages that they share count once each)."""

    code: int
    seconds: float
    peak_mb: float
    output: str


def edgepress(*arguments: str, cwd: Path = ROOT) -> Ended:
    """Runs the command and waits for it."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    started, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as output:
        process = psutil.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, _resident_mb(process))
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        output.seek(0)
        return Ended(process.returncode, seconds, peak, output.read())


def _resident_mb(process: psutil.Process) -> float:
    total = 0
    try:
        for part in (process, *process.children(recursive=True)):
            total += part.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total / 1e6


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of one benchmark, gone when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="edgepress-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kept_or_scratch(folder: Path | None) -> AbstractContextManager[Path]:
    """`folder`, which stays, or one that is gone at the end."""
    return scratch() if folder is None else nullcontext(folder)


def remembered(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """What an earlier run at this commit left in `folder` under `name`, or what `make` gives, which is left there: a
    benchmark that was stopped goes on. JSON's plain types alone."""
    file = folder / f"{name}.json"
    if file.exists():
        left = json.loads(file.read_text(encoding="utf-8"))
        if left["commit"] == _commit():
            return left["found"]
    found = make()
    write_atomic(file, json.dumps({"commit": _commit(), "found": found}) + "\n")
    return found


def asked() -> argparse.Namespace:
    """The options of every benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path, help="leaves what the recipes made in this folder")
    parser.add_argument("--quick", action="store_true", help="a short form, to see that it runs; writes no result")
    return parser.parse_args()


def quick_asked() -> bool:
    return bool(asked().quick)


def write_result(name: str, figures: dict[str, Any], bars: list[Bar], quick: bool) -> None:
    """Writes `results/<name>.json` (not for a quick run) and prints the bars."""
    for bar in bars:
        print(f"{'met   ' if bar.met else 'MISSED'} {bar.name}: {bar.value:.4g} {bar.op} {bar.want:g}")
    content = {
        "machine": asdict(describe_machine()),
        "versions": library_versions(),
        "commit": _commit(),
        "command": f"python -m benchmarks.{name.replace('-', '_')}",
        "figures": figures,
        "bars": [{**asdict(bar), "met": bar.met} for bar in bars],
    }
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        write_atomic(RESULTS / f"{name}.json", json.dumps(content, indent=1) + "\n")


def _commit() -> str:
    ended = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.stdout.strip() or "unknown"
