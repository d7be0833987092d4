"""The picture of a search: accuracy trial by trial, and accuracy against the size of what ships."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.search.result import Trial, best_trial, name
from pipeline.store import write_atomic

# The report's colours on white; a file of its own follows no page.
INK, MUTED, GRID, BLUE, ORANGE, RED = "#191c24", "#5d6575", "#d9dde6", "#3568d4", "#d9772b", "#c2353a"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgepress",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "legend.frameon": False,
}


def write_plot(trials: Sequence[Trial], limits: Mapping[str, float], title: str, folder: Path) -> Path:
    """`search.svg`: the same bytes for the same trials."""
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = draw(trials, limits, title)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    file = folder / "search.svg"
    write_atomic(file, stream.getvalue())
    return file


def draw(trials: Sequence[Trial], limits: Mapping[str, float], title: str) -> Figure:
    """Of trials one of which at least is done."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left")
    left, right = figure.subplots(1, 2, sharey=True)
    reached = [100 * trial.accuracy for trial in trials if trial.state == "done" and trial.accuracy is not None]
    span = max(max(reached) - min(reached), 1.0)
    floor = min(reached) - 0.12 * span  # trials given up early may lie far below: they stand on it
    _by_number(left, trials, floor)
    _by_size(right, trials, floor, limits.get("size_mb"))
    left.set_ylim(floor - 0.04 * span, max(reached) + 0.08 * span)
    marks = {text: mark for axes in (left, right) for mark, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        marks.values(), marks.keys(), loc="outside lower center", ncols=len(marks),
        fontsize=9, handlelength=1.4, columnspacing=1.4,
    )  # fmt: skip
    return figure


def _by_number(axes: Axes, trials: Sequence[Trial], floor: float) -> None:
    best, steps = None, []
    for trial in trials:
        if trial.feasible and (best is None or (trial.accuracy or 0) > best):
            best = trial.accuracy
        if best is not None:
            steps.append((trial.number, 100 * best))
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color=BLUE, linewidth=1.6, label="best so far")
    _scatter(axes, trials, {trial.number: float(trial.number) for trial in trials}, floor)
    for trial in trials:
        if trial.state == "failed":
            axes.axvline(trial.number, color=RED, linewidth=0.8, linestyle=(0, (1, 3)), label="failed")
    axes.set_title("Accuracy by trial", loc="left")
    axes.set_xlabel("trial")
    axes.set_ylabel("validation accuracy in %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes)


def _by_size(axes: Axes, trials: Sequence[Trial], floor: float, limit: float | None) -> None:
    _scatter(axes, trials, {trial.number: trial.figures["size_mb"] for trial in trials if trial.figures}, floor)
    if limit is not None:
        axes.axvline(limit, color=RED, linewidth=1.2, linestyle=(0, (4, 3)), label=f"{name('size_mb')} budget")
    axes.set_title("Accuracy by size", loc="left")
    axes.set_xlabel("MB (10⁶ bytes) of the largest file that ships")
    _finish(axes)


def _scatter(axes: Axes, trials: Sequence[Trial], places: Mapping[int, float], floor: float) -> None:
    best = best_trial(trials)
    groups = (
        ("within budgets", [t for t in trials if t.feasible], {"marker": "o", "color": BLUE, "s": 34}),
        ("over a budget", [t for t in trials if t.missed],
         {"marker": "o", "facecolors": "none", "edgecolors": ORANGE, "linewidths": 1.5, "s": 34}),
        ("given up early", [t for t in trials if t.state == "pruned"], {"marker": "v", "color": MUTED, "s": 26}),
        ("chosen", [best] if best else [],
         {"marker": "o", "facecolors": "none", "edgecolors": INK, "linewidths": 1.6, "s": 110}),
    )  # fmt: skip
    for label, group, style in groups:
        shown = [t for t in group if t.number in places and t.accuracy is not None]
        if shown:
            values = [max(100 * t.accuracy, floor) for t in shown if t.accuracy is not None]
            axes.scatter([places[t.number] for t in shown], values, label=label, **style)  # type: ignore[arg-type]


def _finish(axes: Axes) -> None:
    axes.grid(axis="y", linewidth=0.6)
    axes.tick_params(length=0)
    axes.margins(x=0.06)
