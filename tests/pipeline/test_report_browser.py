"""The pages in a real Chromium, on a desk and on a phone, in light, in dark and on paper: no error, nothing asked for
outside, nothing too wide, too small or on top of each other."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.bundle_index import Bundles, Listed, Unreadable
from pipeline.gate import decide
from pipeline.report.html import render_html
from pipeline.report.index_page import write_index
from pipeline.results import PreparedData
from targets.profile import Budgets
from tests import releases
from tests.browser_pages import Screen, needs_chromium, screen
from tests.pipeline.report_pages import report_of, with_prediction

pytestmark = needs_chromium

BUDGETS = Budgets.model_validate(
    {
        "latency_ms": {"p90": 2}, "size_mb": 1, "peak_mem_mb": 20,
        "accuracy": {"min": 0.8, "max_drop": 1.5, "min_agreement": 0.9, "max_group_drop": 30, "min_group_size": 10},
    }
)  # fmt: skip
PEERS = [
    {"name": "a peer with quite a long name of its own, cut in the plot", "accuracy": 0.9, "size_mb": 2.5,
     "latency_ms": 9, "source": "a paper whose title is long enough to be wrapped on the page of a phone, twice or so"},
    {"name": "another", "accuracy": 0.95, "size_mb": 0.2, "source": "its page"},
]  # fmt: skip
VIEWS = [(size, scheme) for size in ("desktop", "phone") for scheme in ("light", "dark")]

# Of every text in a plot: as large as it is seen, and where; none of those that stand on end.
TEXTS = """[...document.querySelectorAll('svg')].map(svg => [...svg.querySelectorAll('text')]
  .filter(text => !/rotate\\(-90/.test(text.getAttribute('transform') || ''))
  .map(text => { const box = text.getBoundingClientRect(); return {
    text: text.textContent, left: box.left, right: box.right, top: box.top, bottom: box.bottom,
    size: parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a,
    inside: box.left >= svg.getBoundingClientRect().left - 2
      && box.right <= svg.getBoundingClientRect().right + 2 }; }))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Screen]:
    with screen() as opened:
        yield opened


@pytest.fixture(scope="module")
def report_page(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With every section that there is."""
    folder = tmp_path_factory.mktemp("page")
    run = releases.release(folder, digits, explain=True, layers=True)
    report = with_prediction(report_of(run, budgets=BUDGETS, peers=PEERS))
    (folder / "report.html").write_text(render_html(report, decide(report)))
    return folder / "report.html"


@pytest.fixture(scope="module")
def text_page(reviews: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    run = releases.release(folder, reviews, trim=True, timed=False)
    report = report_of(run)
    (folder / "report.html").write_text(render_html(report, decide(report)))
    return folder / "report.html"


@pytest.fixture(scope="module")
def index_page(digits: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    report = report_of(releases.release(folder, digits), budgets=BUDGETS)
    shipped = tuple(file["name"] for file in report["files"] if file["shipped"])
    whole = tuple(
        Listed(f"tiny/{target}", folder / target, "tiny", "Tells digits apart", "image-classification", target, device,
               shipped, decide(report))
        for target, device in (("pixel8", "Google Pixel 8"), ("rpi4", "Raspberry Pi 4"))
    )  # fmt: skip
    broken = (Unreadable("a/folder/with/a/long/name/that/goes/on", "manifest.json: no such file; " * 5),)
    write_index(Bundles(whole, broken), "artifacts", folder / "index.html")
    return folder / "index.html"


@pytest.fixture(params=["report_page", "text_page", "index_page"])
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@pytest.mark.parametrize(("size", "scheme"), VIEWS)
def test_no_page_errs_asks_outside_or_is_too_wide(browser: Screen, page: Path, size: str, scheme: str) -> None:
    browser.show(page, size, scheme)
    assert browser.page.errors == []
    assert browser.outside() == []
    assert browser.page.asked[0] == browser.address
    assert browser.ask("document.documentElement.scrollWidth <= window.innerWidth") is True
    assert browser.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0)") is True


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_text_of_plots_can_be_read(browser: Screen, report_page: Path, size: str) -> None:
    browser.show(report_page, size)
    plots = browser.ask(TEXTS)
    assert isinstance(plots, list)
    assert sum(len(texts) for texts in plots) > 100
    for texts in plots:
        for place, text in enumerate(texts):
            assert text["size"] >= 8.5, text
            assert text["inside"], text
            for other in texts[:place]:
                apart = (
                    text["left"] >= other["right"] or other["left"] >= text["right"]
                    or text["top"] >= other["bottom"] - 1 or other["top"] >= text["bottom"] - 1
                )  # fmt: skip
                assert apart, (text["text"], other["text"])


def lightness(colour: object) -> float:
    """The mean of `rgb(r, g, b)`, 0 to 255."""
    return float(np.mean([int(part) for part in re.findall(r"\d+", str(colour))[:3]]))


def test_ground_and_plots_follow_the_scheme_and_paper_is_white(browser: Screen, report_page: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    drawn = "getComputedStyle(document.querySelector('#path svg text')).fill"
    found = {}
    for name, scheme, media in (
        ("light", "light", "screen"), ("dark", "dark", "screen"), ("paper", "dark", "print"),
    ):  # fmt: skip
        browser.show(report_page, "desktop", scheme, media)
        found[name] = lightness(browser.ask(ground)), lightness(browser.ask(drawn))
    assert found["light"][0] > 230 > 120 > found["light"][1]
    assert found["dark"][0] < 40 < 140 < found["dark"][1]
    assert found["paper"] == found["light"]


def test_tables_that_are_too_wide_scroll_in_their_own_box(browser: Screen, report_page: Path) -> None:
    browser.show(report_page, "phone")
    boxes = browser.ask(
        "[...document.querySelectorAll('.scroll')].filter(box => box.offsetParent !== null)"
        ".map(box => [box.scrollWidth > box.clientWidth, box.getBoundingClientRect().right <= innerWidth])"
    )
    assert isinstance(boxes, list)
    assert any(wide for wide, _ in boxes)
    assert all(within for _, within in boxes)


def test_a_script_that_gets_into_a_page_would_not_run(browser: Screen, report_page: Path, tmp_path: Path) -> None:
    """The page's own policy forbids scripts and addresses, should escaping ever fail."""
    attack = "<script>document.title = 'taken'</script><img src='http://outside.example/x.png'>"
    (tmp_path / "page.html").write_text(report_page.read_text().replace("<main>", f"<main>{attack}"))
    browser.show(tmp_path / "page.html")
    assert browser.ask("document.title") != "taken"
    assert len(browser.page.errors) >= 2
    assert all("Content Security Policy" in error for error in browser.page.errors)
