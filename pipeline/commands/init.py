"""`edgepress init`: a recipe for data of one's own, by a few questions or by flags."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.completion import target_names
from pipeline.commands.parts import AsJson, Quiet, answers, print_json, reporter, show_table

if TYPE_CHECKING:
    from pipeline.start.command import Started, Wishes

NOTHING = "-"  # what a person answers to a question that may be left open


@answers
def init_command(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of pictures, one sub-folder a class, or a .csv, .tsv or .parquet.", metavar="DATA"
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Argument(help="The file to write; NAME.yaml if left out.", metavar="[RECIPE]")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The recipe's name: small letters, digits and dashes.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", "-t", help="A ready target or a .yaml profile; repeatable.", autocompletion=target_names
        ),
    ] = None,
    test: Annotated[Path | None, typer.Option(help="A test set of its own, of the same kind.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Of a table: where the texts stand.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Of a table: where the labels stand.")] = None,
    mirror: Annotated[
        bool | None, typer.Option("--mirror/--no-mirror", help="A mirrored picture keeps its class.")
    ] = None,
    hub: Annotated[
        bool | None,
        typer.Option("--hub/--no-hub", help="Weights from the models' hub, or from packages that are installed."),
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="A release below it fails, such as 0.9.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replaces a recipe that is there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Asks nothing: what is not said is chosen.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Looks at your data and writes a commented recipe for it, ready for plan and run. Asks what flags don't say, but
    only at a terminal."""

    from pipeline.errors import InputError
    from pipeline.start.command import Wishes, start_recipe

    wishes = Wishes(
        name, tuple(target or ()), test, text_column, label_column, bool(mirror), hub, min_accuracy
    )  # fmt: skip
    if asks() and not yes:
        data, wishes = _asked(data, wishes, mirror)
    if data is None:
        raise InputError(
            "name your data: a folder of pictures with one sub-folder a class (or train and test), or a .csv, .tsv or "
            ".parquet file of texts"
        )
    started = start_recipe(data, recipe, wishes, overwrite, reporter(quiet or as_json))
    if as_json:
        print_json(started.as_json())
    else:
        _show(started, quiet)


def asks() -> bool:
    """Whether a person is there to answer."""
    return sys.stdin.isatty()


def _asked(data: Path | None, wishes: "Wishes", mirror: bool | None) -> "tuple[Path, Wishes]":
    """What the flags leave open, asked one by one; every question has an answer ready."""
    from dataclasses import replace

    from pipeline.start.command import TARGETS, check_name, columns, is_table, recipe_name
    from targets.profile import load_profile, profile_names

    if data is None:
        data = Path(
            _ask("Your data, a folder of pictures or a table of texts", None, lambda answer: is_table(Path(answer)))
        )
    if wishes.name is None:
        wishes = replace(wishes, name=_ask("Name of the recipe", recipe_name(data), check_name))
    if not wishes.targets:
        typer.echo(f"Targets: {', '.join(profile_names())}, or a profile of your own (.yaml)", err=True)
        said = _ask("Devices it ships to", ", ".join(TARGETS), lambda answer: [load_profile(n) for n in _names(answer)])
        wishes = replace(wishes, targets=_names(said))
    if is_table(data):
        if wishes.text_column is None or wishes.label_column is None:
            text, label = columns(data, wishes)
            text = wishes.text_column or _ask("Column of the texts", text)
            label = wishes.label_column or _ask("Column of the labels", label)
            wishes = replace(wishes, text_column=text, label_column=label)
    elif mirror is None:
        wishes = replace(wishes, mirror=typer.confirm("Does a mirrored picture keep its class?", False, err=True))
    if wishes.min_accuracy is None:
        said = _ask(f"Lowest accuracy that may ship, such as 0.9 ({NOTHING}: none)", NOTHING, _share)
        wishes = replace(wishes, min_accuracy=_share(said))
    return data, wishes


def _ask(question: str, default: str | None, check: Callable[[str], object] = str) -> str:
    """Asks until `check` takes the answer."""
    from pipeline.errors import USER_ERRORS

    while True:
        answer = str(typer.prompt(question, default=default, err=True)).strip()
        try:
            check(answer)
        except USER_ERRORS as error:
            typer.echo(str(error), err=True)
        else:
            return answer


def _names(answer: str) -> tuple[str, ...]:
    return tuple(name for name in answer.replace(",", " ").split() if name)


def _share(answer: str) -> float | None:
    from pipeline.errors import InputError

    if answer == NOTHING:
        return None
    try:
        value = float(answer)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"found {answer!r}, expected a share from 0 to 1, or {NOTHING}")
    return value


def _show(started: "Started", quiet: bool) -> None:
    if not quiet:
        show_table(("stage", "what", "targets"), started.plan)
        for finding in started.findings:
            print(f"{'must be mended' if finding.stops else 'note'}: {finding.text}")
    print(f"{started.recipe}: {len(started.classes)} classes, {sum(started.classes.values()):,} samples")
    if not quiet:
        first = "mend the data, then: " if not started.ready else "next: "
        print(f"{first}edgepress run {started.recipe}")
