"""`edgepress gate`: the verdict on a bundle, on the screen and in the files that a CI reads."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.emulator import refuse_without_baseline, with_instructions
from pipeline.commands.parts import AsJson, BundleFolder, answers, print_json, show_verdict, verdict_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.gating.baseline_source import Baseline
    from pipeline.gating.reasons import Reason
    from pipeline.gating.verdict import Verdict


@answers
def gate_command(
    bundle: BundleFolder,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="An earlier release: a bundle's folder, its report.json, a zip or tar of it, or git:REF[:PATH]. "
            "Regressions against it fail.",
            metavar="BASELINE",
        ),
    ] = None,
    emulate: Annotated[
        list[str] | None,
        typer.Option(
            "--emulate", help="With --baseline: more instructions on this target's or core's emulation fail too."
        ),
    ] = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Holds latency budgets against predictions, if the profile allows it.")
    ] = False,
    trusted: Annotated[
        list[str] | None,
        typer.Option(
            help="A public key, a .pub file or written out: the bundle has to be signed by it, or by another of these.",
            metavar="KEY",
            envvar="EDGEPRESS_TRUSTED",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Says why each budget was missed, and which settings to try next.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Writes JUnit XML to this file too.", metavar="FILE")] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Appends a summary to this file too, such as $GITHUB_STEP_SUMMARY.", metavar="FILE"),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json-file", help="Writes the JSON answer to this file too; - is --json.", metavar="FILE"),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Checks a bundle's hashes and decides from its report: exit 0 or 1."""
    from pipeline.gate import check_bundle

    if json_file == Path("-"):
        as_json, json_file = True, None
    if emulate:
        refuse_without_baseline(baseline)
    _refuse_inside(bundle, {"--junit": junit, "--markdown": markdown, "--json-file": json_file})
    signed = _signature(bundle, trusted)
    with ExitStack() as opened:
        before: Baseline | None = None
        if baseline is not None:
            from pipeline.gating.baseline_source import open_baseline

            before = opened.enter_context(open_baseline(baseline, bundle))
        verdict = check_bundle(bundle, before.report if before else None)
        if emulate and before:
            verdict = with_instructions(verdict, bundle, _files_of(before, str(baseline)), emulate, quiet=as_json)
        if predict:
            from pipeline.commands.prediction import gate_by_prediction

            verdict = gate_by_prediction(verdict, bundle, quiet=as_json)
        reasons = _reasons(verdict, bundle, before) if explain else None
    answer = _answer(verdict, reasons, signed)
    _write(bundle, verdict, reasons, answer, junit, markdown, json_file)
    if as_json:
        print_json(answer)
    else:
        show_verdict(verdict)
        _show_reasons(verdict, reasons)
        if signed:
            print(signed["told"])
    return 0 if verdict.passed else 1


def _refuse_inside(bundle: Path, files: dict[str, Path | None]) -> None:
    """A file written into the bundle would be one that its manifest does not know."""
    from pipeline.errors import InputError

    for option, file in files.items():
        if file is not None and file.resolve().is_relative_to(bundle.resolve()):
            raise InputError(f"{option} {file}: lies in the bundle, which would then be changed; name another place")
        if file is not None and file.is_dir():
            raise InputError(f"{option} {file}: is a folder, expected the name of a file")


def _signature(bundle: Path, trusted: list[str] | None) -> dict[str, Any] | None:
    """Who signed; None of a bundle that nobody signed. Raises InputError unless one of the `trusted` did, if any is."""
    from pipeline.provenance.signature import signer, trusted_keys, verify_signature

    if trusted:
        found = verify_signature(bundle, trusted_keys(trusted))
        told = f"signed by {found.key}, which is trusted: {found.comment}"
        return {"key": found.key, "trusted": True, "comment": found.comment, "told": told}
    key = signer(bundle)
    if key is None:
        return None
    told = f"says that it is signed by {key}; --trusted KEY.pub proves it"
    return {"key": key, "trusted": False, "comment": None, "told": told}


def _files_of(before: "Baseline", name: str) -> Path:
    """The baseline's bundle, where its files are needed. Raises InputError where there is a report alone."""
    from pipeline.errors import InputError

    if before.folder is None:
        raise InputError(f"--emulate runs the baseline's files, and {name} is a report alone: give the bundle")
    if before.pointers:
        raise InputError(
            f"--emulate runs the baseline's files, and in {name} {before.pointers[0]} is a Git LFS pointer: give a "
            "folder where git lfs pull has brought it"
        )
    return before.folder


def _reasons(verdict: "Verdict", bundle: Path, before: "Baseline | None") -> "tuple[Reason, ...]":
    from pipeline.errors import InputError
    from pipeline.gating.reasons import explain_verdict
    from pipeline.integrity import REPORT, read_json

    try:
        return explain_verdict(verdict, read_json(bundle / REPORT), bundle, before.report if before else None)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{bundle}: its report can't be explained ({error!r}); make the bundle again") from None


def _answer(verdict: "Verdict", reasons: "Sequence[Reason] | None", signed: dict[str, Any] | None) -> dict[str, Any]:
    from pipeline.gating.reasons import room_in_words

    answer = verdict_json(verdict)
    answer["signature"] = {key: signed[key] for key in ("key", "trusted", "comment")} if signed else None
    if reasons is not None:
        answer["reasons"] = [dataclasses.asdict(reason) for reason in reasons]
        answer["least_room"] = room_in_words(verdict) if verdict.passed else None
    return answer


def _write(
    bundle: Path, verdict: "Verdict", reasons: "Sequence[Reason] | None", answer: dict[str, Any], junit: Path | None,
    markdown: Path | None, json_file: Path | None,
) -> None:  # fmt: skip
    from pipeline.integrity import REPORT, json_text, read_json
    from pipeline.store import write_atomic

    report = read_json(bundle / REPORT)
    for file in filter(None, (junit, markdown, json_file)):
        file.parent.mkdir(parents=True, exist_ok=True)
    if junit is not None:
        from pipeline.report.junit import junit_xml

        write_atomic(junit, junit_xml(report, verdict, reasons))
    if json_file is not None:
        write_atomic(json_file, json_text(answer))
    if markdown is not None:  # appended, as GitHub's runner wants: other steps write there too
        from pipeline.report.job_summary import job_summary

        with markdown.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(job_summary(report, verdict, reasons))


def _show_reasons(verdict: "Verdict", reasons: "Sequence[Reason] | None") -> None:
    if reasons is None:
        return
    from pipeline.gating.reasons import by_advice, room_in_words

    for group, advised in by_advice(reasons):
        print()
        for reason in group:
            print(f"{reason.check.file}, {reason.check.name}: {reason.check.explanation}")
            for told in reason.told:
                print(f"  {told}")
        for advice in advised:
            print(f"  try {advice.setting} ({advice.place}): {advice.text}")
    if verdict.passed:
        print(room_in_words(verdict))
