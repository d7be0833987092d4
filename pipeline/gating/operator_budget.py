"""What a profile asks of a file's operators: the share that its delegate runs, whether others may run outside it, and
how many transposes there may be."""

from collections import Counter
from typing import Any

from pipeline.gating.verdict import Check
from pipeline.words import listed

ROUNDING = 1e-9  # what it may take from a share that lies on its limit
NAMED = 3  # kinds of operators that an explanation names


def operator_checks(file: dict[str, Any], beside: dict[str, Any] | None) -> list[Check]:
    """The checks of `file`'s `operators`, beside those of its float32 file; none where the profile asks for nothing,
    and of reports that do not tell of operators."""
    found = file.get("operators")
    if found is None:
        return []
    wanted, checks = found["wanted"], []
    before = beside.get("operators") if beside else None
    if wanted["min_delegated"] is not None:
        checks.append(_delegated(file, found, before, wanted["min_delegated"]))
    if wanted["max_transposes"] is not None:
        checks.append(_transposes(file, found, before, wanted["max_transposes"]))
    if not wanted.get("allow_fallback", True):
        checks.append(_fallback(file, found, before, wanted["fallback_told_by"]))
    return checks


def _fallback(file: dict[str, Any], found: dict[str, Any], before: dict[str, Any] | None, told_by: str) -> Check:
    """No operator may run outside the delegate: as the host found where it has the delegate, else as its table says."""
    by_host, name = told_by == "host", "runtimes.allow_fallback"
    judged = found if by_host else found["device"]
    if judged is None:
        text = "no table says what the target's delegate takes; make the bundle again"
        return Check(name, file["name"], None, "<=", 0, "operators", "none", None, None, text)
    outside = _outside(found, by_host)
    value, count = sum(outside.values()), judged["count"]["value"]
    text = f"{value} of {count} operators run outside {judged['delegate']}"
    text += ", as found on this host" if by_host else ", by the table of what it takes"
    if outside:
        text += f": {listed(outside, NAMED)}; none may (allow_fallback: false)"
        text += "; choose another student, scheme or delegate"
    text += "" if by_host or judged["complete"] else "; the table is not complete"
    stage = None
    if value:
        stage = "quantize" if before and sum(_outside(before, by_host).values()) < value else "export"
    source = judged["covered"]["source"]
    return Check(name, file["name"], value, "<=", 0, "operators", source, not value, stage, text)


def _outside(found: dict[str, Any], by_host: bool) -> Counter[str]:
    """Operators by kind, with their dtype where a table tells it."""
    if by_host:
        return Counter({kind["kind"]: kind["count"] for kind in found["left_out"]})
    counted = Counter[str]()
    for row in found["device"]["not_taken"] if found["device"] else ():
        counted[f"{row['kind']} ({row['dtype']})"] += row["count"]
    return counted


def _delegated(file: dict[str, Any], found: dict[str, Any], before: dict[str, Any] | None, limit: float) -> Check:
    share, count = found["covered"]["value"], found["count"]["value"]
    passed = share >= limit - ROUNDING
    who = f"{found['delegate']} runs {share:.1%} of {count} operators as {file['scheme']} means"
    text = f"{who}, at least {limit:.1%} wanted"
    for key, words in (("left_out", "left out"), ("in_float", "computed in float")):
        if found[key]:
            text += f"; {words}: {listed({kind['kind']: kind['count'] for kind in found[key]}, NAMED)}"
    if found["pieces"] is not None and found["pieces"] > 1:
        text += f"; the graph runs in {found['pieces']} pieces"
    stage = None if passed else "quantize" if before and before["covered"]["value"] > share else "export"
    source = found["covered"]["source"]
    return Check("runtimes.min_delegated", file["name"], share, ">=", limit, "share", source, passed, stage, text)


def _transposes(file: dict[str, Any], found: dict[str, Any], before: dict[str, Any] | None, limit: int) -> Check:
    figure = found["transposes"]
    value, passed = figure["value"], figure["value"] <= limit
    text = f"transposes among the file's operators: {value}, at most {limit} wanted"
    stage = None if passed else "quantize" if before and before["transposes"]["value"] < value else "export"
    name = "export.max_transposes"
    return Check(name, file["name"], value, "<=", limit, "operators", figure["source"], passed, stage, text)
