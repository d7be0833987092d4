"""What all plots share: inline SVG in the page's own colours and font, the same bytes for the same figures."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup

matplotlib.use("Agg")

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

# Colours are placeholders here; in the page each becomes a CSS variable, so a plot follows light and dark.
INK, MUTED, GRID, GOOD, BAD, PAGE = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
SERIES = ("#070707", "#080808", "#090909", "#0a0a0a", "#0b0b0b", "#0c0c0c")
_VARIABLES = {
    INK: "ink", MUTED: "muted", GRID: "grid", GOOD: "good", BAD: "bad", PAGE: "page",
    **{colour: f"series-{index}" for index, colour in enumerate(SERIES)},
}  # fmt: skip

# One colour for each thing in every plot of a page; what is compared with is grey.
_ROLES = {
    "teacher": MUTED, "naive": SERIES[1], "student": SERIES[3], "pruned": SERIES[4], "trimmed": SERIES[5],
    "int8": SERIES[2],
}  # fmt: skip
_FORMATS = {"tflite": SERIES[0], "onnx": SERIES[2]}

WIDTH = 5.0  # inches: 360 points, so that on a phone text is about as large as it was set
BOTTOM, TOP = 0.46, 0.1
ROW = 0.36
SCALE = ", scale of powers of ten"  # of an axis that `powers_of_ten` made
LETTER = 0.08  # inches, of the widest letters that a label is likely to have
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgepress",
    "text.parse_math": False,  # a name may hold dollars
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "butt",
}


@dataclass(frozen=True)
class Key:
    """What a colour of a plot stands for; `colour` is the name of a CSS variable."""

    label: str
    colour: str


@dataclass(frozen=True)
class Drawing:
    """A plot as the page takes it: the <svg>, what it shows in words for those who can't see it, and its legend."""

    svg: Markup
    alt: str
    keys: tuple[Key, ...] = ()


def role_colour(role: str) -> str:
    return _ROLES.get(role, INK)


def file_colour(file: dict[str, Any]) -> str:
    """Of a file that ships, by its format."""
    return _FORMATS.get(file["format"], SERIES[5])


def key(label: str, colour: str) -> Key:
    return Key(label, _VARIABLES[colour])


def plot(
    name: str, height: float, labels: Sequence[str], draw: Callable[[Axes], None], *, top: float = TOP,
    right: float = 0.06,
) -> str:  # fmt: skip
    """The <svg> that `draw` makes on one set of axes, `height` inches high, with room for `labels` on the left and
    `right` inches on the right. Ids in it begin with `name`."""
    # Margins by hand: matplotlib's own layout draws everything twice.
    left = (0.1 + LETTER * max(map(len, labels), default=0)) / WIDTH
    with rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, height))
        draw(figure.add_axes((left, BOTTOM / height, 1 - right / WIDTH - left, (height - BOTTOM - top) / height)))
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(stream.getvalue(), name)


def drawing(svg: str, alt: str, keys: Sequence[Key] = ()) -> Drawing:
    """No text of the user's gets in unescaped: what stands in an SVG is escaped by matplotlib."""
    return Drawing(Markup(svg), alt, tuple(keys))  # noqa: S704


def _inline(svg: str, name: str) -> str:
    """Without what only a file of its own needs: header, addresses, metadata, a size in points, families of fonts."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\b(id="|url\(#|href="#)', lambda found: f"{found[0]}{name}-", svg)
    svg = re.sub(r"font: (?:([\w]+) )?([\d.]+)px [^;\"]*", _font, svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip())


def _font(found: re.Match[str]) -> str:
    weight = f"font-weight: {found[1]}; " if found[1] else ""
    return f"{weight}font-size: {found[2]}px"


def bare(axes: Axes) -> None:
    """No frame and no ticks: the grid of the values alone."""
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(axis="x")
    axes.tick_params(length=0)


def quiet(axes: Axes) -> None:
    """A curve's axes: a line below, and the grid of the values."""
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y")
    axes.tick_params(which="both", length=0)


def powers_of_ten(axes: Axes, low: float, high: float) -> None:
    """A scale for values above 0 from `low` to `high` that lie far apart."""
    axes.set_xscale("log")
    axes.set_xlim(low / 1.15, high * 1.15)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 200 * low else (1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def cut(label: str, letters: int) -> str:
    return label if len(label) <= letters else f"{label[: letters - 1]}…"
