"""`edgepress history`: past bundles of a recipe, version by version."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.completion import yaml_files
from pipeline.commands.parts import AsJson, answers, print_json, show_table


@answers
def history_command(
    places: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of bundles, oldest first, or a recipe.",
            metavar="RECIPE_OR_DIR...",
            autocompletion=yaml_files,
        ),
    ],
    under: Annotated[Path, typer.Option(help="Where a recipe's bundles lie.")] = Path("artifacts"),
    by_time: Annotated[
        bool, typer.Option("--by-time", help="Orders versions by when they were written, not by their folders' names.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="An .svg file for the plot of one target.")] = None,
    html: Annotated[Path | None, typer.Option(help="Writes a page that stands alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Shows accuracy, size and latency of a recipe's bundles by version, and what changed between them."""
    from pipeline.errors import InputError
    from pipeline.history import read_history

    if plot is not None and plot.suffix != ".svg":
        raise InputError(f"{plot}: found a name that ends in '{plot.suffix}', expected .svg")
    found = read_history(places, under, by_time)
    from pipeline.report.history_page import HEAD, changed, rows, write_page, write_plot

    if plot is not None:
        write_plot(found, plot)
    if html is not None:
        write_page(found, html)
    if as_json:
        import dataclasses

        print_json(dataclasses.asdict(found))
        return
    for series in found.series:
        print(f"{series.recipe} on {series.target}")
        show_table(HEAD, rows(series))
        for version in series.versions[1:]:
            for line in changed(version) or ["nothing changed: the same recipe, data and packages"]:
                print(f"{version.label}: {line}")
    for line in found.notes:
        print(f"note: {line}")
