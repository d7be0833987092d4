"""The page's section on why teacher and student decide so: heat maps over images, and how agreement is spread."""

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.pictures import data_address
from pipeline.report.plots import INK, MUTED, SERIES, Drawing, drawing, key, plot, quiet

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
        "spread": spread(found, "agreement") if found["rank_correlation"] else None,
        "maps": [heat_maps(sample, found["grid"], f"why{index}") for index, sample in enumerate(found["worst"])],
    }


def heat_maps(sample: dict[str, Any], grid: int | None, name: str) -> Markup | None:
    """An image as it is, and with each network's attribution over it: blue speaks for the class, orange against it."""
    if grid is None:
        return None
    panels = [f'<image id="{name}" href="{data_address(sample["png"])}" width="{grid}" height="{grid}"/>']
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


def spread(found: dict[str, Any], name: str) -> Drawing:
    """Histogram of the samples' rank correlation, beside what two different samples reach by chance."""
    agreement = found["rank_correlation"]
    values = [value for value in agreement["values"] if value is not None]

    def draw(axes: Axes) -> None:
        axes.hist(values, bins=np.linspace(-1, 1, BARS + 1).tolist(), color=SERIES[0], rwidth=0.92)
        axes.axvline(agreement["mean"]["value"], color=INK, linewidth=1.6)
        axes.axvline(agreement["chance_high"]["value"], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_xlim(-1.1, 1.1)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.set_xlabel("rank correlation")
        axes.set_ylabel("samples")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        quiet(axes)

    mean, chance = agreement["mean"]["value"], agreement["chance_high"]["value"]
    alt = f"Histogram of the rank correlation of {len(values)} samples; mean {mean:.2f}, 95% of chance {chance:.2f}"
    return drawing(plot(name, 2.6, ["100.0"], draw), alt, [key("| mean", INK), key("| 95% of chance", MUTED)])
