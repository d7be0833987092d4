"""The two ready recipes from nothing, as a user runs them: time, memory, accuracy, agreement, size.

`make demo` is the digits recipe. The figures are read from the bundles' own report.json.
"""

import json
from typing import Any

from benchmarks.record import Bar, edgepress, quick_asked, scratch, write_result

SHORT = {
    "digits-mobilenet": ("data.limit=500", "teacher.epochs=1", "distill.epochs=1", "prune.recovery_epochs=1"),
    "sentiment-tinybert": ("data.limit=300", "teacher.epochs=1", "distill.epochs=1"),
}


def run_recipe(name: str, quick: bool) -> dict[str, Any]:
    """A run in an empty store, and one more that should find everything made."""
    sets = [word for setting in SHORT[name] if quick for word in ("--set", setting)]
    with scratch() as out:
        arguments = ("run", f"recipes/{name}.yaml", *sets, "--out", str(out))
        first = edgepress(*arguments)
        if first.code not in (0, 1):
            raise SystemExit(first.output)
        again = edgepress(*arguments)
        reports = [json.loads(file.read_text()) for file in sorted((out / name).glob("*/report.json"))]
        return {
            "exit_code": first.code,
            "seconds": first.seconds,
            "peak_memory_mb": first.peak_mb,
            "second_run_seconds": again.seconds,
            "table": first.output[first.output.rfind("target") :].splitlines() if first.code == 0 else [],
            "networks": {
                role: network and {key: network[key] for key in ("name", "accuracy", "parameters", "macs")}
                for role, network in reports[0]["networks"].items()
            },
            "teacher_onnx_bytes": reports[0]["teacher_onnx_size"]["value"],
            "targets": {report["target"]["id"]: shipped(report) for report in reports},
        }


def shipped(report: dict[str, Any]) -> dict[str, Any]:
    """What a target's shipped files reached."""
    files = {}
    for file in report["files"]:
        if file["shipped"]:
            files[file["name"]] = {
                "accuracy": file["accuracy"],
                "bytes": file["size"]["value"],
                "times_smaller": file["times_smaller_than_teacher"]["value"],
                "points_lost_to_teacher": file["attribution"]["total"]["points_lost"],
                "latency_ms": {name: value["value"] for name, value in file["measured"]["latency"].items()},
                "latency_source": file["measured"]["source"],
                "times_faster_than_float32": (file["measured"]["times_faster_than_float32"] or {}).get("value"),
            }
    return {"files": files, "agreement": {" ".join(a["files"]): a["value"] for a in report["agreements"]}}


def int8_files(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [file for target in result["targets"].values() for name, file in target["files"].items() if ".int8" in name]


def int8_agreements(result: dict[str, Any]) -> list[float]:
    return [
        share for target in result["targets"].values() for pair, share in target["agreement"].items() if ".int8" in pair
    ]


def main() -> None:
    quick = quick_asked()
    digits, text = run_recipe("digits-mobilenet", quick), run_recipe("sentiment-tinybert", quick)
    teacher = text["networks"]["teacher"]["accuracy"]["value"]
    kept = min(file["accuracy"]["value"] for file in int8_files(text)) / teacher
    bars = [
        Bar("digits: minutes for make demo after set-up", digits["seconds"] / 60, "<=", 8),
        Bar("digits: peak memory, MB", digits["peak_memory_mb"], "<=", 4000),
        Bar("digits: held-out samples", digits["networks"]["teacher"]["accuracy"]["total"], ">=", 1000),
        Bar("digits: most points any INT8 file loses to the teacher",
            max(file["points_lost_to_teacher"] for file in int8_files(digits)), "<=", 1.5),
        Bar("digits: least agreement of ONNX and TFLite INT8", min(int8_agreements(digits)), ">=", 0.98),
        Bar("digits: least times smaller than the teacher's float32 ONNX",
            min(file["times_smaller"] for file in int8_files(digits)), ">=", 8),
        Bar("sentiment: minutes", text["seconds"] / 60, "<=", 25),
        Bar("sentiment: least share of the teacher's accuracy that an INT8 file keeps", kept, ">=", 0.95),
        Bar("sentiment: least times smaller than the teacher's float32 ONNX",
            min(file["times_smaller"] for file in int8_files(text)), ">=", 4),
    ]  # fmt: skip
    write_result("main-recipes", {"digits-mobilenet": digits, "sentiment-tinybert": text}, bars, quick)


main()
