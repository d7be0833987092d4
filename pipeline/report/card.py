"""MODEL_CARD.md: what the model is, what it was judged on, and how to feed it; every figure is the report's."""

from collections.abc import Sequence
from typing import Any

from pipeline.gating.verdict import Verdict
from pipeline.report.figures import ROLES, last_student, told_once
from pipeline.report.operators import operators_card
from pipeline.words import short


def render_card(report: dict[str, Any], verdict: Verdict) -> str:
    """The card for a report of schema 1, in GitHub's Markdown."""
    shipped = [file for file in report["files"] if file["shipped"]]
    parts = [
        f"# {report['recipe']} for {report['target']['name']}",
        _what(report, shipped, verdict),
        "## Intended use",
        _use(report),
        "## Data",
        _data(report),
        *_licences(report),
        "## Accuracy",
        _accuracy(report),
        "## Groups and calibration",
        _groups(report, shipped),
        "## Size, latency and memory",
        _cost(report),
        *operators_card(report),
        "## Limits",
        _limits(report, shipped, verdict),
        "## How to feed it",
        _feeding(report, shipped),
    ]
    return "\n\n".join(parts) + "\n"


def _what(report: dict[str, Any], shipped: list[dict[str, Any]], verdict: Verdict) -> str:
    networks = report["networks"]
    student = networks[last_student(networks)]
    made = "distilled" if report["pruning"] is None else "distilled and pruned"
    task = report["task"].replace("-", " ")
    lines = [
        *([report["description"]] if report["description"] else []),
        f"A model for {task}: {student['name']}, {student['parameters']['value']:,} parameters, {made} from "
        f"{networks['teacher']['name']}. Files: {', '.join(map(_code, shipped))}.",
        f"Release gate: **{'passed' if verdict.passed else 'failed'}**"
        + (f", {len(verdict.missed)} of {len(verdict.checks)} budgets not kept." if not verdict.passed else "."),
    ]
    return "\n\n".join(map(_text, lines))


def _use(report: dict[str, Any]) -> str:
    labels = report["data"]["labels"]
    shown = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
    what = "an image" if report["task"] == "image-classification" else "a text"
    return _text(
        f"To tell which of {len(labels)} labels fits {what} like those it was trained on: {shown}. It always answers "
        "with one of them, also for an input that is none of them. It is meant to run in an app on "
        f"{report['target']['name']}; nothing is known of it on other data than that described below."
    )


def _data(report: dict[str, Any]) -> str:
    data = report["data"]
    counts = [f"{split} {sum(of.values()):,}" for split, of in sorted(data["counts"].items())]
    lines = [
        f"- Source: {data['source']}",
        f"- Licence: {data['licence'] or 'not stated by the source; find it out before you ship'}",
        f"- Samples: {', '.join(counts)}; {data['duplicates_removed']['value']:,} duplicates removed",
        f"- SHA-256 of the content: `{data['content_sha256']}`",
        "- The test split was not used to train, calibrate or choose.",
    ]
    if report["task"] == "text-classification":
        lines.insert(3, f"- Texts cut to the sequence length: {data['truncated_texts']['value']:,}")
    return "\n".join(map(_text, lines))


def _licences(report: dict[str, Any]) -> list[str]:
    """Nothing of a report that was made before licences stood in it."""
    found = report.get("licences")
    if not found:
        return []
    rows = [("of", "name", "licence", "stated by")]
    rows += [(row["what"], row["name"], row["licence"] or "unknown", row["stated_by"] or "nobody") for row in found]
    unknown = [row["what"] for row in found if row["licence"] is None]
    lines = [_table(rows)]
    if unknown:
        lines.append(
            f"Unknown: {', '.join(dict.fromkeys(unknown))}. Find out before you ship, and say it under `licences` in "
            "the recipe."
        )
    return ["## Licences", "\n\n".join(lines)]


def _accuracy(report: dict[str, Any]) -> str:
    total = report["networks"]["teacher"]["accuracy"]["total"]
    head = f"Top-1 on all {total:,} test samples, source: host ({report['host']['cpu']})."
    rows = [("", "accuracy", "95% interval", "same label as the student")]
    rows += [(role, *_judged(report["networks"][role])) for role in ROLES if report["networks"][role]]
    rows += [(_code(file), *_judged(file)) for file in report["files"]]
    pairs = [
        f"{' and '.join(f'`{name}`' for name in pair['files'])} give the same label on {pair['value']:.2%}."
        for pair in report["agreements"]
    ]
    notes = [
        f"- {role}: {_text(note)}" for role in ROLES for note in (report["networks"][role] or {"notes": []})["notes"]
    ]
    return "\n\n".join(filter(None, [_text(head), _table(rows), *pairs, "\n".join(notes)]))


def _judged(found: dict[str, Any]) -> tuple[str, str, str]:
    accuracy = found["accuracy"]
    interval = f"{accuracy['low']:.2%} to {accuracy['high']:.2%}"
    return f"{accuracy['value']:.2%}", interval, f"{found['agreement_with_student']['value']:.2%}"


def _groups(report: dict[str, Any], shipped: list[dict[str, Any]]) -> str:
    audit = report["audit"]
    models = {model["name"]: model for model in audit["models"]}
    rows = [("", "calibration error", "lowest accuracy", "largest drop")]
    for name in ("teacher", *(file["name"] for file in shipped)):
        model = models[name]
        worst, fallen = model["worst"], model["largest_drop"]
        low = f"{worst['accuracy']['value']:.2%} ({worst['by']} {worst['group']})" if worst else "no group so large"
        lost = "" if name == "teacher" else "no group so large"
        if fallen:
            drop = fallen["drop"]
            lost = f"{drop['value']:.2f} points, 95% interval {drop['low']:.2f} to {drop['high']:.2f} "
            lost += f"({fallen['by']} {fallen['group']})"
        rows.append(
            (name if name == "teacher" else f"`{name}`", f"{model['calibration_error']['value']:.2%}", low, lost)
        )
    head = (
        f"Test samples by {', '.join(grouping['by'] for grouping in audit['groupings'])}; among groups of at least "
        f"{audit['min_group_size']} samples. Drops are from the teacher on the same samples; the calibration error "
        f"(ECE) is of {audit['bins']} bins of confidence. `report.html` has every group."
    )
    return "\n\n".join([_text(head), _table(rows)])


def _cost(report: dict[str, Any]) -> str:
    rows: list[tuple[str, ...]] = [
        ("", "size", "smaller than the teacher", "p50", "p90", "p99", "cold start", "peak memory")
    ]
    sources = set()
    for file in report["files"]:
        size = (f"{short(file['size']['value'] / 1e6)} MB", f"{file['times_smaller_than_teacher']['value']:.1f}×")
        measured = file["measured"]
        times: tuple[str, ...] = ("not measured",) * 5
        if measured:
            latency = [_estimate(measured["latency"][key]) for key in ("p50", "p90", "p99")]
            told = (measured[key] for key in ("cold_start", "peak_memory"))
            times = (*latency, *(f"{short(f['value'])} {f['unit']}" if f else "not measured" for f in told))
            told_of = f"source {measured['source']}, {measured['machine']}"
            sources.add(f"Latency and memory: {told_of}, single inferences, with 95% intervals.")
        rows.append((_code(file), *size, *times))
    timed = {f"`{file['name']}`": file["measured"]["notes"] for file in report["files"] if file["measured"]}
    notes = "\n".join(f"- {_text(note)}" for note in told_once(timed))
    return "\n\n".join(filter(None, [_table(rows), *map(_text, sorted(sources)), notes]))


def _estimate(found: dict[str, Any]) -> str:
    """A figure with its 95% interval, as far as it is bounded."""
    low, high = ("–" if found[key] is None else short(found[key]) for key in ("low", "high"))
    return f"{short(found['value'])} {found['unit']} ({low} to {high})"


def _limits(report: dict[str, Any], shipped: list[dict[str, Any]], verdict: Verdict) -> str:
    lines = [f"{check.file}, {check.name}: {check.explanation}" for check in verdict.missed]
    for file in shipped:
        worst = min(file["per_class"], key=lambda row: row["value"])
        lines.append(
            f"{file['name']} is weakest on '{worst['label']}': {worst['value']:.2%} of {worst['total']} test samples."
        )
    lines += told_once({f"`{file['name']}`": file["notes"] for file in shipped})
    lines += report["notes"]
    ways = ", ".join(grouping["by"] for grouping in report["audit"]["groupings"])
    lines.append(f"Groups were looked at by {ways}: nothing is known of how it does on any other.")
    return "\n".join(f"- {_text(line)}" for line in lines)


def _feeding(report: dict[str, Any], shipped: list[dict[str, Any]]) -> str:
    if report["task"] == "image-classification":
        how = "RGB pixels 0 to 255 at the model's input size, resized as `preprocess.json` says; the graph normalises."
    else:
        lengths = sorted({file["sequence_length"] for file in shipped if file["sequence_length"]})
        how = (
            f"Word-piece ids from `vocab.txt` or `tokenizer.json`, padded or cut to {' or '.join(map(str, lengths))}, "
            "with their mask and segment ids, as `preprocess.json` says."
        )
    lines = [how, "One output, the labels' scores (softmax) in the order of `labels.txt`."]
    lines += [
        f"`{file['name']}`: {file['io_dtype']} inputs and outputs; `preprocess.json` has their scales and zero points."
        for file in shipped
        if file["io_dtype"] != "float32"
    ]
    lines.append(
        "`golden/` holds real inputs with the outputs expected: run them in your app before you trust its answers."
    )
    return "\n".join(f"- {line}" for line in lines)


def _code(file: dict[str, Any]) -> str:
    return f"`{file['name']}`" + ("" if file["shipped"] else " (not shipped)")


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    head, *body = [[_text(cell).replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def _text(text: str) -> str:
    """On one line, and without HTML: names and descriptions are the user's."""
    return " ".join(text.split()).replace("<", "&lt;")
