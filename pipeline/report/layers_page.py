"""The page's section on layers: a plot of what each costs in 8 bits, and a table of those that cost most."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.plots import BAD, GRID, SERIES, Drawing, drawing, key, plot, quiet

LISTED = 12  # layers in the table, and those that were kept


def layers_view(report: dict[str, Any]) -> dict[str, Any] | None:
    """What the template shows besides the report's figures: `plot`, and `rows` of the table, most sensitive first."""
    found = report["sensitivity"]
    if found is None:
        return None
    ranked = sorted(found["layers"], key=lambda layer: layer["sqnr"]["value"])
    rows = [layer for place, layer in enumerate(ranked) if place < LISTED or layer["kept"]]
    costs = {
        file["name"]: {cost["layer"]: cost for cost in file["measured"]["float_layers"]}
        for file in report["files"]
        if file["measured"] and file["measured"]["float_layers"]
    }
    return {"plot": noise(found["layers"], "layers"), "rows": rows, "costs": costs}


def noise(layers: list[dict[str, Any]], name: str) -> Drawing:
    """Signal to noise of each layer, in the order in which they run; those that stayed in float are marked."""
    places = range(1, len(layers) + 1)
    values = [layer["sqnr"]["value"] for layer in layers]
    low, high = min(values), max(values)
    span = max(high - low, 1.0)

    def draw(axes: Axes) -> None:
        axes.vlines(places, values, high + 0.08 * span, color=GRID, linewidth=0.8)
        for kept, colour in ((False, SERIES[0]), (True, BAD)):
            shown = [(p, v) for p, v, layer in zip(places, values, layers, strict=True) if layer["kept"] is kept]
            if shown:
                axes.plot(*zip(*shown, strict=True), "o", color=colour, markersize=4.5)
        axes.set_ylim(low - 0.1 * span, high + 0.08 * span)
        axes.set_xlim(0, len(layers) + 1)
        axes.set_xlabel("layer, in the order in which they run")
        axes.set_ylabel("signal to noise in dB")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        quiet(axes)

    worst = min(layers, key=lambda layer: layer["sqnr"]["value"])
    alt = f"Signal to noise of the logits with one layer in 8 bits; least: {worst['layer']}, {low:.1f} dB"
    keys = [key("in 8 bits", SERIES[0]), key("kept in float", BAD)] if any(layer["kept"] for layer in layers) else []
    return drawing(plot(name, 2.6, ["100.0"], draw), alt, keys)
