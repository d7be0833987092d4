"""report.html: one file that needs nothing else, readable on a phone, in light and dark."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report import plots
from pipeline.report.audit_table import audit_table
from pipeline.report.explanation_page import explanation_view
from pipeline.report.figures import ROLES, told_once
from pipeline.report.layers_page import layers_view
from pipeline.summary import slow_files
from pipeline.verdict import Check, Verdict
from pipeline.words import short

MATRIX_CLASSES = 20  # more than this many classes: the mistakes are listed, not drawn as a matrix
LISTED = 20

CHECK_NAMES = {
    "accuracy.min": "Accuracy floor",
    "accuracy.max_drop": "Drop below the teacher",
    "accuracy.min_agreement": "Agreement of the files",
    "accuracy.max_group_drop": "Drop of the worst group",
    "size_mb": "Size",
    "latency_ms.p50": "Latency p50",
    "latency_ms.p90": "Latency p90",
    "latency_ms.p99": "Latency p99",
    "cold_start_ms": "Cold start",
    "peak_mem_mb": "Peak memory",
    "runtimes.min_delegated": "Delegated operators",
    "runtimes.allow_fallback": "Operators outside the delegate",
    "export.max_transposes": "Transposes",
}


def render_html(report: dict[str, Any], verdict: Verdict) -> str:
    """The page for a report of schema 1. The same report and verdict give the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, number=_number, megabytes=_megabytes, lost=_lost, signed=_signed)
    shipped = [file for file in report["files"] if file["shipped"]]
    page = environment.get_template("report.html.j2").render(
        report=report,
        verdict=verdict,
        shipped=shipped,
        checked=_by_file(verdict),
        check_names=CHECK_NAMES,
        plots=_plots(report, shipped),
        matrices={file["name"]: _matrix(file, report["data"]["labels"]) for file in shipped},
        worst={file["name"]: _worst(file) for file in shipped},
        listed=LISTED,
        audit=audit_table(report, LISTED),
        layers=layers_view(report),
        why=explanation_view(report),
        notes=_notes(report),
        file_notes=told_once({file["name"]: file["notes"] for file in shipped}),
        measured_notes=told_once({file["name"]: file["measured"]["notes"] for file in shipped if file["measured"]}),
        roles=[role for role in ROLES if report["networks"][role]],
        recipe_text=json.dumps(report["provenance"]["recipe"], indent=2, sort_keys=True, ensure_ascii=False),
        profile_text=json.dumps(report["provenance"]["profile"], indent=2, sort_keys=True, ensure_ascii=False),
    )
    return page.rstrip() + "\n"


def _by_file(verdict: Verdict) -> dict[str, list[Check]]:
    """Checks under their file, in the order in which the files come up."""
    checked: dict[str, list[Check]] = {}
    for check in verdict.checks:
        checked.setdefault(check.file, []).append(check)
    return checked


def _notes(report: dict[str, Any]) -> list[str]:
    """What stands out: of the whole, and of a file that is not faster than float32."""
    return [*report["notes"], *slow_files(report)]


def _plots(report: dict[str, Any], shipped: list[dict[str, Any]]) -> dict[str, Any]:
    """Each plot as markup, or None where there is nothing to draw. No text of the user's gets in unescaped: what
    stands in an SVG is escaped by matplotlib."""
    timed = any(file["measured"] for file in shipped)
    networks = report["networks"]
    return {
        "paths": {
            file["name"]: Markup(plots.accuracy_path(file, networks, f"path{index}"))  # noqa: S704
            for index, file in enumerate(shipped)
        },
        "sizes": Markup(plots.sizes(report, "sizes")),  # noqa: S704
        "latencies": Markup(plots.latencies(report, "latencies")) if timed else None,  # noqa: S704
        "distribution": Markup(plots.distribution(shipped, "distribution")) if timed else None,  # noqa: S704
        "curves": (
            Markup(plots.curves(networks, "curves"))  # noqa: S704
            if any(network and network["curve"] for network in networks.values())
            else None
        ),
        "losses": (
            Markup(plots.losses(networks, "losses"))  # noqa: S704
            if any(network and network["curve"] for network in networks.values())
            else None
        ),
        "reliability": Markup(plots.reliability(report, "reliability")),  # noqa: S704
    }


def _matrix(file: dict[str, Any], labels: list[str]) -> list[dict[str, Any]] | None:
    """Rows of the confusion matrix: the true label and, for each predicted one, samples and share of the row."""
    if len(labels) > MATRIX_CLASSES:
        return None
    mistakes = {(row["label"], row["predicted"]): row["samples"] for row in file["confusion"]}
    correct = {row["label"]: row for row in file["per_class"]}
    rows = []
    for label in labels:
        if label not in correct:
            continue
        total = correct[label]["total"]
        counts = [correct[label]["correct"] if label == other else mistakes.get((label, other), 0) for other in labels]
        cells = [
            {"samples": n, "share": n / total, "right": other == label} for n, other in zip(counts, labels, strict=True)
        ]
        rows.append({"label": label, "cells": cells})
    return rows


def _worst(file: dict[str, Any]) -> list[dict[str, Any]]:
    """Classes with the lowest accuracy first; all of them in the labels' order where they are few."""
    classes: list[dict[str, Any]] = file["per_class"]
    return classes if len(classes) <= LISTED else sorted(classes, key=lambda row: row["value"])[:LISTED]


def _percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}%"


def _lost(points: float) -> str:
    """A drop as a change: what was lost has a minus."""
    return f"{-points:+.1f}".replace("-", "−") if round(points, 1) else "0.0"


def _signed(value: float) -> str:
    """A difference, always with its sign."""
    return f"{'−' if value < 0 else '+'}{short(abs(value))}"


def _number(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else short(value)


def _megabytes(size: int) -> str:
    return f"{short(size / 1e6)} MB"
