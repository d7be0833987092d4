"""Plots of a report as inline SVG: the page's own colours and font, the same bytes for the same figures."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline.report.figures import ROLES, last_student
from pipeline.words import short

# Colours are placeholders here; in the page each becomes a CSS variable, so a plot follows light and dark.
INK, MUTED, GRID, GOOD, BAD, CARD = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
SERIES = ("#070707", "#080808", "#090909", "#0a0a0a")
_VARIABLES = {
    INK: "ink", MUTED: "muted", GRID: "grid", GOOD: "good", BAD: "bad", CARD: "card",
    **{colour: f"series-{index}" for index, colour in enumerate(SERIES)},
}  # fmt: skip

WIDTH = 5.2  # inches: at 10 points, text stays readable on a phone
BOTTOM, TOP = 0.52, 0.22
ROW = 0.36
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgepress",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "grid.color": GRID,
    "legend.frameon": False,
    "lines.linewidth": 2,
}


def plot(name: str, height: float, labels: Sequence[str], draw: Callable[[Axes], None]) -> str:
    """The <svg> that `draw` makes on one set of axes, `height` inches high, with room for `labels` on the left. Ids
    in it begin with `name`."""
    # Margins by hand: matplotlib's own layout draws everything twice.
    left = (0.14 + 0.076 * max(map(len, labels))) / WIDTH
    with rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, height))
        draw(figure.add_axes((left, BOTTOM / height, 0.99 - left, (height - BOTTOM - TOP) / height)))
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(stream.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """Without what only a file of its own needs: header, addresses, metadata, a size in points."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\b(id="|url\(#|href="#)', lambda found: f"{found[0]}{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return "\n".join(line.rstrip() for line in svg.splitlines())


def accuracy_path(file: dict[str, Any], networks: dict[str, Any], name: str) -> str:
    """Waterfall from the teacher's accuracy to the file's: what each stage lost or gained, in points."""
    steps = file["attribution"]["steps"]
    start = 100 * networks["teacher"]["accuracy"]["value"]
    ends = start - np.cumsum([step["points_lost"] for step in steps])
    rows = ["teacher", *(step["stage"] for step in steps), "this file"]
    low, high = 100 * file["accuracy"]["low"], 100 * file["accuracy"]["high"]
    teacher_low, teacher_high = (100 * networks["teacher"]["accuracy"][key] for key in ("low", "high"))
    every = [start, low, high, teacher_low, teacher_high, *ends]
    span = max(max(every) - min(every), 1.0)
    left, right = max(min(every) - 0.12 * span, 0.0), max(every) + 0.3 * span

    def draw(axes: Axes) -> None:
        for row, value, ends_at in (
            (0, start, (teacher_low, teacher_high)),
            (len(rows) - 1, float(ends[-1]), (low, high)),
        ):
            axes.barh(row, value - left, left=left, height=0.56, color=SERIES[0])
            axes.plot(ends_at, (row, row), color=INK, linewidth=1.2, marker="|", markersize=7)
            axes.text(ends_at[1] + 0.02 * span, row, f"{value:.2f}%", va="center", fontweight="bold")
        before = start
        for row, (step, after) in enumerate(zip(steps, ends.tolist(), strict=True), 1):
            lost = step["points_lost"]
            colour = BAD if lost > 0 else GOOD if lost < 0 else MUTED
            axes.barh(row, after - before, left=before, height=0.56, color=colour)
            axes.plot((before, before), (row - 0.72, row + 0.28), color=MUTED, linewidth=0.8)
            text = "no change" if lost == 0 else f"{-lost:+.2f}"
            axes.text(max(before, after) + 0.02 * span, row, text.replace("-", "−"), va="center", color=MUTED)
            before = after
        axes.set_yticks(range(len(rows)), rows)
        axes.invert_yaxis()
        axes.set_xticks(
            [tick for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(left, right) if left <= tick <= 100]
        )
        axes.set_xlim(left, right)
        axes.set_xlabel(f"test accuracy in %, axis from {left:.1f}; lines: 95% interval")
        _bare(axes)

    return plot(name, BOTTOM + TOP + ROW * len(rows), rows, draw)


def sizes(report: dict[str, Any], name: str) -> str:
    """Megabytes of each file beside the teacher's float32 ONNX."""
    rows = [("teacher float32 onnx", report["teacher_onnx_size"]["value"] / 1e6, "", False)]
    for file in report["files"]:
        times = f" · {file['times_smaller_than_teacher']['value']:.1f}× smaller"
        rows.append((short_name(file), file["size"]["value"] / 1e6, times, file["shipped"]))
    largest = max(size for _, size, _, _ in rows)

    def draw(axes: Axes) -> None:
        for row, (_, size, times, shipped) in enumerate(rows):
            axes.barh(row, size, height=0.56, color=SERIES[0] if shipped else GRID)
            axes.text(size + 0.015 * largest, row, f"{short(size)} MB{times}", va="center")
        axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.45 * largest)
        axes.set_xlabel("MB (10⁶ bytes); grey: not shipped")
        _bare(axes)

    return plot(name, BOTTOM + TOP + ROW * len(rows), [label for label, *_ in rows], draw)


def latencies(report: dict[str, Any], name: str) -> str:
    """p50 as a bar, p90 and p99 as ticks, for every file that was measured."""
    files = [file for file in report["files"] if file["measured"]]
    figures = [{key: file["measured"]["latency"][key]["value"] for key in ("p50", "p90", "p99")} for file in files]
    limit = report["budgets"]["latency_ms"]["p90"]
    slowest = max(found["p90"] for found in figures)
    right = min(max(found["p99"] for found in figures), 1.5 * slowest)
    near = limit is not None and limit <= 3 * slowest  # a far budget would squeeze the bars
    if limit is not None and near:
        right = max(right, 1.02 * limit)

    def draw(axes: Axes) -> None:
        for row, (file, found) in enumerate(zip(files, figures, strict=True)):
            axes.barh(row, found["p50"], height=0.56, color=SERIES[0] if file["shipped"] else GRID)
            axes.plot((found["p50"], found["p90"]), (row, row), color=INK, linewidth=1.2)
            axes.plot(found["p90"], row, color=INK, marker="|", markersize=11, markeredgewidth=2)
            if found["p99"] <= right:
                axes.plot(found["p99"], row, color=MUTED, marker="|", markersize=8, markeredgewidth=1.4)
            text = " / ".join(f"{short(found[key])}" for key in ("p50", "p90", "p99"))
            axes.annotate(text, (1.0, row), xycoords=("axes fraction", "data"), ha="right", va="center")
        axes.annotate("p50 / p90 / p99", (1.0, 1.0), xycoords="axes fraction", ha="right", va="bottom", color=MUTED,
                      fontsize=9)  # fmt: skip
        if limit is not None and near:
            axes.axvline(limit, color=BAD, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.annotate("p90 budget", (limit, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                          color=BAD, fontsize=9)  # fmt: skip
        axes.set_yticks(range(len(files)), [short_name(file) for file in files])
        axes.invert_yaxis()
        axes.set_xlim(0, right * 1.8)
        axes.set_xlabel(f"ms: bar p50, ticks p90 and p99; source: {files[0]['measured']['source']}")
        _bare(axes)

    return plot(name, BOTTOM + TOP + ROW * len(files), list(map(short_name, files)), draw)


def distribution(files: list[dict[str, Any]], name: str) -> str:
    """Share of runs that took at most so many ms, for each shipped file."""
    timed = [(short_name(file), np.sort(file["measured"]["samples"]["values"])) for file in files if file["measured"]]
    right = max(float(np.quantile(samples, 0.99)) for _, samples in timed) * 1.1

    def draw(axes: Axes) -> None:
        for index, (label, samples) in enumerate(timed):
            shares = np.arange(1, len(samples) + 1) / len(samples)
            axes.step(samples, 100 * shares, where="post", color=SERIES[index % len(SERIES)], label=label)
        axes.axhline(90, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.set_xlim(0.9 * min(float(samples[0]) for _, samples in timed), right)
        axes.set_ylim(0, 101)
        axes.set_xlabel("ms of one inference, axis up to p99")
        axes.set_ylabel("% of runs at most so long")
        axes.grid(axis="y", linewidth=0.6)
        axes.legend(loc="lower right")
        axes.tick_params(length=0)

    return plot(name, 2.7, ["100.0"], draw)


def curves(networks: dict[str, Any], name: str) -> str:
    """Validation accuracy after each epoch; the dot is the epoch that was kept."""
    drawn = [(role, networks[role]) for role in ROLES if networks[role] and networks[role]["curve"]]

    def draw(axes: Axes) -> None:
        for index, (role, network) in enumerate(drawn):
            epochs = [record["epoch"] for record in network["curve"]]
            values = [100 * record["validation_accuracy"] for record in network["curve"]]
            axes.plot(epochs, values, color=SERIES[index % len(SERIES)], label=role, marker=".", markersize=4)
            if network["best_epoch"] in epochs:
                kept = epochs.index(network["best_epoch"])
                axes.plot(epochs[kept], values[kept], "o", color=SERIES[index % len(SERIES)], markersize=7)
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation accuracy in %")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", linewidth=0.6)
        axes.legend(loc="lower right")
        axes.tick_params(length=0)

    return plot(name, 2.7, ["100.0"], draw)


def losses(networks: dict[str, Any], name: str) -> str:
    """Training loss of each epoch, on a scale of powers of ten where that is possible: networks learn from different
    losses."""
    drawn = [(role, networks[role]["curve"]) for role in ROLES if networks[role] and networks[role]["curve"]]

    def draw(axes: Axes) -> None:
        for index, (role, curve) in enumerate(drawn):
            values = [record["train_loss"] for record in curve]
            epochs = [record["epoch"] for record in curve]
            axes.plot(epochs, values, color=SERIES[index % len(SERIES)], label=role, marker=".", markersize=4)
        if all(record["train_loss"] > 0 for _, curve in drawn for record in curve):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("epoch")
        axes.set_ylabel("training loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", linewidth=0.6)
        axes.legend(loc="upper right")
        axes.tick_params(which="both", length=0)

    return plot(name, 2.7, ["100.0"], draw)


def reliability(report: dict[str, Any], name: str) -> str:
    """Accuracy by confidence of the teacher, the student and the shipped files; on the diagonal they are the same. The
    larger a dot, the more samples."""
    audit, networks = report["audit"], report["networks"]
    wanted = ["teacher", last_student(networks), *(file["name"] for file in report["files"] if file["shipped"])]
    models = {model["name"]: model for model in audit["models"]}
    drawn = [models[name] for name in dict.fromkeys(wanted)]

    def draw(axes: Axes) -> None:
        axes.plot((0, 100), (0, 100), color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
        for index, model in enumerate(drawn):
            bins, colour = model["reliability"], SERIES[index % len(SERIES)]
            total = sum(found["samples"] for found in bins)
            confidence = [100 * found["confidence"] for found in bins]
            right = [100 * found["accuracy"] for found in bins]
            sizes = [14 + 250 * found["samples"] / total for found in bins]
            # No lines: between bins of a few samples they would draw noise.
            axes.scatter(
                confidence, right, s=sizes, color=colour, alpha=0.75, linewidths=0, label=_short(model["name"])
            )
        least = min(
            100 * min(found["confidence"], found["accuracy"]) for model in drawn for found in model["reliability"]
        )
        axes.set_xlim(max(least - 4, -2), 102)
        axes.set_ylim(max(least - 4, -2), 104)
        axes.set_xlabel("confidence in %, mean of a bin")
        axes.set_ylabel("accuracy in %")
        axes.grid(linewidth=0.6)
        legend = axes.legend(loc="upper left", fontsize=9)
        for handle in legend.legend_handles:
            handle.set_sizes([30])  # type: ignore[union-attr]
        axes.tick_params(length=0)

    return plot(name, 3.4, ["100.0"], draw)


def short_name(file: dict[str, Any]) -> str:
    return _short(file["name"])


def _short(name: str) -> str:
    return name.removeprefix("model.")


def _bare(axes: Axes) -> None:
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(axis="x", linewidth=0.6)
    axes.tick_params(length=0)
