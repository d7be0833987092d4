"""MODEL_CARD.md: what the model is, what it was judged on, and how to feed it."""

from pathlib import Path

from pipeline.gate import decide
from pipeline.report.card import render_card
from pipeline.results import PreparedData
from tests import releases
from tests.pipeline.report_pages import report_of


def test_the_card_tells_what_who_how_well_and_how(digits: PreparedData, tmp_path: Path) -> None:
    report = report_of(releases.release(tmp_path, digits, explain=True, layers=True))
    card = render_card(report, decide(report))
    for heading in ("Intended use", "Data", "Accuracy", "Size, latency and memory", "Limits", "How to feed it"):
        assert f"\n## {heading}\n" in card
    assert "| `model.int8-static.onnx` | 86.67% |" in card
    assert "source host" in card
    assert "not stated by the source" in card  # the licence
    assert "**failed**" in card
    columns = {line.count("|") for line in card.splitlines() if line.startswith("|")}
    assert columns == {5, 7, 8, 9}  # the pipes of a row in each kind of table
    assert "\n## Groups and calibration\n" in card
