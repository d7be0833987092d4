"""The commands that measure and check what is made already: a bundle's outputs, latencies, and logs of them."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.completion import log_formats, target_names
from pipeline.commands.emulator import show_emulated, show_instructions
from pipeline.commands.parts import (
    AsJson,
    BundleFolder,
    Device,
    ToolPaths,
    answers,
    print_json,
    settle_libraries,
    show_table,
    show_verdict,
    verdict_json,
)


@answers
def import_log_command(
    bundle: BundleFolder,
    log: Annotated[Path, typer.Argument(help="What a tool, an app or a device farm wrote.", metavar="LOG")],
    form: Annotated[
        str,
        typer.Option(
            "--format", help="benchmark-model, perf-test, logcat, perfetto, ai-hub or csv.", autocompletion=log_formats
        ),
    ],
    file: Annotated[str | None, typer.Option(help="The bundle's file that it is of, if it does not tell.")] = None,
    machine: Annotated[str | None, typer.Option(help="What was measured on, in words.")] = None,
    as_json: AsJson = False,
) -> int:
    """Puts latencies that were measured elsewhere into a bundle, and gates it: exit 0 or 1."""
    from pipeline.import_log import import_log

    verdict = import_log(bundle, log, form, file, machine)
    if as_json:
        print_json(verdict_json(verdict))
    else:
        show_verdict(verdict)
    return 0 if verdict.passed else 1


@answers
def validate_command(
    bundle: BundleFolder,
    device: Device = None,
    tool: ToolPaths = None,
    emulate: Annotated[
        list[str] | None,
        typer.Option(
            "--emulate", help="On the emulated cores of this target, or on this core, against the host; repeatable."
        ),
    ] = None,
    file: Annotated[list[str] | None, typer.Option("--file", help="This file of the bundle alone; repeatable.")] = None,
    as_json: AsJson = False,
) -> int:
    """Runs every file of a bundle on its golden inputs, here or on a device, and compares the outputs: exit 0 or 1."""
    settle_libraries()
    if emulate:
        from pipeline.errors import InputError

        if device or tool:
            raise InputError("validate --emulate runs here, without --device or --tool")
        return show_emulated(bundle, emulate, as_json, file or ())
    from pipeline.bundle import validate_bundle

    results = validate_bundle(bundle, device, tool or (), file or ())
    if as_json:
        import dataclasses

        print_json([dataclasses.asdict(result) for result in results])
    else:
        rows = [(r.file, "same" if r.passed else "DIFFERENT", r.explanation) for r in results]
        show_table(("file", "golden outputs", ""), rows)
    return 0 if all(result.passed for result in results) else 1


@answers
def bench_command(
    files: Annotated[list[Path], typer.Argument(help="A .onnx or .tflite file, or two.", metavar="FILE [OTHER]")],
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="Gives threads, runs and budgets; with --emulate also a core.",
            autocompletion=target_names,
        ),
    ] = "host",
    runs: Annotated[int | None, typer.Option(min=1, help="At least this many inferences.")] = None,
    device: Device = None,
    tool: ToolPaths = None,
    emulate: Annotated[
        bool, typer.Option("--emulate", help="Counts instructions on the target's emulated cores instead.")
    ] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Times every layer of one file, on this machine.")] = False,
    plot: Annotated[Path | None, typer.Option(help="With --layers: an .svg file for their plot.")] = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Predicts the latency on the target's own core instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Times single inferences of one model file on this machine or a device, with the target's thread count; of two, in
    turn on this machine, which is faster."""
    from pipeline.errors import InputError

    if predict:
        if emulate or layers or runs or device or tool or len(files) > 1:
            raise InputError("bench --predict takes one file and nothing but --target")
        from pipeline.commands.prediction import show_prediction

        show_prediction(files[0], target, as_json)
        return
    if emulate:
        if len(files) > 1 or device or tool or layers:
            raise InputError("bench --emulate counts one file, without --device, --tool or --layers")
        show_instructions(files[0], target, as_json)
        return
    if layers:
        if len(files) > 1 or runs or device or tool:
            raise InputError("bench --layers takes one file and this machine: leave out --runs, --device and --tool")
        from pipeline.commands.layers import show_layers

        show_layers(files[0], target, plot, as_json)
        return
    if plot is not None:
        raise InputError("--plot draws the times of layers: say --layers too")
    if len(files) > 2 or (len(files) == 2 and (device or tool)):
        raise InputError(
            "bench takes one file, or two that it times in turn on this machine, without --device or --tool"
        )
    if len(files) == 2:
        from pipeline.bench_pair import bench_pair

        figures = bench_pair(files[0], files[1], target, runs)
    else:
        from pipeline.bench import bench

        figures = bench(files[0], target, runs, device, tool or ())
    if as_json:
        print_json(figures)
    else:
        show_table(("figure", "value"), [(name.replace("_", " "), str(value)) for name, value in figures.items()])
