"""The picture of a front: accuracy against latency, the size of what ships as the area of a mark."""

import io
from pathlib import Path

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.search.front.goals import COSTS
from pipeline.search.front.result import FoundFront
from pipeline.search.plot import BLUE, GRID, INK, MUTED, ORANGE, RED, STYLE
from pipeline.search.result import UNITS, Trial, name
from pipeline.store import write_atomic
from pipeline.words import short

LARGEST, SMALLEST = 330.0, 14.0  # square points of the largest file's mark, and of any
PER_LINE = 5  # entries of the legend
FAR = 1.5  # times the dearest student: what lies beyond would squeeze the rest
AXES = {"latency": "ms of one inference on this host, median at the reference's pace", "size": "MB (10\u2076 bytes)"}


def write_front_plot(found: FoundFront, title: str) -> Path | None:
    """`front.svg`: the same bytes for the same trials. None, and no such file, while no trial is done."""
    file = found.folder / "front.svg"
    if not found.front:
        file.unlink(missing_ok=True)
        return None
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = draw_front(found, title)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    write_atomic(file, stream.getvalue())
    return file


def draw_front(found: FoundFront, title: str) -> Figure:
    """Of trials one of which at least is done."""
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left")
    axes = figure.subplots()
    across = "latency" if "latency" in found.over else "size"
    key = COSTS[across]
    front = found.front
    numbers = {trial.number for trial in front}
    others = [trial for trial in found.trials if trial.state == "done" and trial.number not in numbers]
    area = _Areas([trial for trial in found.trials if trial.state == "done"], across)
    if others:
        axes.scatter(
            *_places(others, key), s=[area(trial) for trial in others], color=MUTED, alpha=0.35, linewidths=0,
            label="beaten in everything",
        )  # fmt: skip
    _skipped(axes, found, key)
    steps = _staircase(front, key)
    axes.step(*zip(*steps, strict=True), where="post", color=BLUE, linewidth=1.2, alpha=0.6, zorder=1)
    filled = [BLUE if trial.feasible else "white" for trial in front]
    axes.scatter(
        *_places(front, key), s=[area(trial) for trial in front], color=filled, edgecolors=BLUE, linewidths=1.2,
        label="front (hollow: over a budget)" if "white" in filled else "front",
    )  # fmt: skip
    for word, chosen, colour in (("best within the budgets", found.best, INK), ("knee", found.knee, ORANGE)):
        if chosen is not None:
            ring = area(chosen) * (2.2 if word == "knee" else 1.5) + 40
            axes.scatter(
                *_places([chosen], key), s=ring, facecolors="none", edgecolors=colour, linewidths=1.5, label=word
            )
    for trial in front:
        place, above = (trial.figures[key], 100 * (trial.accuracy or 0)), area(trial) ** 0.5 / 2 + 5
        axes.annotate(
            str(trial.number), place, xytext=(0, above), textcoords="offset points", ha="center", fontsize=8, color=INK
        )
    _budgets(axes, found, across)
    axes.set_xlabel(AXES[across])
    axes.set_ylabel("validation accuracy in %")
    axes.grid(linewidth=0.6)
    axes.tick_params(length=0)
    axes.margins(0.1)
    _legend(figure, axes, area)
    return figure


class _Areas:
    """The area of a trial's mark, in proportion to its file's size; one for all where size is an axis."""

    def __init__(self, trials: list[Trial], across: str) -> None:
        self.sizes = sorted(trial.figures["size_mb"] for trial in trials) if across != "size" else []

    def of(self, size: float) -> float:
        return max(LARGEST * size / self.sizes[-1], SMALLEST)

    def __call__(self, trial: Trial) -> float:
        return self.of(trial.figures["size_mb"]) if self.sizes else LARGEST / 6


def _places(trials: list[Trial], key: str) -> tuple[list[float], list[float]]:
    return [trial.figures[key] for trial in trials], [100 * (trial.accuracy or 0.0) for trial in trials]


def _staircase(front: list[Trial], key: str) -> list[tuple[float, float]]:
    """The most accurate of what costs so much or less: with two costs some of the front lie below it."""
    steps: list[tuple[float, float]] = []
    for across, accuracy in sorted(zip(*_places(front, key), strict=True)):
        steps.append((across, max([accuracy, *(height for _, height in steps)])))
    return steps


def _skipped(axes: Axes, found: FoundFront, key: str) -> None:
    """Of what was not trained the costs are known: marks on the axis."""
    places = [trial.figures[key] for trial in found.trials if trial.state == "skipped"]
    near = [place for place in places if place <= _edge(found, key)]
    if near:
        axes.plot(
            near, [0.012] * len(near), transform=axes.get_xaxis_transform(), linestyle="", marker="|", color=MUTED,
            markersize=7, label="skipped before training",
        )  # fmt: skip


def _edge(found: FoundFront, key: str) -> float:
    return FAR * max(trial.figures[key] for trial in found.trials if trial.state == "done")


def _budgets(axes: Axes, found: FoundFront, across: str) -> None:
    """Budgets as lines, those far off in words."""
    key, dashed = COSTS[across], {"color": RED, "linewidth": 1.2, "linestyle": (0, (4, 3))}
    shown = {"latency_ms.p50", "latency_ms.p90", "latency_ms.p99"} if across == "latency" else {key}
    far = []
    for budget in sorted(shown & set(found.limits)):
        limit = found.limits[budget]
        if limit <= _edge(found, key):
            axes.axvline(limit, label=f"{name(budget)} budget", **dashed)  # type: ignore[arg-type]
        else:
            far.append(f"{name(budget)} budget: {limit:g} {UNITS.get(budget, 'ms')}, beyond the right edge")
    if "size_mb" in found.limits and across != "size":
        far.append(f"size budget: {found.limits['size_mb']:g} MB")
    if found.least_accuracy is not None:
        axes.axhline(100 * found.least_accuracy, label="least accuracy", **dashed)  # type: ignore[arg-type]
    for line, text in enumerate(far):
        axes.annotate(
            text, (1, 0), xycoords="axes fraction", xytext=(-4, 5 + 12 * line), textcoords="offset points",
            ha="right", fontsize=8, color=RED,
        )  # fmt: skip


def _legend(figure: Figure, axes: Axes, area: _Areas) -> None:
    marks = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    shown = {text: _plain(mark, text) for text, mark in marks.items()}
    if area.sizes:
        for size in dict.fromkeys((area.sizes[0], area.sizes[-1])):
            shown[f"{short(size)} MB"] = Line2D(
                [], [], linestyle="", marker="o", markerfacecolor="none", markeredgecolor=GRID,
                markeredgewidth=1.4, markersize=area.of(size) ** 0.5,
            )  # fmt: skip
    figure.legend(
        list(shown.values()), list(shown), loc="outside lower center", ncols=min(len(shown), PER_LINE),
        fontsize=9, handlelength=1.6, columnspacing=1.4, borderpad=0.8,
    )  # fmt: skip


def _plain(mark: Artist, text: str) -> Artist:
    """Of a cloud of marks one, of a size that tells nothing."""
    looks = {
        "beaten in everything": {"markerfacecolor": MUTED, "markeredgecolor": "none", "alpha": 0.35},
        "front": {"markerfacecolor": BLUE, "markeredgecolor": "none"},
        "best within the budgets": {"markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.5},
        "knee": {"markerfacecolor": "none", "markeredgecolor": ORANGE, "markeredgewidth": 1.5},
    }
    kind = text.split(" (")[0]
    return Line2D([], [], linestyle="", marker="o", markersize=7, **looks[kind]) if kind in looks else mark  # type: ignore[arg-type]
