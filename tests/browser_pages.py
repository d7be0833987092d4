"""A real Chromium for tests: at a width, in light or dark, on paper, what can be asked of a page and what it complains
of."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.clients.modules import FOLDER, MODULES
from targets.browser.chromium import Page, find_browser, open_browser
from targets.browser.packages import installed
from targets.browser.server import Content, serve
from targets.errors import TargetError

SECONDS = 120.0
SIZES = {"desktop": (1280, 900), "phone": (360, 740)}


def _missing(*needs: Any) -> str:
    """Why something is not here; nothing where all is."""
    try:
        for need in needs:
            need()
    except TargetError as error:
        return str(error)
    return ""


_no_chromium = _missing(find_browser)
_no_runtimes = _missing(find_browser, installed)
needs_chromium = pytest.mark.skipif(bool(_no_chromium), reason=_no_chromium)
needs_browser = pytest.mark.skipif(bool(_no_runtimes), reason=_no_runtimes)


def ask(page: Page, expression: str) -> Any:
    return page.evaluate(expression, SECONDS)


def call(page: Page, function: str, *given: Any) -> Any:
    """What a JavaScript function gives for arguments that JSON can tell."""
    return ask(page, f"({function})({', '.join(json.dumps(one) for one in given)})")


def look(page: Page, size: str = "desktop", scheme: str = "light", media: str = "screen") -> None:
    """Shows a page in a window of this size, as a person's settings or a printer want it."""
    width, height = SIZES[size]
    page.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=size == "phone"
    )
    page.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])


def picture(page: Page, file: Path) -> Path:
    """The whole page as PNG."""
    told = page.call("Page.captureScreenshot", SECONDS, format="png", captureBeyondViewport=True)
    file.write_bytes(base64.b64decode(told["data"]))
    return file


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


@dataclass(frozen=True)
class Screen:
    """A browser that shows files, one at a time."""

    page: Page
    address: str
    files: dict[str, Content]

    def show(self, file: Path, size: str = "desktop", scheme: str = "light", media: str = "screen") -> None:
        self.files["page.html"] = file
        look(self.page, size, scheme, media)
        self.page.asked.clear()
        self.page.errors.clear()
        self.page.go_to(self.address)

    def ask(self, expression: str) -> Any:
        return ask(self.page, expression)

    def outside(self) -> list[str]:
        """The addresses that the page asked for, but for itself and what lies in it."""
        return [address for address in self.page.asked if not address.startswith((self.address, "data:"))]


@contextmanager
def screen() -> Iterator[Screen]:
    files: dict[str, Content] = {}
    with serve(files) as served, open_browser(find_browser(), served.proxy) as page:
        page.listen()
        yield Screen(page, served.address, files)
