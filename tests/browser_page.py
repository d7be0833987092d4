"""Chromium for tests: where one and the runtimes for pages are here, and what a page writes and looks like."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.app_files import FOLDER, MODULES
from targets.browser.chromium import Page, find_browser, open_browser
from targets.browser.packages import installed
from targets.browser.server import serve
from targets.errors import TargetError

SECONDS = 120.0


def missing(*needs: Any) -> str:
    try:
        for need in needs:
            need()
    except TargetError as error:
        return str(error)
    return ""


no_chromium = missing(find_browser)
no_runtimes = missing(find_browser, installed)
needs_chromium = pytest.mark.skipif(bool(no_chromium), reason=no_chromium)
needs_browser = pytest.mark.skipif(bool(no_runtimes), reason=no_runtimes)


@contextmanager
def module_page(folder: Path) -> Iterator[Page]:
    """A page with all that the modules for apps export under `app`."""
    names = "".join(f"import * as part{number} from './{name}';" for number, name in enumerate(MODULES))
    parts = ", ".join(f"...part{number}" for number in range(len(MODULES)))
    page_file = folder / "page.html"
    page_file.write_text(
        f'<!doctype html><meta charset="utf-8"><script type="module">{names} globalThis.app = {{ {parts} }};</script>'
    )
    with (
        serve({"page.html": page_file, **{name: FOLDER / name for name in MODULES}}) as served,
        open_browser(find_browser(), served.proxy) as page,
    ):
        page.go_to(served.address)
        yield page


def call(page: Page, function: str, *given: Any) -> Any:
    """What a JavaScript function gives for arguments that JSON can tell."""
    return page.evaluate(f"({function})({', '.join(json.dumps(one) for one in given)})", SECONDS)


def send(page: Page, method: str, **parameters: Any) -> dict[str, Any]:
    """A command of the DevTools protocol."""
    import time

    return page._call(method, time.monotonic() + SECONDS, **parameters)


class Complaints:
    """What a page complains of: uncaught errors, and what the browser itself logs, such as a refused request."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        handle = page._handle

        def listen(event: Mapping[str, Any]) -> None:
            if event.get("method") == "Runtime.exceptionThrown":
                self.found.append(str(event["params"]["exceptionDetails"]))
            elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                self.found.append(str(event["params"]["entry"]["text"]))
            handle(dict(event))

        page._handle = listen  # type: ignore[method-assign]
        send(page, "Runtime.enable")
        send(page, "Log.enable")


def screenshot(page: Page, file: Path, width: int, height: int, *, dark: bool = False) -> Path:
    """A picture of the whole page in a window of this size."""
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    send(page, "Emulation.setEmulatedMedia", features=scheme)
    send(
        page, "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
    )
    shot = send(page, "Page.captureScreenshot", format="png", captureBeyondViewport=True)
    file.write_bytes(base64.b64decode(shot["data"]))
    return file
