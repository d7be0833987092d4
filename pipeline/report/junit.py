"""The verdict as JUnit XML, for the CIs that show one test a budget: every budget that was missed is one failure.

The elements are those that Jenkins, GitLab and GitHub's reporters read
(https://github.com/testmoapp/junitxml); no times, since budgets take none.
"""

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree  # only written, never parsed

from pipeline.gating.reasons import Reason, room_in_words
from pipeline.gating.verdict import Check, Verdict
from pipeline.report.limits import allowed, measured

# What XML 1.0 has no place for: names of labels and groups are the user's.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(report: dict[str, Any], verdict: Verdict, reasons: Sequence[Reason] | None = None) -> str:
    """One suite a file, one case a budget; `reasons` (None: nobody asked) stand under their failures. The same verdict
    gives the same text."""
    recipe, target = str(report["recipe"]), str(report["target"]["id"])
    name = f"edgepress {recipe} {target}"
    top = ElementTree.Element("testsuites", _counts(name, verdict.checks))
    told = {(reason.check.name, reason.check.file): reason for reason in reasons or ()}
    for file in dict.fromkeys(check.file for check in verdict.checks):
        checks = [check for check in verdict.checks if check.file == file]
        suite = ElementTree.SubElement(top, "testsuite", _counts(file, checks))
        properties = ElementTree.SubElement(suite, "properties")
        for key, value in (("recipe", recipe), ("target", target), ("edgepress", report["provenance"]["edgepress"])):
            ElementTree.SubElement(properties, "property", {"name": key, "value": _clean(str(value))})
        for check in checks:
            _case(suite, check, f"edgepress.{recipe}.{target}.{file}", told.get((check.name, check.file)))
    if reasons is not None and verdict.passed and len(top):
        ElementTree.SubElement(top[0], "system-out").text = _clean(room_in_words(verdict))
    ElementTree.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(top, encoding="unicode") + "\n"


def _counts(name: str, checks: Sequence[Check]) -> dict[str, str]:
    missed = sum(check.passed is not True for check in checks)
    return {"name": _clean(name), "tests": str(len(checks)), "failures": str(missed), "errors": "0", "skipped": "0"}


def _case(suite: ElementTree.Element, check: Check, place: str, reason: Reason | None) -> None:
    case = ElementTree.SubElement(suite, "testcase", {"name": _clean(check.name), "classname": _clean(place)})
    if check.passed:
        ElementTree.SubElement(case, "system-out").text = _clean(check.explanation)
        return
    stage = reason.check.stage if reason else check.stage
    lines = [
        f"measured: {measured(check)}",
        f"allowed: {allowed(check)}",
        f"lost in: {stage or 'no stage that is known'}",
        check.explanation,
    ]
    if reason:
        lines += reason.told
        lines += [f"try {advice.setting} ({advice.place}): {advice.text}" for advice in reason.advice]
    kind = "undecided" if check.passed is None else "missed"
    failure = ElementTree.SubElement(case, "failure", {"message": _clean(check.explanation), "type": kind})
    failure.text = _clean("\n".join(lines))


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
