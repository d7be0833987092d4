"""The way of accuracy from the teacher to a file as a waterfall: what each stage lost or won, with its interval."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.plots import (
    BAD,
    BOTTOM,
    GOOD,
    INK,
    MUTED,
    ROW,
    Drawing,
    bare,
    drawing,
    file_colour,
    plot,
    role_colour,
)

RIGHT = 1.85  # inches, for the figures
HEAD = 0.3  # inches, for what stands over them


def accuracy_path(file: dict[str, Any], networks: dict[str, Any], name: str) -> Drawing:
    """From the teacher's accuracy to that of `file`, of a report's `files`; accuracies are dots, stages are bars."""
    steps = file["attribution"]["steps"]
    ends = {"teacher": networks["teacher"]["accuracy"], "this file": file["accuracy"]}
    places = [100 * ends["teacher"]["value"]]
    for step in steps:
        places.append(places[-1] - step["points_lost"])
    rows = ["teacher", *(step["stage"] for step in steps), "this file"]
    # Reports of earlier versions have no intervals of steps.
    spans = [
        (before - step["high"], before - step["low"]) if step.get("high") is not None else None
        for before, step in zip(places, steps, strict=False)
    ]
    every = [*places, *(100 * end[side] for end in ends.values() for side in ("low", "high"))]
    every += [edge for span in spans if span for edge in span]
    room = 0.06 * max(max(every) - min(every), 0.5)
    left, right = max(min(every) - room, 0.0), min(max(every) + room, 100.0)

    def draw(axes: Axes) -> None:
        colours = (role_colour("teacher"), file_colour(file))
        for row, end, place, colour in zip(
            (0, len(rows) - 1), ends.values(), (places[0], places[-1]), colours, strict=True
        ):
            low, high = 100 * end["low"], 100 * end["high"]
            axes.plot((low, high), (row, row), color=colour, linewidth=1.2)
            axes.plot(place, row, "o", color=colour, markersize=7)
            _figures(axes, row, f"{place:.2f}%", f"{low:.1f} to {high:.1f}", "bold")
        for row, (step, span) in enumerate(zip(steps, spans, strict=True), 1):
            before, after = places[row - 1], places[row]
            colour = BAD if after < before else GOOD if after > before else MUTED
            axes.plot((before, before), (row - 1, row + 0.2), color=MUTED, linewidth=0.7)
            axes.barh(row, after - before, left=before, height=0.4, color=colour)
            if span:
                axes.plot(span, (row, row), color=INK, linewidth=0.9, marker="|", markersize=4)
            axes.plot((after, after), (row - 0.2, row + 0.2), color=colour, linewidth=1.8)
            interval = f"{_points(-step['high'], 1)} to {_points(-step['low'], 1)}" if span else ""
            _figures(axes, row, _points(-step["points_lost"], 2), interval, "normal")
        axes.plot((places[-1], places[-1]), (len(rows) - 2, len(rows) - 1), color=MUTED, linewidth=0.7, zorder=0)
        axes.set_yticks(range(len(rows)), rows, color=INK, fontsize=11)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left, right)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.set_xlabel("test accuracy in %")
        axes.text(1 + 2.0 * _column(axes), 1.0, "95% interval", transform=axes.transAxes, ha="right", va="bottom",
                  color=MUTED, fontsize=10)  # fmt: skip
        bare(axes)

    told = ", ".join(f"{step['stage']} {_points(-step['points_lost'], 2)} points" for step in steps)
    alt = f"Accuracy from the teacher, {places[0]:.2f}%, to {file['name']}, {places[-1]:.2f}%: {told}"
    svg = plot(name, BOTTOM + HEAD + ROW * len(rows), rows, draw, top=HEAD, right=RIGHT)
    return drawing(svg, alt)


def _figures(axes: Axes, row: int, value: str, interval: str, weight: str) -> None:
    """Two columns on the right, each aligned at its right."""
    column, where = _column(axes), axes.get_yaxis_transform()
    axes.text(1 + 0.85 * column, row, value, transform=where, ha="right", va="center", fontweight=weight)
    axes.text(1 + 2.0 * column, row, interval, transform=where, ha="right", va="center", color=MUTED, fontsize=10)


def _column(axes: Axes) -> float:
    """Half of the room on the right, as a share of the axes' width."""
    figure = axes.get_figure()
    assert figure is not None
    return RIGHT / 2 / (axes.get_position().width * figure.get_figwidth())  # type: ignore[union-attr]


def _points(points: float, digits: int) -> str:
    """A change with its sign; nothing is 0."""
    return f"{points:+.{digits}f}".replace("-", "−") if round(points, digits) else f"{0:.{digits}f}"
