"""`edgepress monitor`: what an app saw in the field against what its bundle expects."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.parts import AsJson, answers, print_json, show_table

if TYPE_CHECKING:
    from pipeline.monitoring.monitor import Monitored


@answers
def monitor_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle, a folder.", metavar="BUNDLE")],
    observed: Annotated[Path, typer.Option(help="What the app wrote: a .csv or .jsonl, one line an inference.")],
    reference: Annotated[
        Path | None, typer.Option(help="An earlier such log to compare with, instead of the bundle's test set.")
    ] = None,
    file: Annotated[str | None, typer.Option(help="The bundle's file that the app runs, if it ships two.")] = None,
    last: Annotated[int | None, typer.Option(min=100, help="Looks at the newest inferences alone.")] = None,
    significance: Annotated[
        float, typer.Option(min=1e-6, max=0.2, help="The share of false alarms among logs without drift, at most.")
    ] = 0.01,
    as_json: AsJson = False,
) -> int:
    """Compares labels, confidence and latency seen in the field with the bundle's reference: exit 0 without drift, 1
    with drift and what to do about it."""
    from pipeline.monitoring.monitor import monitor

    found = monitor(bundle, observed, file, reference, last, significance)
    if as_json:
        print_json(found.as_json())
    else:
        _show(found)
    return 1 if found.drifted else 0


def _show(found: "Monitored") -> None:
    from pipeline.words import short, sparkline

    print(f"{found.file}: {found.inferences:,} inferences{_between(found.between)} against {found.reference}")
    rows = [
        (
            test.name,
            "DRIFT" if test.drifted else "as before" if test.p is not None else "not tested",
            test.explanation,
            f"{test.effect_name} {short(test.effect)}, limit {test.limit:g}",
            "" if test.p is None else f"{test.method}, p {test.p:.2g}",
        )
        for test in found.tests
    ]
    show_table(("", "", "found", "effect", "test"), rows)
    if any(test.drifted for test in found.tests if test.name == "labels"):
        shifts = [(s.label, f"{s.reference:.1%}", f"{s.observed:.1%}") for s in found.shifts]
        show_table(("label", "reference", "field"), shifts)
    course = sparkline(found.course)
    if course:
        ends = f"between {min(found.course):.3f} and {max(found.course):.3f}"
        print(f"mean confidence by tenths of the log: {course} {ends}")
    if len(found.versions) > 1:
        figures = [(v.version, f"{v.inferences:,}", f"{v.confidence:.3f}", short(v.p90_ms)) for v in found.versions]
        show_table(("app version", "inferences", "mean confidence", "p90 ms"), figures)
    for line in found.advice:
        print(line)
    print("DRIFT" if found.drifted else "NO DRIFT")


def _between(times: tuple[float, float] | None) -> str:
    if times is None:
        return ""
    days = [datetime.datetime.fromtimestamp(time, datetime.UTC).date().isoformat() for time in times]
    return f" of {days[0]}" if days[0] == days[1] else f" from {days[0]} to {days[1]}"
