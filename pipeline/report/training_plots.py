"""How the networks learned: accuracy and loss, epoch by epoch."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline.report.figures import ROLES
from pipeline.report.plots import Drawing, drawing, key, plot, quiet, role_colour

HEIGHT = 2.6
TICKS = "100.00  "  # as wide as labels of the vertical axis and its name get


def curves(networks: dict[str, Any], name: str) -> Drawing | None:
    """Validation accuracy after each epoch; the dot is the epoch that was kept. None where nothing was trained."""
    drawn = _trained(networks)
    if not drawn:
        return None

    def draw(axes: Axes) -> None:
        for role, network in drawn:
            epochs = [record["epoch"] for record in network["curve"]]
            values = [100 * record["validation_accuracy"] for record in network["curve"]]
            alone = "." if len(epochs) == 1 else ""
            axes.plot(epochs, values, color=role_colour(role), marker=alone)
            if network["best_epoch"] in epochs:
                kept = epochs.index(network["best_epoch"])
                axes.plot(epochs[kept], values[kept], "o", color=role_colour(role), markersize=6)
        axes.set_ylabel("validation accuracy in %")
        _epochs(axes)

    told = (f"{role} {100 * network['validation_accuracy']['value']:.1f}%" for role, network in drawn)
    alt = f"Validation accuracy by epoch; kept: {', '.join(told)}"
    return drawing(plot(name, HEIGHT, [TICKS], draw), alt, [key(role, role_colour(role)) for role, _ in drawn])


def losses(networks: dict[str, Any], name: str) -> Drawing | None:
    """Training loss of each epoch, on a scale of powers of ten where that is possible: networks learn from different
    losses. None where nothing was trained."""
    drawn = _trained(networks)
    if not drawn:
        return None

    def draw(axes: Axes) -> None:
        for role, network in drawn:
            values = [record["train_loss"] for record in network["curve"]]
            epochs = [record["epoch"] for record in network["curve"]]
            axes.plot(epochs, values, color=role_colour(role), marker="." if len(epochs) == 1 else "")
        if all(record["train_loss"] > 0 for _, network in drawn for record in network["curve"]):
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("training loss")
        _epochs(axes)

    first, last = ([f"{role} {network['curve'][at]['train_loss']:.3g}" for role, network in drawn] for at in (0, -1))
    alt = f"Training loss by epoch; first: {', '.join(first)}; last: {', '.join(last)}"
    return drawing(plot(name, HEIGHT, [TICKS], draw), alt, [key(role, role_colour(role)) for role, _ in drawn])


def _trained(networks: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(role, networks[role]) for role in ROLES if networks[role] and networks[role]["curve"]]


def _epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    quiet(axes)
