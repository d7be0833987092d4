"""report.html: one file that needs nothing else, readable on a phone, in light and dark, and on paper."""

import json
from typing import Any

import numpy as np

from pipeline.gating.verdict import Verdict
from pipeline.report import budgets
from pipeline.report.audit_table import audit_table
from pipeline.report.calibration_plot import reliability
from pipeline.report.cost_plots import latencies, sizes
from pipeline.report.emulated import foretold
from pipeline.report.explanation_page import explanation_view
from pipeline.report.figures import ROLES, told_once
from pipeline.report.latency import latency_figures
from pipeline.report.latency_plot import distribution
from pipeline.report.layers_page import layers_view
from pipeline.report.page import render
from pipeline.report.path_plot import accuracy_path
from pipeline.report.training_plots import curves, losses
from pipeline.summary import slow_files

MATRIX_CLASSES = 20  # more than this many classes: the mistakes are listed, not drawn as a matrix
LISTED = 20
LATER = ("disagreements", "explanation", "sensitivity", "mixed_precision", "vocabulary")  # keys that may be missing

# In the order in which they stand; each is a template of `sections/`.
SECTIONS = {
    "budgets": "Budgets",
    "path": "Where accuracy went",
    "cost": "Size and latency",
    "latency": "How latency was found",
    "classes": "Class by class",
    "groups": "Group by group",
    "disagreements": "Where files and teacher disagree",
    "explanation": "Why it decides so",
    "layers": "Layer by layer",
    "operators": "Operators",
    "training": "Training",
    "provenance": "Provenance",
}


def render_html(report: dict[str, Any], verdict: Verdict) -> str:
    """The page for a report of schema 1. The same report and verdict give the same bytes."""
    report = completed(report)
    files = report["files"]
    shipped = [file for file in files if file["shipped"]]
    values = {
        "report": report,
        "verdict": verdict,
        "shipped": shipped,
        "budgets": budgets.rows(verdict.checks, [file["name"] for file in shipped]),
        "budget_names": budgets.NAMES,
        "plots": _plots(report, shipped),
        "matrices": {file["name"]: _matrix(file, report["data"]["labels"]) for file in shipped},
        "worst": {file["name"]: _worst(file) for file in shipped},
        "listed": LISTED,
        "audit": audit_table(report, LISTED),
        "layers": layers_view(report),
        "why": explanation_view(report),
        "notes": [*report["notes"], *slow_files(report)],
        "file_notes": told_once({file["name"]: file["notes"] for file in shipped}),
        "measured_notes": told_once({file["name"]: file["measured"]["notes"] for file in shipped if file["measured"]}),
        "machines": told_once({file["name"]: [_machine(file["measured"])] for file in files if file["measured"]}),
        "predicted_notes": told_once({file["name"]: file["predicted"]["notes"] for file in files if foretold(file)}),
        "roles": [role for role in ROLES if report["networks"][role]],
        "recipe_text": _indented(report["provenance"]["recipe"]),
        "profile_text": _indented(report["provenance"]["profile"]),
    }
    left_out = {
        "budgets": not verdict.checks,
        "latency": not any(file["measured"] or foretold(file) for file in files),
        "disagreements": report["disagreements"] is None,
        "explanation": values["why"] is None,
        "layers": values["layers"] is None,
        "operators": not any(file["operators"] for file in files),
    }
    sections = [(name, title) for name, title in SECTIONS.items() if not left_out.get(name)]
    return render("report.html.j2", sections=sections, **values)


def completed(report: dict[str, Any]) -> dict[str, Any]:
    """A report of schema 1 with the keys that earlier versions of edgepress did not write yet."""
    files = [
        {"emulated": None, "predicted": None, "operators": None, **file, "measured": _whole(file["measured"])}
        for file in report["files"]
    ]
    networks = {**dict.fromkeys(ROLES), **report["networks"]}
    return {**dict.fromkeys(LATER), "peers": [], **report, "networks": networks, "files": files}


def _whole(measured: dict[str, Any] | None) -> dict[str, Any] | None:
    """With what follows from the samples, where the report does not hold it."""
    if measured is None or "correlation_time" in measured:
        return measured
    found = latency_figures(np.array(measured["samples"]["values"]), measured["source"])
    later = dict.fromkeys(("float_layers", "operator_times", "beside_unpruned"))
    return {**later, **found, **measured, "latency": found["latency"]}


def _plots(report: dict[str, Any], shipped: list[dict[str, Any]]) -> dict[str, Any]:
    """Each plot, or None where there is nothing to draw."""
    networks, timed = report["networks"], [file for file in shipped if file["measured"]]
    return {
        "paths": {file["name"]: accuracy_path(file, networks, f"path{index}") for index, file in enumerate(shipped)},
        "sizes": sizes(report, "sizes"),
        "latencies": latencies(report, "latencies"),
        "distribution": distribution(timed, "distribution") if timed else None,
        "curves": curves(networks, "curves"),
        "losses": losses(networks, "losses"),
        "reliability": reliability(report, "reliability"),
    }


def _machine(measured: dict[str, Any]) -> str:
    return f"measured on: {measured['machine']} (source: {measured['source']})"


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


def _indented(content: Any) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
