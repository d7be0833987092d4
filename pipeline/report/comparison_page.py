"""Bundles side by side as tables, in the terminal or on a page that stands alone: one for each format of file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.comparison import Candidate, Comparison, Difference, short_names
from pipeline.errors import InputError
from pipeline.store import write_atomic
from pipeline.words import short

BEYOND_NOISE = (
    "better and worse are beyond noise: by the 95% interval of the accuracies' difference (Newcombe 1998), and where "
    "the 95% intervals of both p90 do not overlap"
)


@dataclass(frozen=True)
class Row:
    """A figure of every file. Each cell has a line for the figure, and one for its difference to the first bundle's
    where it has one."""

    name: str
    cells: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Table:
    """The files of one format, a column a bundle."""

    format: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    front: str


def tables(found: Comparison) -> list[Table]:
    names = short_names(found.bundles)
    made = []
    for name, axes in found.axes.items():
        files = [file for file in found.files if file.format == name]
        rows = tuple(Row(title, tuple(cell(file, found.bundles[0]) for file in files)) for title, cell in CELLS.items())
        front = f"front: no other is as good in {', '.join(axes[:-1])} and {axes[-1]}, and better in one"
        made.append(Table(name, tuple(names[file.bundle] for file in files), rows, front))
    return made


def _accuracy(file: Candidate, first: str) -> tuple[str, ...]:
    found = file.accuracy
    told = f"{found['value']:.2%} ({found['low']:.1%} to {found['high']:.1%})"
    return told, *_to_first(file, first, file.accuracy_difference)


def _size(file: Candidate, first: str) -> tuple[str, ...]:
    return f"{short(file.size / 1e6)} MB", *_to_first(file, first, file.size_difference)


def _latency(file: Candidate, first: str) -> tuple[str, ...]:
    if file.latency is None:
        return ("not measured",)
    told = f"{short(file.latency['p90'])} ms ({file.latency['source']})"
    return told, *_to_first(file, first, file.latency_difference)


def _to_first(file: Candidate, first: str, difference: Difference | None) -> tuple[str, ...]:
    """`+1.20 points, better` or `+0.30 points, noise`; sizes of 1,000 bytes and more in MB."""
    if file.bundle == first:
        return ()
    if difference is None:
        return ("not compared",)
    value, unit = difference.value, difference.unit
    if unit == "bytes" and abs(value) >= 1e3:
        value, unit = value / 1e6, "MB"
    figure = {"points": f"{value:+.2f}", "bytes": f"{value:+.0f}"}.get(
        unit, f"{'+' if value > 0 else ''}{short(value)}"
    )
    if difference.better is not None:
        return (f"{figure} {unit}, {'better' if difference.better else 'worse'}",)
    return ("the same",) if value == 0 else (f"{figure} {unit}, noise",)


CELLS: dict[str, Callable[[Candidate, str], tuple[str, ...]]] = {
    "recipe": lambda file, first: (file.recipe,),
    "target": lambda file, first: (file.target,),
    "scheme": lambda file, first: (file.scheme,),
    "accuracy (95%)": _accuracy,
    "same label as its student": lambda file, first: (f"{file.agreement_with_student:.2%}",),
    "same label as its other file": lambda file, first: (
        f"{file.agreement:.2%}" if file.agreement is not None else "",
    ),
    "size": _size,
    "latency p90": _latency,
    "against float32": lambda file, first: (
        f"{file.times_faster_than_float32:.2f}x as fast" if file.times_faster_than_float32 is not None else "",
    ),
    "operators run as the scheme means": lambda file, first: (
        ""
        if file.covered is None
        else f"{file.covered:.1%}" + ("" if file.pieces is None else f", pieces: {file.pieces}"),
    ),
    "budgets kept": lambda file, first: (f"{file.checks_passed} of {file.checks}",),
    "on the front": lambda file, first: ("yes" if file.front else "no",),
}


def write_page(found: Comparison, file: Path) -> None:
    """Writes the tables as one HTML file that needs nothing else. The same comparison gives the same bytes. Raises
    InputError if the file can't be written."""
    from pipeline.report.page import render

    page = render("comparison.html.j2", found=found, tables=tables(found), beyond_noise=BEYOND_NOISE)
    try:
        write_atomic(file, page)
    except OSError as error:
        raise InputError(f"{file}: can't be written: {error.strerror}; give --html another place") from None
