"""How the latencies of single inferences are distributed."""

from math import log, sqrt
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline.report.figures import short_name
from pipeline.report.plots import MUTED, SCALE, Drawing, drawing, file_colour, key, plot, powers_of_ten, quiet

POINTS = 200  # of a curve
WIDE = 4  # times that the longest is the shortest: from there on a scale of powers of ten
LEVELS = (50, 90, 99)


def distribution(files: list[dict[str, Any]], name: str) -> Drawing:
    """Share of runs that took at most so many ms, of `files` that were measured, each with its 95% confidence band: the
    Dvoretzky-Kiefer-Wolfowitz inequality with Massart's constant (1990), of as many independent runs as there are
    between runs that are alike."""
    curves = [(file, np.sort(np.array(file["measured"]["samples"]["values"]))) for file in files]
    left = min(float(samples[0]) for _, samples in curves)
    right = max(float(np.quantile(samples, 0.99)) for _, samples in curves)
    wide = 0 < WIDE * left < right
    room = 0.06 * (right - left) or 0.1 * right or 1.0  # where all runs took the same time

    def draw(axes: Axes) -> None:
        for level in LEVELS[:2]:
            axes.axhline(level, color=MUTED, linewidth=0.7, linestyle=(0, (2, 3)))
        for file, samples in curves:
            colour = file_colour(file)
            shares = np.linspace(0, 1, POINTS + 1)
            times = np.quantile(samples, shares, method="inverted_cdf")
            width = band(len(samples), file["measured"]["correlation_time"]["value"])
            low, high = (100 * np.clip(shares + side * width, 0, 1) for side in (-1, 1))
            axes.fill_between(times, low, high, step="post", color=colour, alpha=0.16, linewidth=0)
            axes.step(times, 100 * shares, where="post", color=colour)
        if wide:
            powers_of_ten(axes, left, right)
        else:
            axes.set_xlim(left - room, right + room)
        axes.set_ylim(0, 101)
        axes.set_yticks([0, *LEVELS[:2], 100])
        axes.set_xlabel(f"ms of one inference, up to p99{SCALE if wide else ''}")
        axes.set_ylabel("% of runs at most so long")
        quiet(axes)

    alt = "Distribution of latency: " + "; ".join(
        f"{short_name(file['name'])} "
        + ", ".join(f"{level}% of the runs within {np.percentile(samples, level):.3g} ms" for level in LEVELS)
        for file, samples in curves
    )
    keys = [key(short_name(file["name"]), file_colour(file)) for file, _ in curves]
    return drawing(plot(name, 2.8, ["100.0"], draw), alt, keys)


def band(runs: int, correlation_time: float) -> float:
    """Half the height of the 95% band, as a share."""
    independent = max(1.0, runs / max(correlation_time, 1.0))
    return min(1.0, sqrt(log(2 / 0.05) / (2 * independent)))
