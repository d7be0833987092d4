"""`edgepress targets check`: a profile of one's own, or a model file against what a target's delegate takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.completion import target_names
from pipeline.commands.parts import AsJson, answers, print_json, show_table

if TYPE_CHECKING:
    from targets.profile import Runtime
    from targets.runtimes.coverage import TableCoverage

MODELS = (".onnx", ".tflite")


@answers
def targets_check(
    file: Annotated[Path, typer.Argument(help="A profile of your own, or a .onnx or .tflite file.", metavar="FILE")],
    target: Annotated[
        str | None,
        typer.Option(
            "--target", "-t", help="Of a model file: whose delegate is to take it.", autocompletion=target_names
        ),
    ] = None,
    delegate: Annotated[
        str | None,
        typer.Option("--delegate", help="Of a model file: another delegate than the target's, or a .yaml table."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Checks a profile of your own and says what it leaves open; or says which operators of a model file a delegate
    does not take, by its documentation, before anything runs: exit 1 if there are any and the profile says
    allow_fallback: false."""
    if file.suffix in MODELS:
        return _check_model(file, target, delegate, as_json)
    from pipeline.errors import InputError
    from targets.check import check_profile

    if target is not None or delegate is not None:
        raise InputError(f"{file}: --target and --delegate are for model files ({' or '.join(MODELS)})")
    warnings = check_profile(file)
    if as_json:
        print_json({"profile": str(file), "notes": warnings})
        return 0
    for warning in warnings:
        print(f"note: {warning}")
    print(f"{file}: a valid profile" + (f", {len(warnings)} note(s)" if warnings else ""))
    return 0


def _check_model(file: Path, target: str | None, delegate: str | None, as_json: bool) -> int:
    from pipeline.delegates import uncovered
    from pipeline.errors import InputError
    from targets.delegates.tables import DelegateTable, delegate_table, read_table

    name, runtime = _delegate_of(file, target, delegate)
    table: DelegateTable | None
    if delegate is not None and delegate.endswith((".yaml", ".yml")):
        own = table = read_table(Path(delegate))
        if own.runtime != name:
            raise InputError(f"{delegate}: a table for {own.runtime}, {file.name} is run by {name}")
    else:
        table = delegate_table(name, delegate or (runtime.delegate if runtime else None))
    if table is None:
        raise _no_table(file, name, target, delegate, runtime)
    found = uncovered(file, table)
    answer = _as_json(file, found) | {"notes": list(table.notes)}
    print_json(answer) if as_json else _show(answer)
    refused = runtime is not None and delegate is None and not runtime.allow_fallback and found.outside > 0
    return 1 if refused else 0


def _delegate_of(file: Path, target: str | None, delegate: str | None) -> "tuple[str, Runtime | None]":
    """The runtime's name for a model file, and the target's runtime where one is named."""
    from pipeline.bench import options_for
    from pipeline.errors import InputError
    from targets.profile import load_profile

    if target is None and delegate is None:
        raise InputError(f"{file}: a model file is checked for a delegate; name a --target, or a --delegate")
    if target is None:
        return "onnxruntime" if file.suffix == ".onnx" else "litert", None
    profile = load_profile(target)
    name = options_for(file, profile).runtime
    return name, next(runtime for runtime in profile.runtimes if runtime.name == name)


def _no_table(file: Path, name: str, target: str | None, delegate: str | None, runtime: "Runtime | None") -> Exception:
    from pipeline.errors import InputError
    from targets.delegates.tables import CPU_DELEGATES, delegates_with_tables

    wanted = delegate or (runtime.delegate if runtime else None) or "none"
    known = f"{name} has tables of {', '.join(delegates_with_tables(name))}"
    measured = delegate is None and runtime is not None and runtime.delegate in CPU_DELEGATES
    to_do = f"`edgepress bench {file} --target {target}` tells by running it, or name a --delegate" if measured else ""
    return InputError(
        f"there is no table of what {name}'s delegate '{wanted}' takes; {known}" + (f"; {to_do}" if to_do else "")
    )


def _as_json(file: Path, found: "TableCoverage") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "file": file.name,
        "delegate": found.delegate,
        "deprecated": found.deprecated,
        "operators": found.operators,
        "not_taken": found.outside,
        "pieces": found.pieces,
        "kinds": [asdict(kind) for kind in found.not_taken],
        "complete": found.complete,
        "sources": found.sources.split("; "),
    }


def _show(answer: dict[str, Any]) -> None:
    rows = [(row["kind"], row["dtype"], str(row["count"]), row["reason"]) for row in answer["kinds"]]
    if rows:
        show_table(("not taken", "dtype", "operators", "why"), rows)
    counted = f"{answer['not_taken']} of {answer['operators']} operators"
    print(
        f"{answer['file']}: {answer['delegate']} takes all but {counted}, in {answer['pieces']} piece(s) of the graph"
    )
    for line in (answer["deprecated"], None if answer["complete"] else "the table is not complete", *answer["notes"]):
        if line:
            print(f"note: {line}")
    for source in answer["sources"]:
        print(f"source: {source}")
