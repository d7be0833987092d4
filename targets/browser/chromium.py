"""Chromium without a window, started for one page and driven over its DevTools protocol's pipe."""

import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from targets.errors import TargetError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
GET_CHROMIUM = (
    "install it (Debian: apt-get install chromium), or name a Chromium or Chrome of yours with measure.tools.browser, "
    "or --tool browser=PATH"
)

# As little as can be of its own goes on beside the page: no reports or experiments, and no tab is put to sleep.
FLAGS = (
    "--headless", "--disable-gpu", "--no-first-run", "--no-default-browser-check", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--disable-component-extensions-with-background-pages", "--disable-sync", "--disable-breakpad",
    "--disable-domain-reliability", "--disable-client-side-phishing-detection", "--metrics-recording-only",
    "--no-pings", "--password-store=basic", "--use-mock-keychain", "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding", "--disable-hang-monitor",
    "--disable-features=MediaRouter,OptimizationHints,Translate,SpareRendererForSitePerProcess",
)  # fmt: skip

START_SECONDS = 60
END_SECONDS = 5


def find_browser(named: str | None = None) -> Path:
    """The Chromium to use: the one that is named, or the system's. Raises TargetError if there is none."""
    if named is not None:
        found = shutil.which(os.path.expanduser(named))
        if found is None:
            raise TargetError(f"browser {named}: no program that can be run; {GET_CHROMIUM}")
        return Path(found)
    for name in (*NAMES, *PLACES):
        if found := shutil.which(name):
            return Path(found)
    raise TargetError(f"no Chromium here: none of {', '.join(NAMES)} is on the PATH; {GET_CHROMIUM}")


@cache
def browser_version(program: Path) -> str:
    """Name and version of a browser, such as "Chromium 140.0.7339.80". Raises TargetError if it is none."""
    try:
        done = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=START_SECONDS, check=False,
        )  # fmt: skip
        said = done.stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(f"{program}: can't be run: {error}; {GET_CHROMIUM}") from None
    found = re.search(r"(?:Chromium|Google Chrome|Microsoft Edge)[A-Za-z ]* \d+(?:\.\d+)+", said)
    if found is None:
        told = said.strip()[:80]
        raise TargetError(f"{program}: not Chromium: asked for its version it said {told!r}; {GET_CHROMIUM}")
    return found[0]


class PageLost(TargetError):
    """The page or its browser has ended, or does not answer."""


class PageSilent(PageLost):
    """There was no answer until the time was over."""


class Page:
    """The one page of a running browser. `asked`: the addresses that it asked for, whether it got them or not.
    `errors`: what its console was told as a warning or an error, once it is listened to."""

    def __init__(self, pid: int, commands: int, answers: int, errors: Path) -> None:
        self.pid, self._commands, self._answers, self._errors = pid, commands, answers, errors
        self._unread = b""
        self._number = 0
        self._session: str | None = None
        self._loaded = False
        self.asked: list[str] = []
        self.errors: list[str] = []

    def attach(self) -> None:
        """Takes over the page that the browser starts with."""
        deadline = time.monotonic() + START_SECONDS
        pages: list[str] = []
        while not pages:
            told = self._call("Target.getTargets", deadline)["targetInfos"]
            pages = [target["targetId"] for target in told if target["type"] == "page"]
            time.sleep(0 if pages else 0.05)
        session = self._call("Target.attachToTarget", deadline, targetId=pages[0], flatten=True)["sessionId"]
        self._session = session
        for domain in ("Inspector.enable", "Page.enable", "Network.enable"):
            self._call(domain, deadline)

    def go_to(self, address: str) -> None:
        """Loads a page, its scripts included."""
        deadline = time.monotonic() + START_SECONDS
        self._loaded = False
        self._call("Page.navigate", deadline, url=address)
        while not self._loaded:
            self._handle(self._next(deadline))

    def evaluate(self, expression: str, seconds: float) -> Any:
        """The value of a JavaScript expression, a promise's when it is kept; plain JSON. Raises PageLost."""
        given = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        try:
            told = self._call("Runtime.evaluate", time.monotonic() + seconds, **given)
        except PageSilent:
            raise PageLost(f"the page did not answer within {seconds:g} s") from None
        if "exceptionDetails" in told:
            raise RuntimeError(f"the page's own script failed: {told['exceptionDetails']}")
        return told["result"].get("value")

    def call(self, method: str, seconds: float = START_SECONDS, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the DevTools protocol. Raises PageLost."""
        return self._call(method, time.monotonic() + seconds, **parameters)

    def listen(self) -> None:
        """From now on `errors` are noted. It costs time: not for pages that measure."""
        for domain in ("Log.enable", "Runtime.enable"):
            self.call(domain)

    def renderers(self) -> list[int]:
        """Process numbers of what runs pages."""
        session, self._session = self._session, None  # only the browser itself knows
        try:
            told = self._call("SystemInfo.getProcessInfo", time.monotonic() + START_SECONDS)
        finally:
            self._session = session
        return [process["id"] for process in told["processInfo"] if process["type"] == "renderer"]

    def close(self) -> None:
        """Ends the browser and all of its processes."""
        with suppress(OSError):
            os.close(self._commands)  # it ends when nobody can drive it any more
        deadline = time.monotonic() + END_SECONDS
        while (ended := _has_ended(self.pid)) is False and time.monotonic() < deadline:
            time.sleep(0.02)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if not ended:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
        os.close(self._answers)

    def _call(self, method: str, deadline: float, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        try:
            _write(self._commands, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise self._ended() from None
        while True:
            told = self._next(deadline)
            if told.get("id") == self._number:
                if "error" in told:
                    raise PageLost(f"the browser refuses {method}: {told['error'].get('message')}")
                return dict(told["result"])
            self._handle(told)

    def _handle(self, event: dict[str, Any]) -> None:
        if event.get("method") in ("Inspector.targetCrashed", "Target.targetCrashed"):
            raise PageLost("the page crashed; the file may need more memory than a page gets")
        if event.get("method") == "Network.requestWillBeSent":
            self.asked.append(event["params"]["request"]["url"])
        if error := _console_error(event):
            self.errors.append(error)
        self._loaded |= event.get("method") == "Page.loadEventFired"

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise PageSilent("the browser did not answer in time; is this computer very busy?")
            part = os.read(self._answers, 1 << 16)
            if not part:
                raise self._ended()
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))

    def _ended(self) -> PageLost:
        lines = self._errors.read_text(errors="replace").splitlines()
        said = [line for line in lines if "ERROR" in line or "FATAL" in line] or lines
        return PageLost(f"the browser ended by itself: {said[-1].strip()[:300] if said else 'it said nothing'}")


def _console_error(event: dict[str, Any]) -> str | None:
    """What an event of the DevTools protocol tells of a warning or an error."""
    told, given = event.get("method"), event.get("params", {})
    if told == "Runtime.exceptionThrown":
        return str(given["exceptionDetails"].get("text"))
    if told == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
        return " ".join(str(part.get("value", part.get("description"))) for part in given["args"])
    if told == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
        return str(given["entry"]["text"])
    return None


@contextmanager
def open_browser(program: Path, proxy: str) -> Iterator[Page]:
    """A browser with an empty profile of its own, which asks `proxy` for all that is not on this computer."""
    with tempfile.TemporaryDirectory(prefix="edgepress-browser-", ignore_cleanup_errors=True) as folder:
        errors = Path(folder, "stderr")
        arguments = [
            str(program), *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder}/profile",
            f"--proxy-server=http://{proxy}", *_sandbox(), "about:blank",
        ]  # fmt: skip
        page = _start(arguments, errors)
        try:
            page.attach()
            yield page
        finally:
            page.close()


def _sandbox() -> list[str]:
    """Chromium refuses to sandbox what root runs; the only page is ours."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []


def _start(arguments: list[str], errors: Path) -> Page:
    """Starts a browser that reads commands from its descriptor 3 and answers on 4, in a process group of its own."""
    theirs, ours = [], []
    for write_is_ours in (True, False):
        ends = os.pipe()
        # Above 4, so that none of them is overwritten before it is put in its place.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
        for end in ends:
            os.close(end)
        theirs.append(high[0] if write_is_ours else high[1])
        ours.append(high[1] if write_is_ours else high[0])
    try:
        pid = os.posix_spawn(
            arguments[0], arguments, os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, str(errors), os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, theirs[0], 3),
                (os.POSIX_SPAWN_DUP2, theirs[1], 4),
            ],
            setpgroup=0,
        )  # fmt: skip
    except OSError as error:
        for end in ours:
            os.close(end)
        raise TargetError(f"{arguments[0]}: can't be run: {error.strerror}; {GET_CHROMIUM}") from None
    finally:
        for end in theirs:
            os.close(end)
    return Page(pid, ours[0], ours[1], errors)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def renderer_memory(renderers: Sequence[int]) -> tuple[float, float] | None:
    """(now, at the peak so far) resident MB (10**6 bytes) of these processes; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    totals = {"VmRSS:": 0, "VmHWM:": 0}
    for pid in renderers:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            if (key := line.split()[0] if line else "") in totals:
                totals[key] += int(line.split()[1]) * 1024
    return totals["VmRSS:"] / 1e6, totals["VmHWM:"] / 1e6
