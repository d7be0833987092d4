"""The audit as the page shows it: groups down, networks and files across, the worst of each column marked."""

from typing import Any

from pipeline.report.figures import ROLES


def audit_table(report: dict[str, Any], most: int) -> dict[str, Any]:
    """`columns`, and `parts`: for each grouping its rows with a cell for each column. Of a grouping with more than
    `most` groups, those where a shipped file lost most."""
    audit = report["audit"]
    shipped = {file["name"] for file in report["files"] if file["shipped"]}
    networks = {role for role in ROLES if report["networks"][role]}
    columns = [
        {
            "name": model["name"],
            "short": model["name"].removeprefix("model."),
            "minor": model["name"] not in shipped | networks,
            "shipped": model["name"] in shipped,
            "calibration_error": model["calibration_error"],
            "worst": model["worst"],
            "largest_drop": model["largest_drop"],
        }
        for model in audit["models"]
    ]
    parts, start = [], 0
    for grouping in audit["groupings"]:
        end = start + len(grouping["groups"])
        rows = [_row(audit, index) for index in range(start, end)]
        if len(rows) > most:
            rows = sorted(rows, key=lambda row: -_lost(row, columns))[:most]
        parts.append({"by": grouping["by"], "unit": grouping["unit"], "groups": end - start, "rows": rows})
        start = end
    return {"columns": columns, "parts": parts}


def _row(audit: dict[str, Any], index: int) -> dict[str, Any]:
    """Group number `index` of all groupings together, in every model."""
    cells = []
    for model in audit["models"]:
        found = model["groups"][index]
        cells.append({**found, "worst": _is(found, model["worst"]), "largest_drop": _is(found, model["largest_drop"])})
    samples = cells[0]["accuracy"]["total"]
    return {
        "name": cells[0]["group"],
        "samples": samples,
        "small": samples < audit["min_group_size"],
        "cells": cells,
    }


def _is(found: dict[str, Any], named: dict[str, Any] | None) -> bool:
    return named is not None and (named["by"], named["group"]) == (found["by"], found["group"])


def _lost(row: dict[str, Any], columns: list[dict[str, Any]]) -> float:
    """Points, the most that a shipped file lost."""
    pairs = zip(row["cells"], columns, strict=True)
    return max((cell["drop"]["value"] for cell, column in pairs if column["shipped"]), default=0.0)
