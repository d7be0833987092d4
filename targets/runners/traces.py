"""Slices of Android traces: how long each section lasted that the app, or TensorFlow Lite, marked in a system trace.

Two forms of text are read, both made of a recording by Perfetto's own tools: what `traceconv systrace` writes (ftrace's
lines with `tracing_mark_write`, as systrace's HTML files hold them too), and the table that `trace_processor` answers a
query with (`name` and `dur`, in nanoseconds).
"""

import csv
import io
import re
from dataclasses import dataclass

# `     tflite-25289 ( 25289) [005] .... 34579.594371: tracing_mark_write: B|25289|invoke@-1/-1`. A section ends by `E`,
# alone or with the process's number; it belongs to the thread, and sections nest.
_MARK = re.compile(
    r"\s*.+?-(?P<thread>\d+)\s+(?:\([\s\d-]+\)\s+)?\[\d+\]\s+(?:\S+\s+)?(?P<seconds>\d+\.\d+):\s+"
    r"tracing_mark_write:\s+(?:B\|\d+\|(?P<name>.*)|(?P<end>E)(?:\|.*)?)\s*"
)
OWN = re.compile(r"edgepress\b")  # a section that an app begins
INVOKE = re.compile(r"invoke@-?\d+/-?\d+$")  # TensorFlow Lite's own, for each inference, with debug.tflite.trace set


@dataclass(frozen=True)
class Slice:
    """A section of a trace; `ms` from its begin to its end."""

    name: str
    ms: float


def inferences(text: str) -> list[Slice]:
    """The slices of a trace that are inferences, in the order in which they ended: those that an app named `edgepress`
    if there are any, else TensorFlow Lite's own. Raises ValueError for text that is no trace, or holds neither."""
    found = _table(text) if _is_table(text) else _marks(text)
    own = [one for one in found if OWN.match(one.name)]
    own = own or [one for one in found if INVOKE.match(one.name)]
    if not own:
        raise ValueError(
            f"no section named edgepress and none of TensorFlow Lite's invoke among {len(found)}: set "
            "debug.tflite.trace, or mark inferences with Trace.beginSection"
        )
    return own


def _is_table(text: str) -> bool:
    head = next((line for line in text.splitlines() if line.strip()), "")
    return {"name", "dur"} <= {name.strip().strip('"') for name in head.split(",")}


def _table(text: str) -> list[Slice]:
    rows = csv.DictReader(io.StringIO(text.lstrip()))
    return [Slice(row["name"], int(row["dur"]) / 1e6) for row in rows if int(row["dur"]) >= 0]  # -1: it never ended


def _marks(text: str) -> list[Slice]:
    begun: dict[str, list[tuple[str, float]]] = {}
    found, marks = [], 0
    for line in text.splitlines():
        mark = _MARK.fullmatch(line) if "tracing_mark_write" in line else None
        if mark is None:
            continue
        marks += 1
        sections = begun.setdefault(mark["thread"], [])
        at = float(mark["seconds"]) * 1e3
        if mark["end"] is None:
            sections.append((mark["name"].strip(), at))
        elif sections:  # else it began before the recording
            name, start = sections.pop()
            found.append(Slice(name, at - start))
    if not marks:
        binary = "; a recording itself is binary: write it as text with `traceconv systrace`" if "\x00" in text else ""
        raise ValueError(f"no line with tracing_mark_write, and no table with columns name and dur{binary}")
    return found
