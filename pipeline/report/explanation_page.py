"""The page's section on why teacher and student decide so: heat maps over images, and how agreement is spread."""

import re
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from pipeline.report.plots import BOTTOM, INK, MUTED, SERIES, TOP, plot

BARS = 20  # of the histogram
FAINT = 0.04  # of the largest value: cells below are left clear


def explanation_view(report: dict[str, Any]) -> dict[str, Any] | None:
    """What the template shows besides the report's figures: `spread`, and a heat map for each of the worst; no text of
    the user's is in them."""
    found = report["explanation"]
    if found is None:
        return None
    return {
        "method": found["method"].replace("_", " "),
        "spread": Markup(spread(found, "agreement")) if found["rank_correlation"] else None,  # noqa: S704
        "maps": [heat_maps(sample, found["grid"], f"why{index}") for index, sample in enumerate(found["worst"])],
    }


def heat_maps(sample: dict[str, Any], grid: int | None, name: str) -> Markup | None:
    """An image as it is, and with each network's attribution over it: blue speaks for the class, orange against it."""
    if grid is None:
        return None
    png = re.sub(r"[^A-Za-z0-9+/=]", "", sample["png"])  # nothing but base64 gets into the page
    panels = [f'<image id="{name}" href="data:image/png;base64,{png}" width="{grid}" height="{grid}"/>']
    for panel, side in enumerate(("teacher", "student"), 1):
        left = panel * (grid + 0.5)
        panels.append(f'<g transform="translate({left:g} 0)"><use href="#{name}" class="under"/>')
        for index, part in enumerate(sample["parts"]):
            value = float(part[side])
            if abs(value) < FAINT:
                continue
            row, column = divmod(index, grid)
            colour = "series-0" if value > 0 else "series-1"
            panels.append(
                f'<rect x="{column}" y="{row}" width="1" height="1" fill="var(--{colour})" '
                f'fill-opacity="{min(0.85 * abs(value), 0.85):.2f}"/>'
            )
        panels.append("</g>")
    return Markup(f'<svg viewBox="0 0 {3 * grid + 1} {grid}">{"".join(panels)}</svg>')  # noqa: S704


def spread(found: dict[str, Any], name: str) -> str:
    """Histogram of the samples' rank correlation, beside what two different samples reach by chance."""
    agreement = found["rank_correlation"]
    values = [value for value in agreement["values"] if value is not None]

    def draw(axes: Axes) -> None:
        axes.hist(values, bins=np.linspace(-1, 1, BARS + 1).tolist(), color=SERIES[0], rwidth=0.92)
        axes.axvline(agreement["mean"]["value"], color=INK, linewidth=1.6)
        axes.axvline(agreement["chance_high"]["value"], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_xlim(-1.1, 1.1)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.set_xlabel("rank correlation; line: mean, dashed: 95% of chance")
        axes.set_ylabel("samples")
        axes.grid(axis="y", linewidth=0.6)
        axes.tick_params(length=0)

    return plot(name, 2.0 + BOTTOM + TOP, ["100.0"], draw)
