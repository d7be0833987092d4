"""The table at the end of a run: what each target got, one line a file that ships."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.slow import NOT_FASTER

if TYPE_CHECKING:
    from pipeline.gate import Verdict

HEAD = (
    "target",
    "file",
    "accuracy (95%)",
    "to teacher",
    "size",
    "smaller",
    "p90",
    "against float32",
    "verdict",
)


def release_rows(
    reports: Sequence[dict[str, Any]], passed: Sequence[bool]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The table's head, and a row for the teacher and for each shipped file of `reports`."""
    first = reports[0]
    teacher, naive = first["networks"]["teacher"], first["networks"]["naive"]
    size = f"{first['teacher_onnx_size']['value'] / 1e6:.2f} MB"
    rows: list[tuple[str, ...]] = [
        ("", f"teacher {teacher['name']}", _accuracy(teacher["accuracy"]), "", size, "", "", "", "")
    ]
    if naive:
        rows.append(("", f"naive {naive['name']}", _accuracy(naive["accuracy"]), *[""] * 6))
    for report, good in zip(reports, passed, strict=True):
        for file in report["files"]:
            if file["shipped"]:
                rows.append((report["target"]["id"], *_file(file, teacher), "PASS" if good else "FAIL"))
    return HEAD, rows


def slow_files(report: dict[str, Any]) -> list[str]:
    """What is said of shipped files that their scheme made no faster, a line each."""
    timed = [file for file in report["files"] if file["shipped"] and file["measured"]]
    return [f"{file['name']}: {note}" for file in timed for note in file["measured"]["notes"] if NOT_FASTER in note]


def emulated_files(report: dict[str, Any]) -> list[str]:
    """What emulated cores told of shipped files, a line each."""
    return [
        f"{file['name']}: {core['instructions']['value'] / 1e6:.3f} million instructions on an emulated "
        f"{core['core']}, {core['outputs']['explanation']}"
        for file in report["files"]
        for core in (file.get("emulated") or {"cores": []})["cores"]
    ]


def failures(verdict: "Verdict") -> list[str]:
    """What was missed, a line each."""
    return [f"{check.file}: {check.explanation}" for check in verdict.checks if not check.passed]


def _accuracy(accuracy: dict[str, Any]) -> str:
    return f"{accuracy['value']:.2%} ({accuracy['low']:.1%} to {accuracy['high']:.1%})"


def _file(file: dict[str, Any], teacher: dict[str, Any]) -> tuple[str, ...]:
    points = 100 * (file["accuracy"]["value"] - teacher["accuracy"]["value"])
    measured = file["measured"]
    p90 = faster = ""
    guess = file.get("predicted")
    if guess and guess["latency"]:
        p90 = f"{guess['latency']['value']:.2f} ms (predicted)"
    if measured:
        p90 = f"{measured['latency']['p90']['value']:.2f} ms ({measured['source']})"
        times = measured["times_faster_than_float32"]
        faster = f"{times['value']:.2f}x as fast" if times else ""
    return (
        file["name"], _accuracy(file["accuracy"]), f"{points:+.2f} points", f"{file['size']['value'] / 1e6:.2f} MB",
        f"{file['times_smaller_than_teacher']['value']:.1f}x", p90, faster,
    )  # fmt: skip
