"""The command that gets what running files in a browser needs."""

from typing import Annotated

import typer

from pipeline.commands.parts import Quiet, agreed, answers, reporter


@answers
def install_browser_command(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Does not ask.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Shows what it would get, and ends.")] = False,
    quiet: Quiet = False,
) -> int:
    """Gets the runtimes that run in browsers into the cache folder: asks first, exit 1 if you don't want them."""
    from targets.browser.chromium import browser_version, find_browser
    from targets.browser.packages import ROOM, install, is_whole, plan_install
    from targets.errors import TargetError

    try:
        program = find_browser()
        print(f"browser: {program} ({browser_version(program)})")
    except TargetError as error:
        print(f"note: {error}")
    if is_whole():
        print(f"{ROOM.folder}: the runtimes for browsers are here, whole")
        return 0
    plan = plan_install()
    answer = agreed(plan.rows(), plan.download, plan.disk, plan.folder, yes=yes, plan_only=plan_only)
    if answer is not None:
        return answer
    install(plan, reporter(quiet).say)
    print(f"{plan.folder}: the runtimes for browsers are here, whole")
    return 0
