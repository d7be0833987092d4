"""What every command of the command line shares: its options, its exit codes, its answers as JSON."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.completion import yaml_files

if TYPE_CHECKING:
    from pipeline.gating.verdict import Verdict
    from pipeline.progress import Reporter

RecipeFile = Annotated[Path, typer.Argument(help="A recipe, a YAML file.", metavar="RECIPE", autocompletion=yaml_files)]
BundleFolder = Annotated[Path, typer.Argument(help="A bundle, a folder.", metavar="BUNDLE")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Changes one setting: key=value, such as distill.epochs=5.")
]
DEVICE = "Where the target is measured: ADDRESS as its profile says, or adb:SERIAL, ssh:HOST or browser"
Devices = Annotated[
    list[str] | None,
    typer.Option("--device", help=f"{DEVICE}; TARGET=ADDRESS where there are several targets.", metavar="ADDRESS"),
]
Device = Annotated[str | None, typer.Option("--device", help=f"{DEVICE}.", metavar="ADDRESS")]
ToolPaths = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        metavar="NAME=PATH",
        help="What measures on a device: litert or onnxruntime for adb, python for ssh, browser.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Prints the answer as JSON, nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Says nothing until it is done.")]


def answers(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turns a command's answer into an exit code, and what is the input's fault into one message and 2."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        from pipeline.errors import USER_ERRORS
        from pipeline.scale import complain

        try:
            code = command(*args, **kwargs) or 0
        except USER_ERRORS as error:
            complain(f"edgepress: {error}")
            code = 2
        except KeyboardInterrupt:
            complain("edgepress: stopped; what was made is kept, the same command goes on from there")
            code = 2
        except OSError as error:
            if error.filename is None and error.errno is None:
                raise
            place = f"{error.filename}: " if error.filename else ""
            complain(f"edgepress: {place}{error.strerror}; what was made before is kept")
            code = 2
        raise typer.Exit(code)

    return run


def settle_libraries() -> None:
    """Settings that libraries read on import: no chatter, no telemetry, no forked tokenizers."""
    import warnings

    for name, value in {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "MPLBACKEND": "Agg",
    }.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def reporter(quiet: bool) -> "Reporter":
    """Progress on a stream that lasts while the libraries are silenced; what a command answers goes to the other."""
    from rich.console import Console

    from pipeline.progress import Reporter
    from pipeline.quiet import lasting

    return Reporter(Console(file=lasting(sys.stderr)), quiet)


def agreed(
    rows: Sequence[Sequence[str]], download: int, disk: int, folder: Path, *, yes: bool, plan_only: bool
) -> int | None:
    """Shows what is to be got from elsewhere (what, size in MB, from where) and how many bytes it is in all, and asks
    unless `yes`: None to go on, or the command's exit code."""
    from pipeline.errors import InputError

    show_table(("what", "MB", "from"), rows)
    print(f"{download / 1e6:.0f} MB to download, {disk / 1e6:.0f} MB of disk, into {folder}")
    if plan_only:
        return 0
    if yes:
        return None
    if not sys.stdin.isatty():
        raise InputError("nobody is here to be asked; with --yes it goes on without")
    return None if typer.confirm("Get it?") else 1


def print_json(answer: Any) -> None:
    print(json.dumps(answer, indent=1, ensure_ascii=False))


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    # Piped output keeps every column whole; a terminal wraps.
    console.print(table) if console.is_terminal else Console(width=240).print(table)


def verdict_json(verdict: "Verdict") -> dict[str, Any]:
    import dataclasses

    return {"passed": verdict.passed, "checks": [dataclasses.asdict(check) for check in verdict.checks]}


def show_verdict(verdict: "Verdict") -> None:
    rows = [
        (check.file or "", check.name, "pass" if check.passed else "FAIL", check.explanation)
        for check in verdict.checks
    ]
    show_table(("file", "budget", "", "found"), rows)
    print("PASSED" if verdict.passed else "FAILED")
