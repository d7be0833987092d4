"""A run that is killed (SIGKILL) in any stage resumes and ends with the same bundle bytes as one that was not.

The stages that this looks at are those that a whole run was seen to leave in its store; the kill comes while the
stage's unfinished folder is there. Latency is left out: clocks do not repeat.
"""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.recipes import words
from benchmarks.record import ROOT, Bar, edgepress, quick_asked, scratch, write_result

SETTINGS = (
    "data.limit=400", "teacher.epochs=2", "distill.epochs=3", "distill.views=2", "prune.macs=0.8",
    "prune.recovery_epochs=2", "distill.compare_naive=true", "calibration.samples=32",
)  # fmt: skip
# Seconds into a stage. Of one that ended sooner there is another result to make, of the next file.
WAITS = (0.2, 0.05, 0.01, 0.0)
ARGUMENTS = (
    "run", "recipes/digits-mobilenet.yaml", "--target", "pixel8", "--target", "coral_dev", "--no-latency",
    *words("--set", SETTINGS),
)  # fmt: skip


def digest(out: Path) -> dict[str, str]:
    """SHA-256 of every file of every bundle."""
    files = sorted(file for file in (out / "digits-mobilenet").rglob("*") if file.is_file())
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def stages_in_order(store: Path) -> list[str]:
    """The stages of a run, by the time of each one's first result."""
    first = {
        folder.name: min(record.stat().st_mtime_ns for record in folder.glob("*/result.json"))
        for folder in store.iterdir()
        if folder.is_dir()
    }
    return sorted(first, key=lambda stage: first[stage])


def kill_in(stage: str, out: Path, wait: float) -> bool:
    """Starts a run and kills it `wait` seconds after `stage` has begun; False if it ended before."""
    command = [sys.executable, "-m", "pipeline", *ARGUMENTS, "--out", str(out), "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if any((out / ".store" / stage).glob("*.partial")):
            time.sleep(wait)
            process.kill()
            process.wait()
            return any((out / ".store" / stage).glob("*.partial"))
        time.sleep(0.002)
    return False


def main() -> None:
    quick = quick_asked()
    with scratch() as whole:
        ended = edgepress(*ARGUMENTS, "--out", str(whole))
        if ended.code not in (0, 1):
            raise SystemExit(ended.output)
        expected = digest(whole)
        stages = stages_in_order(whole / ".store")
        with scratch() as again:
            edgepress(*ARGUMENTS, "--out", str(again))
            repeats = digest(again) == expected
    results = {}
    with scratch() as out:
        # One folder throughout: each kill comes on top of what the runs before it left.
        for stage in stages[:1] if quick else stages:
            results[stage] = any(kill_in(stage, out, wait) for wait in WAITS)
        edgepress(*ARGUMENTS, "--out", str(out))
        same = digest(out) == expected
    figures = {"stages": stages, "killed_inside": results, "files_compared": len(expected)}
    bars = [
        Bar("a second run from nothing has the same bundle bytes", float(repeats), "==", 1),
        Bar("killed and resumed, the bundle bytes are the same", float(same), "==", 1),
        Bar(
            "stages killed inside, of those that a run has",
            sum(results.values()),
            "==",
            1 if quick else len(stages),
        ),
    ]
    write_result("main-resume", figures, bars, quick)


main()
