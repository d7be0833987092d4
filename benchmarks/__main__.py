"""Runs every benchmark, one after the other; `--quick` runs a short form of each."""

import subprocess
import sys
from pathlib import Path

SUBJECTS = ("main", "distillation", "compression", "devices", "dropin")  # that the names of benchmarks begin with


def main() -> int:
    folder = Path(__file__).parent
    codes = []
    for script in sorted(folder.glob("*.py")):
        if script.stem.split("_")[0] in SUBJECTS:
            print(f"== {script.stem}", flush=True)
            command = [sys.executable, "-m", f"benchmarks.{script.stem}", *sys.argv[1:]]
            codes.append(subprocess.run(command, cwd=folder.parent, check=False).returncode)
    return max(codes, default=0)


sys.exit(main())
