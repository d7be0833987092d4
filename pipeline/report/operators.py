"""A file's operators in the report: what its runtime made of them, and where their time goes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.report.figures import COUNTED, figure
from pipeline.results import TargetFile
from pipeline.words import listed
from targets.delegates.tables import CPU_DELEGATES
from targets.profile import Profile
from targets.runtimes.coverage import TableCoverage


def operators(file: TargetFile, profile: Profile) -> dict[str, Any] | None:
    """What stands under `files[].operators`; None where nobody looked."""
    found = file.coverage
    if found is None:
        return None
    runtime = next(runtime for runtime in profile.runtimes if runtime.name == file.accuracy.runtime)
    return {
        "delegate": found.delegate,
        "count": figure(found.operators, "operators", "host"),
        "covered": figure(found.share, "share", "host"),
        "covered_macs": None if found.macs_share is None else figure(found.macs_share, "share", "host"),
        "pieces": found.pieces,
        "conversions": figure(found.conversions, "operators", "host"),
        "transposes": figure(found.transposes, "operators", COUNTED),
        "taken": _kinds(found.taken),
        "left_out": _kinds(found.left_out),
        "in_float": _kinds(found.in_float),
        "device": _by_table(file.by_table),
        "wanted": {
            "min_delegated": runtime.min_delegated,
            "max_transposes": profile.export.max_transposes,
            "allow_fallback": runtime.allow_fallback,
            "fallback_told_by": "host" if runtime.delegate in CPU_DELEGATES else "table",
        },
    }


def _by_table(found: TableCoverage | None) -> dict[str, Any] | None:
    """What the target's own delegate takes by its table; None where there is no table of it."""
    if found is None:
        return None
    return {
        "delegate": found.delegate,
        "table": found.sources,
        "complete": found.complete,
        "deprecated": found.deprecated,
        "count": figure(found.operators, "operators", COUNTED),
        "covered": figure(found.share, "share", COUNTED),
        "pieces": found.pieces,
        "not_taken": [asdict(kind) for kind in found.not_taken],
    }


def operator_times(file: TargetFile) -> dict[str, Any] | None:
    """What stands under `files[].measured.operator_times`; None for a runtime whose profiler can't be reached."""
    if file.operator_times is None:
        return None
    times = [{"kind": kind, **figure(ms, "ms", "host")} for kind, ms in file.operator_times.ms.items()]
    return {"runs": file.operator_times.runs, "kinds": times}


def _kinds(counted: Mapping[str, int]) -> list[dict[str, Any]]:
    """The most frequent first."""
    return [{"kind": kind, "count": count} for kind, count in Counter(counted).most_common()]


def operators_card(report: dict[str, Any]) -> list[str]:
    """The model card's section on operators, in GitHub's Markdown; nothing where nobody looked."""
    rows = [
        "| | operators | run as the scheme means | of the MACs | pieces | transposes | others |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for file in report["files"]:
        found = file["operators"]
        if found is None:
            continue
        others = {kind["kind"]: kind["count"] for key in ("left_out", "in_float") for kind in found[key]}
        macs = f"{found['covered_macs']['value']:.1%}" if found["covered_macs"] else "–"
        pieces = "–" if found["pieces"] is None else found["pieces"]
        name = f"`{file['name']}`" + ("" if file["shipped"] else " (not shipped)")
        rows.append(
            f"| {name} | {found['count']['value']} | {found['covered']['value']:.1%} | {macs} | {pieces} | "
            f"{found['transposes']['value']} | {listed(others) or 'none'} |"
        )
    if len(rows) == 2:
        return []
    told = (
        "Of TFLite files, those that XNNPACK takes on the host, the graph in so many pieces; of ONNX files, those of "
        "the graph as onnxruntime fuses it. Others are left out by the delegate, or compute in float."
    )
    return ["## Operators", told, "\n".join(rows), *_card_by_table(report)]


def _card_by_table(report: dict[str, Any]) -> list[str]:
    """What the target's own delegates take of the files that ship, by their tables; nothing where there are none."""
    rows = ["| | delegate | operators | taken | pieces | not taken |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for file in report["files"]:
        found = file["operators"] and file["operators"].get("device")
        if not file["shipped"] or not found:
            continue
        left = ", ".join(f"{row['count']} {row['kind']} ({row['dtype']})" for row in found["not_taken"]) or "none"
        rows.append(
            f"| `{file['name']}` | {found['delegate']} | {found['count']['value']} | {found['covered']['value']:.1%} | "
            f"{found['pieces']} | {left} |"
        )
    told = "What the target's own delegates take by their documentation, which no run here can show:"
    return [told, "\n".join(rows)] if len(rows) > 2 else []
