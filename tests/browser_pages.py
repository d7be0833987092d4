"""Pages of our own in a real Chromium: at a width, in light or dark, on paper, and what can be asked of them."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from targets.browser.chromium import Page, find_browser, open_browser
from targets.browser.server import Content, serve
from targets.errors import TargetError

SECONDS = 60.0
SIZES = {"desktop": (1280, 900), "phone": (360, 740)}


def missing() -> str:
    """Why there is no browser here; nothing where there is one."""
    try:
        find_browser()
    except TargetError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Screen:
    """A browser with one page at a time."""

    page: Page
    address: str
    files: dict[str, Content]

    def show(self, file: Path, size: str = "desktop", scheme: str = "light", media: str = "screen") -> None:
        width, height = SIZES[size]
        self.files["page.html"] = file
        self.page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=size == "phone",
        )  # fmt: skip
        self.page.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self.page.asked.clear()
        self.page.errors.clear()
        self.page.go_to(self.address)

    def ask(self, expression: str) -> object:
        return self.page.evaluate(expression, SECONDS)

    def outside(self) -> list[str]:
        """The addresses that the page asked for, but for itself and what lies in it."""
        return [address for address in self.page.asked if not address.startswith((self.address, "data:"))]

    def picture(self, file: Path) -> None:
        """The whole page as PNG."""
        told = self.page.call("Page.captureScreenshot", SECONDS, format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def screen() -> Iterator[Screen]:
    files: dict[str, Content] = {}
    with serve(files) as served, open_browser(find_browser(), served.proxy) as page:
        page.listen()
        yield Screen(page, served.address, files)
