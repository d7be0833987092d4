"""The history of a recipe's bundles as rows of a table and on a page that stands alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.history import Change, FileFigures, History, Series, Version
from pipeline.store import write_atomic
from pipeline.words import short

HEAD = ("version", "gate", "file", "accuracy (95%)", "to the one before", "size", "latency p90")
SHOWN = 60  # letters of a value that changed


def rows(series: Series) -> list[tuple[str, ...]]:
    """A row for each file of each version, under `HEAD`."""
    return [
        (
            version.label if first else "",
            ("passed" if version.passed else "FAILED") if first else "",
            file.name,
            f"{file.accuracy:.2%} ({file.low:.1%} to {file.high:.1%})",
            _difference(file),
            f"{file.size / 1e6:.3f} MB",
            _latency(file),
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


def write_plot(found: History, file: Path) -> None:
    """Writes the plot of one series as an .svg file. Raises InputError for several, which only a page holds, and if it
    can't be written."""
    if len(found.series) > 1:
        names = ", ".join(f"{series.recipe} on {series.target}" for series in found.series)
        raise InputError(
            f"{file}: an .svg holds one series, found {names}: name one of them, or write a page with --html"
        )
    from pipeline.report.history_plot import draw
    from pipeline.report.layer_plot import standalone

    _write(file, standalone(draw(found.series[0], "history")), "--plot")


def write_page(found: History, file: Path) -> None:
    """Writes all of it as one HTML file that needs nothing else. Raises InputError if it can't be written."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from pipeline.report.history_plot import draw

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
