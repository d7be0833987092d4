"""The history of a recipe's bundles as a plot: accuracy, size and latency by version."""

from collections.abc import Callable
from itertools import groupby
from math import ceil

import numpy as np
from matplotlib.axes import Axes

from pipeline.history import FileFigures, Series
from pipeline.report.plots import BAD, MUTED, SERIES, plot

PANEL = 2.0  # inches high
ASIDE = 0.03  # of a version's width: so that one format does not hide the other
TICKS, NAMED = 8, 12  # versions that are named, and letters of their names
Point = tuple[int, float, float, float, bool]  # version, value, low, high, passed
Figures = Callable[[FileFigures], tuple[float, float, float] | None]  # value, low and high of a file, where it has them


def draw(series: Series, name: str) -> str:
    """The <svg> of accuracy with its 95% interval, size, and latency p90 with its interval, by version; a file that
    missed the gate is marked. Latencies of another machine are not joined by a line."""
    labels = [_cut(version.label) for version in series.versions]
    ticks = range(0, len(labels), ceil(len(labels) / TICKS))
    panels: tuple[tuple[str, Figures], ...] = (
        ("accuracy, %", lambda f: (100 * f.accuracy, 100 * f.low, 100 * f.high)),
        ("size, MB", lambda f: (f.size / 1e6, f.size / 1e6, f.size / 1e6)),
        ("p90, ms", _bounds),
    )
    if not any(file.latency for version in series.versions for file in version.files):
        panels = panels[:2]

    def panel(axes: Axes, title: str, figures: Figures) -> None:
        for colour, form, aside in ((SERIES[0], "tflite", -ASIDE), (SERIES[1], "onnx", ASIDE)):
            for points in _runs(series, form, figures):
                _line(axes, points, colour, form, aside)
        axes.set_ylabel(title)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.margins(y=0.15)
        axes.grid(axis="y", linewidth=0.6)
        axes.tick_params(length=0)

    def every(axes: Axes) -> None:
        figure, box = axes.get_figure(), axes.get_position()
        assert figure is not None, "plot() gives axes of a figure"
        step = box.height / len(panels)
        for place, (title, figures) in enumerate(panels):
            bottom = box.y0 + step * (len(panels) - 1 - place)
            here = axes if place == len(panels) - 1 else figure.add_axes((box.x0, bottom, box.width, 0.86 * step))
            here.set_position((box.x0, bottom, box.width, 0.86 * step))
            panel(here, title, figures)
            here.set_xticks(ticks, [labels[tick] if here is axes else "" for tick in ticks])
            if place == 0:
                _legend(here)

    return plot(name, 0.8 + PANEL * len(panels), ["100.0 "], every)


def _cut(label: str) -> str:
    return label if len(label) <= NAMED else f"{label[: NAMED - 1]}…"


def _bounds(file: FileFigures) -> tuple[float, float, float] | None:
    if file.latency is None:
        return None
    found = file.latency
    return found.p90, found.p90 if found.low is None else found.low, found.p90 if found.high is None else found.high


def _runs(series: Series, form: str, figures: Figures) -> list[list[Point]]:
    """The points of a format's files, parted where a latency was measured elsewhere."""
    points = [
        (file.latency.place if figures is _bounds and file.latency else None, (place, *bounds, version.passed))
        for place, version in enumerate(series.versions)
        for file in version.files
        if file.format == form and (bounds := figures(file)) is not None
    ]
    return [[point for _, point in group] for _, group in groupby(points, key=lambda item: item[0])]


def _line(axes: Axes, points: list[Point], colour: str, form: str, aside: float) -> None:
    places, values, low, high = (np.array([point[part] for point in points]) for part in range(4))
    places = places + aside
    axes.errorbar(
        places, values, np.maximum([values - low, high - values], 0), color=colour, marker="o", markersize=5,
        capsize=3, elinewidth=1.2, label=form,
    )  # fmt: skip
    missed = [(place + aside, value) for place, value, _, _, passed in points if not passed]
    if missed:
        axes.plot(*zip(*missed, strict=True), "x", color=BAD, markersize=10, zorder=5, label="gate missed")


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), loc="lower left", bbox_to_anchor=(0, 1), ncols=3, labelcolor=MUTED)
