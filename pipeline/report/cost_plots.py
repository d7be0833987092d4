"""What files cost in bytes and milliseconds, beside the teacher and the peers that the recipe names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.emulated import foretold
from pipeline.report.figures import short_name
from pipeline.report.plots import (
    BOTTOM,
    GRID,
    INK,
    MUTED,
    SCALE,
    TOP,
    WIDTH,
    Drawing,
    Key,
    bare,
    cut,
    drawing,
    file_colour,
    key,
    plot,
    powers_of_ten,
)
from pipeline.words import short

LINE = 0.5  # inches, of a row: its text, and below it what is drawn
NAMED = 34  # letters of a row's label
APART = 12  # times that the largest is the smallest: from there on a scale of powers of ten


@dataclass(frozen=True)
class Row:
    """One line: `value` with `low` to `high` around it where that is known. `limit`: its budget. `hollow`: not measured
    by edgepress on this file."""

    label: str
    text: str
    value: float
    colour: str
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    hollow: bool = False


def sizes(report: dict[str, Any], name: str) -> Drawing:
    """Megabytes of each file beside the teacher's float32 ONNX, and of the peers."""
    teacher = report["teacher_onnx_size"]["value"] / 1e6
    limit = report["budgets"]["size_mb"]
    rows = [Row("teacher, float32 ONNX", f"{short(teacher)} MB", teacher, MUTED)]
    for file in report["files"]:
        size, times = file["size"]["value"] / 1e6, file["times_smaller_than_teacher"]["value"]
        text = f"{short(size)} MB, {times:.1f}× smaller"
        colour = file_colour(file) if file["shipped"] else MUTED
        rows.append(Row(_label(file), text, size, colour, limit=limit if file["shipped"] else None))
    for peer in report["peers"]:
        if peer["size"]:
            size = peer["size"]["value"]
            rows.append(Row(peer["name"], f"{short(size)} MB", size, MUTED, hollow=True))

    def draw(axes: Axes) -> None:
        for place, row in enumerate(rows):
            _texts(axes, place, row)
            face = "none" if row.hollow else row.colour
            axes.barh(place + 0.26, row.value, height=0.18, color=face, edgecolor=row.colour, linewidth=1.0)
            if row.limit is not None:
                axes.plot((row.limit, row.limit), (place + 0.13, place + 0.39), color=INK, linewidth=1.6)
        axes.set_xlim(0, 1.02 * max(max(row.value, row.limit or 0.0) for row in rows))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        _frame(axes, rows, "MB (10⁶ bytes)")

    alt = "Sizes: " + "; ".join(f"{row.label} {row.text}" for row in rows)
    return drawing(plot(name, BOTTOM + TOP + LINE * len(rows), (), draw), alt, _keys(report, limit is not None))


def latencies(report: dict[str, Any], name: str) -> Drawing | None:
    """p90 of every file with its 95% interval, what was predicted, and what the peers have; None without any."""
    limit = report["budgets"]["latency_ms"]["p90"]
    rows = []
    for file in report["files"]:
        colour = file_colour(file) if file["shipped"] else MUTED
        wanted = limit if file["shipped"] else None
        if file["measured"]:
            found, source = file["measured"]["latency"]["p90"], file["measured"]["source"]
            text = f"{short(found['value'])} ms, {source}"
            rows.append(Row(_label(file), text, found["value"], colour, found.get("low"), found.get("high"), wanted))
        if foretold(file):
            found = file["predicted"]["latency"]
            text = f"{short(found['value'])} ms, predicted"
            rows.append(Row(_label(file), text, found["value"], colour, found["low"], found["high"], wanted, True))
    if not rows:
        return None
    for peer in report["peers"]:
        if peer["latency"]:
            ms = peer["latency"]["value"]
            rows.append(Row(peer["name"], f"{short(ms)} ms", ms, MUTED, hollow=True))
    ends = [end for row in rows for end in (row.value, row.low, row.high, row.limit) if end] or [1.0]

    def draw(axes: Axes) -> None:
        wide = max(ends) > APART * min(ends)
        if wide:
            powers_of_ten(axes, min(ends), max(ends))
        else:
            axes.set_xlim(0, 1.04 * max(ends))
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        start = axes.get_xlim()[0]
        for place, row in enumerate(rows):
            _texts(axes, place, row)
            y = place + 0.26
            axes.plot((start, row.value), (y, y), color=GRID, linewidth=1.0)
            if row.low is not None or row.high is not None:
                span = (row.low or row.value, row.high or row.value)
                axes.plot(span, (y, y), color=row.colour, linewidth=2.4, alpha=0.45)
            face = "none" if row.hollow else row.colour
            axes.plot(row.value, y, "D" if row.hollow else "o", color=row.colour, markerfacecolor=face, markersize=6)
            if row.limit is not None:
                axes.plot((row.limit, row.limit), (place + 0.13, place + 0.39), color=INK, linewidth=1.6)
        _frame(axes, rows, f"ms of one inference, p90{SCALE if wide else ''}")

    alt = "Latency, p90: " + "; ".join(f"{row.label} {row.text}" for row in rows)
    budget = any(row.limit is not None for row in rows)
    return drawing(plot(name, BOTTOM + TOP + LINE * len(rows), (), draw), alt, _keys(report, budget))


def _label(file: dict[str, Any]) -> str:
    return short_name(file["name"]) + ("" if file["shipped"] else ", not shipped")


def _keys(report: dict[str, Any], budget: bool) -> list[Key]:
    found = [key(short_name(file["name"]), file_colour(file)) for file in report["files"] if file["shipped"]]
    return [*found, *([key("| its budget", INK)] if budget else [])]


def _texts(axes: Axes, place: int, row: Row) -> None:
    where = axes.get_yaxis_transform()
    letters = min(NAMED, int(WIDTH / 0.075) - len(row.text) - 2)
    axes.text(0, place - 0.12, cut(row.label, letters), transform=where, ha="left", va="center")
    axes.text(1, place - 0.12, row.text, transform=where, ha="right", va="center")


def _frame(axes: Axes, rows: Sequence[Row], label: str) -> None:
    axes.set_ylim(len(rows) - 0.45, -0.45)
    axes.set_yticks([])
    axes.set_xlabel(label)
    bare(axes)
    axes.grid(visible=False)
