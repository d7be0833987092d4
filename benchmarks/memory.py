"""The most memory that a piece of work holds, in a process of its own.

Counted is what the process holds itself (RssAnon), looked at every 20 ms. Pages of mapped files, which the system may
take back whenever it wants, are told beside it (RssFile).
"""

import multiprocessing
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_mb(work: Callable[..., None], *arguments: Any) -> dict[str, float]:
    """Megabytes. Ends the benchmark if the process fails."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    peak = {"RssAnon": 0.0, "RssFile": 0.0}
    while process.is_alive():
        for name, kilobytes in re.findall(r"^(RssAnon|RssFile):\s+(\d+) kB", _status(process.pid), re.MULTILINE):
            peak[name] = max(peak[name], int(kilobytes) / 1000)
        time.sleep(0.02)
    if process.exitcode:
        raise SystemExit(f"{work.__name__}{arguments} ended with {process.exitcode}")
    return peak


def _status(pid: int | None) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it ended
        return ""
