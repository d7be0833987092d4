"""The history of a recipe's bundles as rows of a table, as a plot, and on a page that stands alone."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from pipeline.errors import InputError
from pipeline.history import Change, FileFigures, History, Series, Version
from pipeline.report.layer_plot import standalone
from pipeline.report.plots import BAD, MUTED, SERIES, plot
from pipeline.store import write_atomic
from pipeline.words import short

HEAD = ("version", "file", "accuracy (95%)", "to the one before", "size", "latency p90", "gate")
PANEL = 2.0  # inches high
SHOWN = 60  # letters of a value that changed


def rows(series: Series) -> list[tuple[str, ...]]:
    """A row for each file of each version, under `HEAD`."""
    return [
        (
            version.label if first else "",
            file.name,
            f"{file.accuracy:.2%} ({file.low:.1%} to {file.high:.1%})",
            _difference(file),
            f"{file.size / 1e6:.3f} MB",
            _latency(file),
            ("passed" if version.passed else "FAILED") if first else "",
        )
        for version in series.versions
        for first, file in _marked(version.files)
    ]


def changed(version: Version) -> list[str]:
    """What changed, one line each; many package versions as one."""
    packages = [change for change in version.changes if change.what.startswith("package ")]
    lines = [
        f"{change.what.removeprefix('recipe.')}: {_value(change.before)} -> {_value(change.after)}"
        for change in version.changes
        if change not in packages
    ]
    if packages:
        lines.append("packages: " + ", ".join(_package(change) for change in packages))
    return lines


def draw(series: Series, name: str) -> str:
    """The <svg> of accuracy with its 95% interval, size, and latency p90 with its interval, by version; a file that
    missed the gate is marked. Latencies of another machine are not joined by a line."""
    labels = [version.label for version in series.versions]
    panels: tuple[tuple[str, Callable[[FileFigures], tuple[float, float, float] | None]], ...] = (
        ("accuracy, %", lambda f: (100 * f.accuracy, 100 * f.low, 100 * f.high)),
        ("size, MB", lambda f: (f.size / 1e6,) * 3),
        ("p90, ms", _bounds),
    )
    if not any(file.latency for version in series.versions for file in version.files):
        panels = panels[:2]

    def panel(axes: Axes, title: str, figures: Callable[[FileFigures], tuple[float, float, float] | None]) -> None:
        for colour, form in zip(SERIES, ("tflite", "onnx"), strict=False):
            for points in _runs(series, form, figures):
                _line(axes, points, colour, form)
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
            here.set_xticks(range(len(labels)), labels if here is axes else [""] * len(labels))
            if place == 0:
                _legend(here)

    return plot(name, 0.8 + PANEL * len(panels), ["100.0 "], every)


def write_plot(found: History, file: Path) -> None:
    """Writes the plot of one series as an .svg file. Raises InputError for several, which only a page holds, and if it
    can't be written."""
    if len(found.series) > 1:
        names = ", ".join(f"{series.recipe} on {series.target}" for series in found.series)
        raise InputError(f"{file}: an .svg holds one series, found {names}: name one of them, or write a page with --html")
    _write(file, standalone(draw(found.series[0], "history")), "--plot")


def write_page(found: History, file: Path) -> None:
    """Writes all of it as one HTML file that needs nothing else. Raises InputError if it can't be written."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = [
        (series, rows(series), [(v.label, changed(v)) for v in series.versions[1:]], Markup(draw(series, f"s{place}")))  # noqa: S704
        for place, series in enumerate(found.series)
    ]
    page = environment.get_template("history.html.j2").render(parts=parts, head=HEAD, notes=found.notes)
    _write(file, page.rstrip() + "\n", "--html")


def _write(file: Path, text: str, option: str) -> None:
    try:
        write_atomic(file, text)
    except OSError as error:
        raise InputError(f"{file}: can't be written: {error.strerror}; give {option} another place") from None


def _marked(files: Sequence[FileFigures]) -> Iterator[tuple[bool, FileFigures]]:
    return ((place == 0, file) for place, file in enumerate(files))


def _difference(file: FileFigures) -> str:
    if file.difference is None:
        return ""
    beyond = {True: ", better", False: ", worse", None: ""}[file.difference.better]
    return f"{file.difference.value:+.2f} points{beyond}"


def _latency(file: FileFigures) -> str:
    return "" if file.latency is None else f"{short(file.latency.p90)} ms on {file.latency.source}"


def _value(value: str | None) -> str:
    if value is None:
        return "(none)"
    return value if len(value) <= SHOWN else f"{value[: SHOWN - 1]}…"


def _package(change: Change) -> str:
    return f"{change.what.removeprefix('package ')} {_value(change.before)} -> {_value(change.after)}"


def _bounds(file: FileFigures) -> tuple[float, float, float] | None:
    if file.latency is None:
        return None
    found = file.latency
    return found.p90, found.p90 if found.low is None else found.low, found.p90 if found.high is None else found.high


Point = tuple[int, float, float, float, bool]  # version, value, low, high, passed


def _runs(
    series: Series, form: str, figures: Callable[[FileFigures], tuple[float, float, float] | None]
) -> list[list[Point]]:
    """The points of a format's files, parted where a latency was measured elsewhere."""
    points = [
        (file.latency.place if figures is _bounds and file.latency else None, (place, *bounds, version.passed))
        for place, version in enumerate(series.versions)
        for file in version.files
        if file.format == form and (bounds := figures(file)) is not None
    ]
    return [[point for _, point in group] for _, group in groupby(points, key=lambda item: item[0])]


def _line(axes: Axes, points: list[Point], colour: str, form: str) -> None:
    places, values, low, high = (np.array([point[part] for point in points]) for part in range(4))
    axes.errorbar(
        places, values, np.maximum([values - low, high - values], 0), color=colour, marker="o", markersize=5,
        capsize=3, elinewidth=1.2, label=form,
    )  # fmt: skip
    missed = [(place, value) for place, value, _, _, passed in points if not passed]
    if missed:
        axes.plot(*zip(*missed, strict=True), "x", color=BAD, markersize=9, label="gate missed")


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), loc="lower left", bbox_to_anchor=(0, 1), ncols=3, labelcolor=MUTED)
