"""`edgepress report`: one page over many bundles."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.parts import AsJson, answers, print_json, show_table


@answers
def report_command(
    folder: Annotated[Path, typer.Argument(help="A folder with bundles, such as artifacts.", metavar="DIR")],
    out: Annotated[Path | None, typer.Option(help="Where the page goes; index.html in DIR if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Makes an index over many bundles: targets by budgets, what was found against what is allowed, each with its
    report."""
    from pipeline.bundle_index import find_bundles
    from pipeline.report.index_page import place_of_index, write_index

    found = find_bundles(folder)
    place = place_of_index(folder, out)
    write_index(found, folder.resolve().name or "bundles", place)
    if as_json:
        import dataclasses

        bundles = [
            {
                "bundle": bundle.name,
                "recipe": bundle.recipe,
                "target": bundle.target,
                "passed": bundle.verdict.passed,
                "checks": [dataclasses.asdict(check) for check in bundle.verdict.checks],
            }
            for bundle in found.whole
        ]
        unreadable = [dataclasses.asdict(bundle) for bundle in found.unreadable]
        print_json({"page": str(place), "bundles": bundles, "unreadable": unreadable})
        return
    rows = []
    for bundle in found.whole:
        checks, missed = bundle.verdict.checks, bundle.verdict.missed
        kept = f"{len(checks) - len(missed)} of {len(checks)} budgets kept"
        rows.append((bundle.name, "pass" if bundle.verdict.passed else "FAIL", kept))
    rows += [(bundle.name, "unreadable", bundle.reason) for bundle in found.unreadable]
    show_table(("bundle", "", ""), rows)
    print(place)
