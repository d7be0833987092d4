"""The command line. Nothing heavy is imported until a command needs it.

Exit codes: 0 passed, 1 a gate failed, 2 the input was wrong (one clear message, no traceback).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.browser import install_browser_command
from pipeline.commands.cache import cache_app
from pipeline.commands.check_app import check_app_command
from pipeline.commands.compare import compare_command
from pipeline.commands.completion import target_names
from pipeline.commands.delegates import targets_check
from pipeline.commands.emulator import install_emulator_command
from pipeline.commands.gate import gate_command
from pipeline.commands.history import history_command
from pipeline.commands.init import init_command
from pipeline.commands.measure import bench_command, import_log_command, validate_command
from pipeline.commands.monitor import monitor_command
from pipeline.commands.parts import (
    AsJson,
    Devices,
    Overrides,
    Quiet,
    RecipeFile,
    ToolPaths,
    answers,
    print_json,
    reporter,
    settle_libraries,
    show_table,
    verdict_json,
)
from pipeline.commands.predict import predict_command
from pipeline.commands.report import report_command
from pipeline.commands.sign import keygen_command, sign_command
from pipeline.commands.try_bundle import try_command

if TYPE_CHECKING:
    from pipeline.plan import Plan
    from pipeline.release import Release

app = typer.Typer(
    name="edgepress",
    help="From a teacher network to gated mobile bundles: distil, prune, quantize, export, validate, release.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
targets_app = typer.Typer(help="The devices that edgepress knows.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(targets_app, name="targets")
app.add_typer(cache_app, name="cache")

TargetNames = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        help="A ready target or a .yaml profile; more than once for several.",
        autocompletion=target_names,
    ),
]


app.command("init", epilog="Example: edgepress init photos my-recipe.yaml --target pixel8")(init_command)


@app.command(
    "run",
    epilog="Example: edgepress run recipes/digits-mobilenet.yaml --target pixel8 --set distill.epochs=5",
)
@answers
def run_command(
    recipe: RecipeFile,
    target: TargetNames = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Where bundles and stored results go.")] = Path("artifacts"),
    latency: Annotated[bool, typer.Option(help="Without it, every byte of a bundle is reproducible.")] = True,
    device: Devices = None,
    tool: ToolPaths = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Runs a recipe for its targets: exit 0 with a bundle for each, or 1 with the budget that was missed."""
    settle_libraries()
    from pipeline import scale

    scale.join()  # where a launcher started several processes
    plan = _plan(recipe, target, overrides, device, tool)
    from pipeline.run import run

    releases = run(plan, out, reporter(quiet or as_json or not scale.first()), latency=latency)
    scale.leave()
    if not releases:  # another process shows them
        return 0
    if as_json:
        print_json([{"target": r.target, "bundle": str(r.bundle), **verdict_json(r.verdict)} for r in releases])
    else:
        _show_releases(releases, out)
    return 0 if all(release.verdict.passed for release in releases) else 1


@app.command("plan", epilog="Example: edgepress plan recipes/digits-mobilenet.yaml --target rpi4 --target coral_dev")
@answers
def plan_command(
    recipe: RecipeFile, target: TargetNames = None, overrides: Overrides = None, as_json: AsJson = False
) -> None:
    """Shows what a run would do, and what its targets share, before anything runs."""
    from pipeline.plan import describe_plan

    rows = describe_plan(_plan(recipe, target, overrides))
    if as_json:
        print_json([{"stage": stage, "what": what, "targets": ids.split(", ")} for stage, what, ids in rows])
    else:
        show_table(("stage", "what", "targets"), rows)


@app.command(
    "search",
    epilog="Example: edgepress search recipes/digits-mobilenet.yaml --target pixel8 --trials 40",
)
@answers
def search_command(
    recipe: RecipeFile,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="One target; the first of the recipe's if none is named.",
            autocompletion=target_names,
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="How many trials there are to be, those made before too.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Begins no trial after so long.")] = None,
    front: Annotated[
        bool, typer.Option("--front", help="Finds the students that no other beats in accuracy, latency and size.")
    ] = False,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Where the search and stored results go.")] = Path("artifacts"),
    latency: Annotated[bool, typer.Option(help="Without it, only size decides what fits.")] = True,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Searches the settings of a recipe that are most accurate within a target's budgets, or those on the front of
    accuracy against latency and size: exit 0 with recipes to run, or 1 if no trial kept to the budgets. Started twice,
    two processes share the work."""
    ends = [f"search.{name}={value}" for name, value in (("trials", trials), ("minutes", minutes)) if value is not None]
    ends += ["search.objective=front"] if front else []
    settle_libraries()
    from pipeline.errors import InputError

    try:
        from pipeline.search.command import search
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise InputError("edgepress search needs Optuna: pip install 'edgepress[search]'") from None

    found = search(recipe, target, (*(overrides or ()), *ends), out, reporter(quiet or as_json), latency=latency)
    if as_json:
        print_json(found.as_json())
    else:
        print("\n".join(found.lines()))
    return 0 if found.best else 1


app.command("gate", epilog="Example: edgepress gate artifacts/digits-mobilenet/pixel8 --baseline git:main --explain")(
    gate_command
)
app.command("keygen", epilog="Example: edgepress keygen release.key")(keygen_command)
app.command("sign", epilog="Example: edgepress sign artifacts/digits-mobilenet/pixel8 --key release.key")(sign_command)
app.command("try", epilog="Example: edgepress try artifacts/digits-mobilenet/pixel8 --open")(try_command)
app.command(
    "compare",
    epilog="Example: edgepress compare artifacts/digits-mobilenet/pixel8 artifacts/digits-small/pixel8",
)(compare_command)
app.command("report", epilog="Example: edgepress report artifacts --out overview.html")(report_command)
app.command("predict", epilog="Example: edgepress predict artifacts/digits-mobilenet/rpi4")(predict_command)
app.command("history", epilog="Example: edgepress history released --html history.html")(history_command)
app.command("monitor", epilog="Example: edgepress monitor artifacts/digits-mobilenet/pixel8 --observed field.csv")(
    monitor_command
)
app.command(
    "import-log",
    epilog="Example: edgepress import-log artifacts/digits-mobilenet/pixel8 phone.txt --format benchmark-model",
)(import_log_command)
app.command("validate", epilog="Example: edgepress validate artifacts/digits-mobilenet/pixel8")(validate_command)
app.command(
    "bench",
    epilog="Example: edgepress bench artifacts/digits-mobilenet/rpi4/model.int8-static.tflite -t rpi4",
)(bench_command)


@targets_app.command("list", epilog="Example: edgepress targets list --json")
@answers
def targets_list(as_json: AsJson = False) -> None:
    """Lists the ready targets."""
    from targets.profile import load_profile, profile_names

    profiles = [load_profile(name) for name in profile_names()]
    rows = []
    for profile in profiles:
        schemes = [q.label if q else "-" for q in (profile.quantization.image, profile.quantization.text)]
        rows.append((profile.id, profile.name, profile.soc or "-", *schemes))
    head = ("target", "device", "processor", "image scheme", "text scheme")
    if as_json:
        print_json([dict(zip(head, row, strict=True)) for row in rows])
    else:
        show_table(head, rows)


@targets_app.command("show", epilog="Example: edgepress targets show rpi4")
@answers
def targets_show(
    name: Annotated[str, typer.Argument(help="A target or a .yaml file.", autocompletion=target_names)],
    as_json: AsJson = False,
) -> None:
    """Shows a target's profile in full."""
    from targets.profile import load_profile

    content = load_profile(name).model_dump(mode="json", by_alias=True)
    if as_json:
        print_json(content)
    else:
        import yaml

        print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), end="")


targets_app.command("check", epilog="Example: edgepress targets check model.int8-static.tflite --target coral_dev")(
    targets_check
)


targets_app.command("install-emulator", epilog="Example: edgepress targets install-emulator --yes")(
    install_emulator_command
)
targets_app.command("install-browser", epilog="Example: edgepress targets install-browser --yes")(
    install_browser_command
)


app.command("check-app", epilog="Example: edgepress check-app artifacts/digits-mobilenet/pixel8")(check_app_command)


@app.command("doctor", epilog="Example: edgepress doctor --json")
@answers
def doctor_command(as_json: AsJson = False) -> int:
    """Says what this machine has: versions, cores, instruction sets, runtimes, extras, and what to install."""
    from pipeline.doctor import examine, onward

    findings = examine()
    if as_json:
        import dataclasses

        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        show_table(("", "found", "to do"), [(f.name, f.found, f.advice or "") for f in findings])
        print("\n".join(onward(findings)))
    return 0 if all(finding.ok or not finding.needed for finding in findings) else 1


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Prints the version and ends.")] = False,
) -> None:
    if version:
        from pipeline import __version__

        print(__version__)
        raise typer.Exit


def _plan(
    recipe: Path,
    targets: list[str] | None,
    overrides: list[str] | None,
    devices: list[str] | None = None,
    tools: list[str] | None = None,
) -> "Plan":
    from pipeline.plan import make_plan
    from pipeline.recipe import load_recipe

    return make_plan(load_recipe(recipe, tuple(overrides or ())), tuple(targets or ()), devices or (), tools or ())


def _show_releases(releases: "list[Release]", out: Path) -> None:
    from pipeline.summary import emulated_files, failures, release_rows, slow_files

    head, rows = release_rows([release.report for release in releases], [r.verdict.passed for r in releases])
    show_table(head, rows)
    for release in releases:
        for line in (*slow_files(release.report), *emulated_files(release.report)):
            print(f"{release.target}: {line}")
        for line in failures(release.verdict):
            print(f"{release.target}: {line}")
    for release in releases:
        print(f"{release.target}: {release.bundle} (report.html beside)")


def main() -> None:
    """The `edgepress` command."""
    app()
