"""Bytes of the digits recipe's reports, and how soon Chromium has drawn one from top to bottom.

Bundles may be given as a folder; else the recipe makes them. Each page is loaded several times, the whole of it in
view; the time is from the request to the second frame after it was loaded, and the median counts.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from benchmarks.record import Bar, edgepress, scratch, write_result
from targets.browser.chromium import Page, browser_version, find_browser, open_browser
from targets.browser.server import Content, serve

RECIPE = "digits-mobilenet"
LOADS = 11
SIZES = {"desktop": (1280, False), "phone": (360, True)}
# A frame has been drawn when the next one begins.
DRAWN = (
    "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
    ".then(ms => ms / 1000)"
)
SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundles", type=Path, nargs="?", help="a folder with the recipe's bundles; else they are made")
    parser.add_argument("--quick", action="store_true", help="a short form, to see that it runs; writes no result")
    options = parser.parse_args()
    with scratch() as folder:
        bundles = options.bundles or made(folder)
        pages = {page.parent.name: page for page in sorted(bundles.glob("*/report.html"))}
        if not pages:
            raise SystemExit(f"{bundles}: no bundle in it")
        reports = {name: judged(page, 3 if options.quick else LOADS) for name, page in pages.items()}
    figures = {"browser": browser_version(find_browser()), "loads": LOADS, "reports": reports}
    slowest = max(report[size]["median_seconds"] for report in reports.values() for size in SIZES)
    write_result(
        "dropin-report",
        figures,
        [
            Bar("digits: megabytes of the largest report", max(r["bytes"] for r in reports.values()) / 1e6, "<=", 3),
            Bar("digits: seconds until Chromium has drawn the slowest report, median", slowest, "<=", 1),
        ],
        options.quick,
    )


def made(folder: Path) -> Path:
    ended = edgepress("run", f"recipes/{RECIPE}.yaml", "--out", str(folder))
    if ended.code not in (0, 1):
        raise SystemExit(ended.output)
    return folder / RECIPE


def judged(page: Path, loads: int) -> dict[str, Any]:
    found: dict[str, Any] = {"bytes": page.stat().st_size}
    files: dict[str, Content] = {"page.html": page}
    for size, (width, mobile) in SIZES.items():
        with serve(files) as served, open_browser(find_browser(), served.proxy) as browser:
            seconds = [drawn(browser, served.address, width, mobile) for _ in range(loads + 1)][1:]
            found[size] = {"median_seconds": statistics.median(seconds), "seconds": seconds}
    return found


def drawn(browser: Page, address: str, width: int, mobile: bool) -> float:
    """Seconds until the page is drawn, in a window as high as it is (of the first load: as high as a screen)."""
    browser.go_to(address)
    seconds = float(browser.evaluate(DRAWN, SECONDS))
    height = int(browser.evaluate("document.documentElement.scrollHeight", SECONDS))
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
    return seconds


if __name__ == "__main__":
    main()
