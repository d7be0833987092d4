"""What the tests of reports share: a report of a made-up release, and its page read as text."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pipeline.emulated.prediction import PredictedFile
from pipeline.emulated.results import PredictedLatency
from pipeline.gate import decide
from pipeline.report.emulated import predicted as told_of
from pipeline.report.html import render_html
from pipeline.report.record import make_report
from pipeline.results import RunResult
from targets.prediction.measurements import Work
from targets.prediction.predict import Prediction
from targets.profile import Budgets, load_profile
from targets.runners.emulated import InstructionCounts
from tests import releases

BUDGETS = Budgets.model_validate({"latency_ms": {"p90": 2}, "size_mb": 1, "accuracy": {"max_drop": 1.5}})
GROUPED = Budgets.model_validate({"accuracy": {"max_group_drop": 30, "min_group_size": 10}})  # 60 test samples


def report_of(run: RunResult, target: str = "pixel8", budgets: Budgets = BUDGETS, **settings: object) -> dict[str, Any]:
    return make_report(run, releases.recipe(run.data.task, **settings), load_profile(target), budgets)


def named(report: dict[str, Any], name: str) -> dict[str, Any]:
    (file,) = (file for file in report["files"] if file["name"] == name)
    return file  # type: ignore[no-any-return]


def page_of(report: dict[str, Any]) -> str:
    return render_html(report, decide(report))


class Reader(HTMLParser):
    """Collects tags, attributes, texts and headings, and fails on a tag that is closed but was not opened."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> was not opened"
        opened = self.open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def text_of(report: dict[str, Any]) -> str:
    return read(page_of(report)).text


def predicted(file: str = "model.tflite", ms: float = 4.0) -> PredictedFile:
    """`ms` on a core that none was measured on, between half of it and twice as much."""
    work = Work("cortex-a76", "litert", "int8", 90_000_000, 0, 0, 0, 0, 0, 1_000, 2_000, 20)
    counts = InstructionCounts("cortex-a76", "litert", "2.3.0", "QEMU 7.2", 7, 0.0, 90_000_000, 0, 0, 0, 0, 0)
    told = Prediction(
        "cortex-a76", 2, ms, ms / 2, 2 * ms, 0.9, "a board", 4, True, False, {"instructions": ms}, ("a paper",),
        ("costs are borrowed from <another core>",),
    )  # fmt: skip
    return PredictedFile(Path(file), told, work, counts)


def with_prediction(report: dict[str, Any], ms: float = 4.0) -> dict[str, Any]:
    """`report` with a predicted latency of its TFLite file."""
    told = told_of(PredictedLatency(predicted(ms=ms).prediction))
    files = [
        file | {"predicted": told if file["name"] == "model.int8-static.tflite" else None} for file in report["files"]
    ]
    return report | {"files": files}
