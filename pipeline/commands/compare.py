"""`edgepress compare`: bundles side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.parts import AsJson, answers, print_json, show_table

if TYPE_CHECKING:
    from pipeline.comparison import Comparison

Bundles = Annotated[list[Path], typer.Argument(help="Bundles, folders; the first is the measure.", metavar="BUNDLE...")]


@answers
def compare_command(
    bundles: Bundles,
    html: Annotated[Path | None, typer.Option(help="Writes a page that stands alone, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sets bundles side by side: accuracy, size, latency, operators, budgets, and which files no other beats."""
    from pipeline.comparison import compare

    found = compare(bundles)
    if html is not None:
        from pipeline.report.comparison_page import write_page

        write_page(found, html)
    if as_json:
        import dataclasses

        print_json(dataclasses.asdict(found))
    else:
        _show(found)


def _show(found: "Comparison") -> None:
    from pipeline.report.comparison_page import BEYOND_NOISE, tables

    for table in tables(found):
        rows = [(row.name, *("\n".join(lines) for lines in row.cells)) for row in table.rows]
        show_table((table.format, *table.head), rows)
        print(table.front)
    for line in (BEYOND_NOISE, *found.notes):
        print(line)
