"""Size and latency on the page: beside the peers that the recipe names, with intervals, and where each was found."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.recipe import load_recipe
from pipeline.report.cost_plots import latencies, sizes
from pipeline.report.html import completed
from pipeline.report.latency_plot import band, distribution
from pipeline.results import PreparedData, RunResult
from targets.errors import TargetError
from tests import releases
from tests.pipeline.report_pages import named, page_of, read, report_of, text_of, with_prediction

PEER = {"name": "squeeze", "accuracy": 0.91, "size_mb": 0.75, "latency_ms": 1.25, "source": "a paper of 2016"}
RECIPE = Path(__file__).parents[2] / "recipes/digits-mobilenet.yaml"
TFLITE = "model.int8-static.tflite"


@pytest.fixture
def run(digits: PreparedData, tmp_path: Path) -> RunResult:
    return releases.release(tmp_path, digits)


def test_peers_stand_in_report_plots_and_table(run: RunResult) -> None:
    report = report_of(run, peers=[PEER, {"name": "size alone", "size_mb": 3, "source": "its page"}])
    first, second = report["peers"]
    assert first["accuracy"] == {"value": 0.91, "unit": "share", "source": "recipe"}
    assert (first["size"]["value"], first["latency"]["value"], first["told_by"]) == (0.75, 1.25, "a paper of 2016")
    assert (second["accuracy"], second["latency"]) == (None, None)
    text = text_of(report)
    assert "squeeze 91.00% 0.750 16.0× 1.25 – peer a paper of 2016" in text
    assert "size alone – 3.00 4.0× – – peer its page" in text
    report = completed(report)
    assert "squeeze 0.750 MB" in sizes(report, "s").alt
    found = latencies(report, "l")
    assert found is not None
    assert "squeeze 1.25 ms" in found.alt
    assert "size alone" not in found.alt
    assert "beside the peers" not in text_of(report_of(run))


def set_peers(value: object) -> Any:
    return load_recipe(RECIPE, (f"peers={json.dumps(value)}",)).peers


def test_peers_are_read_from_the_recipe() -> None:
    (peer,) = set_peers([PEER])
    assert (peer.name, peer.accuracy, peer.size_mb, peer.latency_ms, peer.source) == tuple(PEER.values())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"accuracy": 97.4}, r"'peers\.0': accuracy 97\.4: expected a share of 0 to 1; 97\.4% is 0\.974"),
        ({"accuracy": -1}, r"'peers\.0': accuracy -1: expected a share of 0 to 1$"),
        ({"size_mb": 0}, r"'peers\.0\.size_mb': Input should be greater than 0"),
        ({"latency_ms": "fast"}, r"'peers\.0\.latency_ms': Input should be a valid number"),
        ({"latency_ms": ".inf"}, r"'peers\.0\.latency_ms'"),
        ({"source": " "}, r"'peers\.0\.source': expected words on one line"),
        ({"name": "two\nlines"}, r"'peers\.0\.name': expected words on one line"),
        ({"name": "x" * 201}, r"'peers\.0\.name': String should have at most 200 characters"),
        ({"sizemb": 1}, r"unknown key 'peers\.0\.sizemb': did you mean 'size_mb'\?"),
        ({"source": None}, r"'peers\.0\.source'"),
    ],
)
def test_a_wrong_peer_is_refused_with_its_place(change: dict[str, object], told: str) -> None:
    with pytest.raises(TargetError, match=told):
        set_peers([PEER | change])


def test_peers_that_tell_nothing_or_stand_twice_are_refused() -> None:
    with pytest.raises(TargetError, match=r"'peers\.0': a peer without figures: give accuracy, size_mb or latency_ms"):
        set_peers([{"name": "nothing", "source": "nowhere"}])
    with pytest.raises(TargetError, match="'peers': squeeze stands twice: give each peer a name of its own"):
        set_peers([PEER, PEER])
    with pytest.raises(TargetError, match="'peers': found 21 peers, at most 20 can be shown"):
        set_peers([PEER | {"name": f"peer {place}"} for place in range(21)])
    with pytest.raises(TargetError, match=r"'peers\.0\.source' is missing"):
        set_peers([{"name": "nobody says", "size_mb": 1}])


def test_each_latency_says_where_it_was_found_and_how_sure_it_is(run: RunResult) -> None:
    report = report_of(run)
    p90 = named(report, TFLITE)["measured"]["latency"]["p90"]
    text = text_of(report)
    shown = [f"{p90[key]:#.3g}" for key in ("value", "low", "high")]
    assert "int8-static.tflite host" in text
    assert f"{shown[0]} {shown[1]} to {shown[2]}" in text
    assert "measured on: a machine (source: host)" in text
    assert "2 not quiet" in text


def test_a_prediction_stands_beside_what_was_measured(run: RunResult) -> None:
    page = page_of(with_prediction(report_of(run)))
    text = read(page).text
    assert "int8-static.tflite predicted 4.00 2.00 to 8.00 90% 2 cortex-a76, borrowed a board" in text
    assert "costs are borrowed from <another core>" in text
    assert "<another core>" not in page
    found = latencies(completed(with_prediction(report_of(run))), "l")
    assert found is not None
    assert "int8-static.tflite 4.00 ms, predicted" in found.alt


def test_a_prediction_alone_is_the_latency(digits: PreparedData, tmp_path: Path) -> None:
    report = with_prediction(report_of(releases.release(tmp_path, digits, timed=False)))
    text = text_of(report)
    assert "4.00 ms latency, source: predicted" in text
    assert "Measured: milliseconds" not in text


def test_latencies_far_apart_are_on_a_scale_of_powers_of_ten(run: RunResult) -> None:
    for ms, told in ((4.0, False), (400.0, True)):
        found = latencies(completed(with_prediction(report_of(run), ms)), "l")
        assert found is not None
        assert ("powers of ten" in read(found.svg).text) is told


def test_the_band_is_dvoretzky_kiefer_wolfowitz() -> None:
    """sqrt(ln(2 / 0.05) / (2 n)): 0.1358 of 100 runs, by hand; twice that where four runs are alike."""
    assert band(100, 1.0) == pytest.approx(0.13581, abs=1e-5)
    assert band(100, 4.0) == pytest.approx(2 * band(100, 1.0))
    assert band(100, 0.5) == band(100, 1.0)
    assert band(1, 10.0) == 1.0


def test_the_distribution_tells_its_percentiles(run: RunResult) -> None:
    file = named(report_of(run), TFLITE)
    samples = np.array(file["measured"]["samples"]["values"])
    alt = distribution([file], "d").alt
    assert f"50% of the runs within {np.percentile(samples, 50):.3g} ms" in alt
    assert f"99% of the runs within {np.percentile(samples, 99):.3g} ms" in alt


@pytest.mark.parametrize("values", [[1.5], [0.0, 0.0], [2.0, 2.0, 2.0]])
def test_runs_without_any_spread_are_drawn(run: RunResult, values: list[float]) -> None:
    file = named(report_of(run), TFLITE)
    file["measured"]["samples"]["values"] = values
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f"90% of the runs within {values[0]:.3g} ms" in distribution([file], "d").alt
