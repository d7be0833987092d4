"""`edgepress cache`: the teacher's cached answers."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.parts import (
    AsJson,
    Overrides,
    Quiet,
    RecipeFile,
    answers,
    print_json,
    reporter,
    settle_libraries,
)

cache_app = typer.Typer(help="The teacher's cached answers.", no_args_is_help=True, rich_markup_mode=None)


@cache_app.callback()
def _group() -> None:
    """Keeps `export` a command of its own while it is the only one."""


@cache_app.command(
    "export", epilog="Example: edgepress cache export recipes/digits-mobilenet.yaml --out answers/digits"
)
@answers
def export_command(
    recipe: RecipeFile,
    out: Annotated[Path, typer.Option(help="The folder to write; an earlier export there is replaced.")],
    overrides: Overrides = None,
    artifacts: Annotated[Path, typer.Option(help="Where stored results lie, as the --out of run.")] = Path("artifacts"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Writes the teacher's answers into a folder, from which students are distilled without the teacher's weights."""
    from pipeline.recipe import load_recipe

    read = load_recipe(recipe, tuple(overrides or ()))
    settle_libraries()
    from pipeline.run import export_answers

    folder = export_answers(read, out, artifacts, reporter(quiet or as_json))
    if as_json:
        print_json({"folder": str(folder), "teacher": {"model": f"cache:{folder}", "epochs": 0}})
    else:
        print(f'{folder}: distil elsewhere with teacher: {{model: "cache:{folder}", epochs: 0}}')
