"""The command that gets what running files in a browser needs."""

import sys
from typing import Annotated

import typer

from pipeline.cli_parts import Quiet, answers, show_table


@answers
def install_browser_command(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Does not ask.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Shows what it would get, and ends.")] = False,
    quiet: Quiet = False,
) -> int:
    """Gets the runtimes that run in browsers into the cache folder: asks first, exit 1 if you don't want them."""
    from rich.console import Console

    from pipeline.errors import InputError
    from pipeline.progress import Reporter
    from targets.browser.chromium import browser_version, find_browser
    from targets.browser.packages import browser_folder, install, is_whole, plan_install
    from targets.errors import TargetError

    try:
        program = find_browser()
        print(f"browser: {program} ({browser_version(program)})")
    except TargetError as error:
        print(f"note: {error}")
    if is_whole():
        print(f"{browser_folder()}: the runtimes for browsers are here, whole")
        return 0
    plan = plan_install()
    show_table(("what", "MB", "from"), plan.rows())
    print(f"{plan.download / 1e6:.0f} MB to download, {plan.disk / 1e6:.0f} MB of disk, into {plan.folder}")
    if plan_only:
        return 0
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("nobody is here to be asked; with --yes it goes on without")
        if not typer.confirm("Get it?"):
            return 1
    install(plan, Reporter(Console(file=sys.stderr), quiet).say)
    print(f"{plan.folder}: the runtimes for browsers are here, whole")
    return 0
