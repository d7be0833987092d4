"""`edgepress bench --layers`: the time of each layer as a table, and as a plot."""

import sys
from pathlib import Path

from pipeline.commands.parts import print_json, show_table


def show_layers(file: Path, target: str, plot: Path | None, as_json: bool) -> None:
    """Prints the times of `file`'s layers, and writes their plot to `plot`, an .svg file."""
    from pipeline.errors import InputError
    from pipeline.layer_times import bench_layers

    if plot is not None and plot.suffix != ".svg":
        raise InputError(f"{plot}: found a name that ends in '{plot.suffix}', expected .svg")
    answer = bench_layers(file, target, lambda text: None if as_json else print(text, file=sys.stderr))
    from pipeline.report.layer_plot import layer_times, short_layer, standalone

    if plot is not None:
        from pipeline.store import write_atomic

        plot.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(plot, standalone(layer_times(answer, "layers")).encode())
    if as_json:
        print_json(answer)
        return
    rows = [
        (str(place), layer["kind"], short_layer(layer), f"{layer['ms']:.4f}", _percent(layer["share"]))
        for place, layer in enumerate(answer["layers"], 1)
    ]
    show_table(("", "operator", "layer", "ms", "share"), rows)
    print(f"{answer['total_ms']:.4f} ms in all on {answer['machine']} (source: {answer['source']}); {answer['method']}")
    if plot is not None:
        print(f"plot: {plot}")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
