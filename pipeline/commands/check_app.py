"""The command that compiles and runs a bundle's examples for apps."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.parts import AsJson, answers, print_json, show_table


@answers
def check_app_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle, a folder.", metavar="BUNDLE")],
    install: Annotated[
        bool, typer.Option("--install", help="Gets the TypeScript compiler and the packages with npm first.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Compiles the React Native examples with strict types and runs them on the golden samples: exit 1 if a value of a
    model's input differs."""
    from pipeline.app.check import check_app
    from pipeline.app.typescript import install as get
    from pipeline.app.write import checks

    if install:
        get(lambda text: print(text, file=sys.stderr))
    found = check_app(bundle)
    if as_json:
        print_json([{**asdict(one), "passed": one.passed} for one in found])
    else:
        rows = [(one.file, str(one.samples), str(one.values), str(one.different)) for one in found]
        show_table(("inputs of", "golden samples", "values", "different"), rows)
        print("\n".join(f"{one['language']}: {one['how']}" for one in checks().values()))
    return 0 if all(one.passed for one in found) else 1
