"""Time of each layer of one inference, in the order of computation, as a plot and as an SVG file of its own."""

from typing import Any

from matplotlib.axes import Axes

from pipeline.report.plots import BOTTOM, GRID, ROW, SERIES, TOP, bare, cut, plot
from pipeline.words import short

DRAWN = 40  # layers: of more the dearest
NAMED = 34  # characters of a layer's label
# The page's light colours, for a file that no page gives any.
COLOURS = {
    "ink": "#1a1d24", "muted": "#586070", "grid": "#cfd5df", "page": "#ffffff", "bad": "#b4262c", "series-0": "#2b5fc4",
    "series-1": "#b95a10",
}  # fmt: skip


def short_layer(layer: dict[str, Any]) -> str:
    """A layer's name without the path of modules that exporters put before it."""
    last = layer["name"].split(";")[0].rsplit("/", 1)[-1].rsplit(".", 1)[-1]
    return last or layer["name"]


def layer_times(bench: dict[str, Any], name: str) -> str:
    """The <svg> of `bench_layers`'s answer: a bar for each layer, of many for the `DRAWN` dearest."""
    layers = list(enumerate(bench["layers"], 1))
    dearest = sorted(layers, key=lambda row: -row[1]["ms"])[:DRAWN]
    drawn = sorted(dearest, key=lambda row: row[0])
    labels = [cut(f"{place} {layer['kind']} {short_layer(layer)}", NAMED) for place, layer in drawn]
    most = max((layer["ms"] for _, layer in drawn), default=0.0) or 1.0

    def draw(axes: Axes) -> None:
        for row, (_, layer) in enumerate(drawn):
            shown = max(layer["ms"], 0.0)  # below zero: less than the times scatter
            axes.barh(row, shown, height=0.56, color=SERIES[0] if layer["ms"] > 0 else GRID)
            text = f"{short(layer['ms'])} ms" if layer["ms"] > 0 else "too short to tell"
            axes.text(shown + 0.015 * most, row, text, va="center")
        axes.set_yticks(range(len(drawn)), labels)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.35 * most)
        left = len(layers) - len(drawn)
        rest = f"; {left} shorter ones left out" if left else ""
        axes.set_xlabel(f"ms of one inference{rest}; source: {bench['source']}")
        bare(axes)

    return plot(name, BOTTOM + TOP + ROW * max(len(drawn), 1), labels or [""], draw)


def standalone(svg: str) -> str:
    """A plot of the page's as a file of its own, on a white ground."""
    for variable, colour in COLOURS.items():
        svg = svg.replace(f"var(--{variable})", colour)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = svg.replace("<svg", f'<svg {names} style="background: {COLOURS["page"]}; font-family: sans-serif"', 1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'
