"""The commands that emulate a device's cores: getting the emulator, and what bundles and files do on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.parts import Quiet, agreed, answers, print_json, reporter, settle_libraries, show_table

if TYPE_CHECKING:
    from pipeline.gating.verdict import Verdict


@answers
def install_emulator_command(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Does not ask.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Shows what it would get, and ends.")] = False,
    quiet: Quiet = False,
) -> int:
    """Gets what emulating ARM cores needs into the cache folder: asks first, exit 1 if you don't want it."""
    from targets.emulator.install import install, is_whole, plan_install
    from targets.emulator.place import ROOM

    say = reporter(quiet).say
    if is_whole():
        print(f"{ROOM.folder}: the emulator is here, whole")
        return 0
    plan = plan_install(say)
    answer = agreed(plan.rows(), plan.download, plan.disk, plan.folder, yes=yes, plan_only=plan_only)
    if answer is not None:
        return answer
    install(plan, say)
    print(f"{plan.folder}: the emulator is here, whole")
    return 0


def show_emulated(bundle: Path, names: list[str], as_json: bool, files: Sequence[str] = ()) -> int:
    """Prints how a bundle's files do on emulated cores: 0 if all do as on the host, else 1."""
    import dataclasses

    from pipeline.emulated.emulation import validate_emulated

    results = validate_emulated(bundle, names, reporter(as_json), files)
    if as_json:
        print_json([dataclasses.asdict(result) for result in results])
    else:
        rows = [(r.file, r.core, "same" if r.passed else "DIFFERENT", r.explanation) for r in results]
        show_table(("file", "emulated core", "golden outputs", ""), rows)
    return 0 if all(result.passed for result in results) else 1


def show_instructions(file: Path, target: str, as_json: bool) -> None:
    """Prints the instructions of one inference on the target's emulated cores."""
    import dataclasses

    settle_libraries()
    from pipeline.emulated.emulation import count_instructions

    counts = count_instructions(file, target, reporter(as_json))
    if as_json:
        print_json([{"source": "emulated", "total": c.total, **dataclasses.asdict(c)} for c in counts])
        return
    for count in counts:
        rows = [
            (name.replace("_", " "), f"{number:,}", f"{number / count.total:.1%}")
            for name, number in count.by_class().items()
        ]
        show_table((f"{file.name} on {count.core}", "instructions", "share"), [*rows, ("all", f"{count.total:,}", "")])
        print(
            f"source: emulated ({count.qemu}, {count.runtime} {count.version}, one thread); median of "
            f"{count.inferences} inferences, quartiles {count.spread:.3%} apart"
        )


def refuse_without_baseline(baseline: str | None) -> None:
    """Raises InputError where there is nothing to hold instruction counts against."""
    from pipeline.errors import InputError

    if baseline is None:
        raise InputError("--emulate holds instruction counts against a baseline's: give --baseline BUNDLE too")


def with_instructions(verdict: "Verdict", bundle: Path, baseline: Path, names: list[str], *, quiet: bool) -> "Verdict":
    """`verdict` with the instruction counts of the bundle held against those of the baseline, counted now in place of
    what their reports hold."""
    from pipeline.gating.verdict import Verdict

    settle_libraries()
    from pipeline.emulated.emulation import instruction_checks

    others = (check for check in verdict.checks if check.name != "baseline.instructions")
    return Verdict((*others, *instruction_checks(bundle, baseline, names, reporter(quiet))))
