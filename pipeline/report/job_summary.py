"""The verdict in GitHub's Markdown, for a job's summary or a comment on a pull request."""

from collections.abc import Sequence
from typing import Any

from pipeline.gating.reasons import Reason, by_advice, room_in_words
from pipeline.gating.verdict import Check, Verdict
from pipeline.report.limits import allowed, measured

HEAD = ("", "file", "budget", "measured", "allowed", "lost in")
# What would start HTML, a mention, code or emphasis in a name that is the user's.
_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]|#~"} | {"<": "&lt;", ">": "&gt;", "@": "&#64;"})


def job_summary(report: dict[str, Any], verdict: Verdict, reasons: Sequence[Reason] | None = None) -> str:
    """A heading, the missed budgets first, and in words what is behind them; `reasons` (None: nobody asked) say what to
    try. The same verdict gives the same text."""
    outcome = "passed" if verdict.passed else f"failed, {len(verdict.missed)} of {len(verdict.checks)} budgets not kept"
    parts = [f"### {_text(str(report['recipe']))} for {_text(str(report['target']['name']))}: {outcome}"]
    stages = {(reason.check.name, reason.check.file): reason.check.stage for reason in reasons or ()}
    rows = [_row(check, stages) for check in sorted(verdict.checks, key=lambda check: check.passed is True)]
    if rows:
        lines = [" | ".join(cells) for cells in (HEAD, ["---"] * len(HEAD), *rows)]
        parts.append("\n".join(f"| {line} |" for line in lines))
    else:
        parts.append("No budget is set, so none was missed.")
    if reasons is None:
        found = [
            f"- **{_text(check.file)}, {_text(check.name)}**: {_text(check.explanation)}" for check in verdict.missed
        ]
        parts += ["\n".join(found)] if found else []
    else:
        for group, advised in by_advice(reasons):
            parts += [_reason(reason) for reason in group]
            tries = [f"- try `{advice.setting}` in the {advice.place}: {_text(advice.text)}" for advice in advised]
            parts += ["\n".join(tries)] if tries else []
        parts += [_text(room_in_words(verdict))] if verdict.passed else []
    return "\n\n".join(parts) + "\n"


def _row(check: Check, stages: dict[tuple[str, str], str | None]) -> list[str]:
    mark = "✅" if check.passed else "❔ undecided" if check.passed is None else "❌"
    stage = stages.get((check.name, check.file), check.stage) or ""
    return [mark, *map(_text, (check.file, check.name, measured(check), allowed(check), stage))]


def _reason(reason: Reason) -> str:
    check = reason.check
    lines = [f"**{_text(check.file)}, {_text(check.name)}**: {_text(check.explanation)}", ""]
    lines += [f"- {_text(told)}" for told in reason.told]
    return "\n".join(lines).rstrip()


def _text(text: str) -> str:
    return " ".join(text.split()).translate(_MARKS)
