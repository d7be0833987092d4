"""A browser on this computer: files run by onnxruntime-web and LiteRT.js, in WebAssembly, in a page without network."""

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from targets.browser.chromium import Page, PageLost, browser_version, find_browser, open_browser, renderer_memory
from targets.browser.packages import RUNTIME_PACKAGES, Installed, installed
from targets.browser.server import Content, Served, serve
from targets.errors import TargetError
from targets.machine import available_cores, describe_machine
from targets.profile import Budgets, Measure
from targets.runners.base import Feeds, Measured
from targets.runners.kept import kept_in, measure_in_parts, stopping
from targets.runners.pace import EVERY, at_pace
from targets.runners.quiet import judge, look_around
from targets.runners.worker import FEWEST_WARMUP, MOST_WARMUP, warmup_note
from targets.runtimes.base import RuntimeOptions, open_model
from targets.statistics.warmup import settled_after

PAGE = Path(__file__).parents[1] / "browser"
PAGE_FILES = ("page.html", "page.js", "runtimes.js")
PART_SECONDS = 2.0  # of inferences before the page hands over what it has
CALL_SECONDS = 300.0  # the longest that opening a file, or a single inference, may take


class BrowserRunner:
    """Chromium here, `program` or the system's: see `targets.runners.base.Runner`."""

    def __init__(self, program: str | None = None, call_seconds: float = CALL_SECONDS) -> None:
        self.program, self.call_seconds = program, call_seconds

    def identity(self, options: RuntimeOptions) -> str:
        page = hashlib.sha256(b"".join((PAGE / name).read_bytes() for name in PAGE_FILES)).hexdigest()
        return json.dumps({"browser": self._machine(), "runtimes": installed().digest, "page": page})

    def run(self, file: Path, options: RuntimeOptions, feeds: Feeds) -> list[list[np.ndarray]]:
        wanted = [spec.name for spec in open_model(file, options).outputs]
        with self.opened(file, options, feeds) as opened:
            opened.ask("open()")
            found = [
                {told["name"]: _array(told) for told in opened.ask(f"outputs({sample})")}
                for sample in range(len(feeds))
            ]
        if found and set(wanted) - set(found[0]):
            raise TargetError(
                f"{file}: outputs {', '.join(found[0])} in the browser, expected {', '.join(wanted)} as here"
            )
        return [[arrays[name] for name in wanted] for arrays in found]

    def measure(
        self,
        file: Path,
        options: RuntimeOptions,
        feeds: Feeds,
        plan: Measure,
        folder: Path,
        *,
        budget: Budgets | None = None,
    ) -> Measured:
        if not feeds:
            raise TargetError(f"{file}: no sample to measure it with, expected at least one")
        _content(file)  # told before a browser is started
        until = stopping(plan, budget)
        kept = kept_in(folder, file, self.identity(options))
        earlier = len(kept.samples_ms)
        late = 0
        before = look_around(plan.pin_cores)
        with _pinned(plan.pin_cores) as notes, self.opened(file, options, feeds) as opened:
            held = renderer_memory(opened.renderers)
            cold_start_ms = float(opened.ask("open()"))
            warmup, settled = _warm_up(opened, plan)

            def part(runs: int) -> list[float]:
                nonlocal late
                told = opened.measure(runs, len(kept.samples_ms), plan.pace_ms)
                kept.facts["references_ms"] = [*kept.facts.get("references_ms", []), *told["references"]]
                late += told["late"]
                return [float(ms) for ms in told["samples"]]

            try:
                measure_in_parts(kept, until, part)
            except PageLost as lost:
                raise PageLost(
                    f"{lost}, after {len(kept.samples_ms)} runs. They are kept: give the same command again"
                ) from None
            grown = renderer_memory(opened.renderers)
            asked = opened.asked()
        kept.forget()
        samples, references = np.array(kept.samples_ms), np.array(kept.facts["references_ms"])
        pace = f", one every {plan.pace_ms:g} ms" if plan.pace_ms else ""
        return Measured(
            samples_ms=samples,
            cold_start_ms=cold_start_ms,
            peak_mem_mb=None if held is None or grown is None else max(0.0, grown[1] - held[0]),
            process_mem_mb=None if grown is None else grown[1],
            looks=until.looks,
            notes=(
                f"{_runtime(options, opened.packages)}",
                f"{len(feeds)} samples in turn after the warm-up{pace}; inputs handed over and outputs fetched "
                "included, preprocessing not; performance.now() of a page that is isolated from other origins, in "
                "steps of 5 microseconds",
                "cold start: opening the file and the first inference; the page, its WebAssembly and the file are "
                "loaded before",
                "peak memory: what the page's process grew by from opening the file on",
                asked,
                warmup_note(warmup, settled),
                *([f"the page was lost after {earlier} runs; a later one made the others"] if earlier else []),
                *([f"{late} of {len(samples)} inferences began later than the pace wants"] if late else []),
                *([f"{options.threads} threads on {available_cores()} cores: they wait for each other"]
                  if options.threads > available_cores() else []),
                *notes,
            ),
            source="host",
            machine=self._machine(),
            quiet=judge(before, references, options.threads),
            at_pace_ms=at_pace(samples, references),
        )  # fmt: skip

    def _machine(self) -> str:
        return f"{browser_version(find_browser(self.program))} on {describe_machine().label}"

    @contextmanager
    def opened(self, file: Path, options: RuntimeOptions, feeds: Feeds) -> Iterator["Opened"]:
        """A page that has loaded the runtime, the file and the samples."""
        program, packages = find_browser(self.program), installed()
        browser_version(program)
        files: dict[str, Content] = {name: PAGE / name for name in PAGE_FILES}
        files |= {f"runtimes/{name}": place for name, place in packages.files().items()}
        files["model"] = _content(file)
        inputs = [{"name": name, "dtype": array.dtype.name, "shape": array.shape} for name, array in feeds[0].items()]
        for row, feed in enumerate(feeds):
            for place, told in enumerate(inputs):
                files[f"feeds/{row}/{place}"] = np.ascontiguousarray(feed[str(told["name"])]).tobytes()
        try:
            with serve(files) as served, open_browser(program, served.proxy) as page:
                page.go_to(served.address)
                opened = Opened(file, options, packages, served, page, page.renderers(), self.call_seconds)
                asked = json.dumps([options.runtime, options.threads, inputs, len(feeds)])
                opened.ask(f"start(...{asked})")
                yield opened
        except PageLost as lost:
            raise TargetError(f"{file}: {program.name} can't run it: {lost}") from None


@dataclass(frozen=True)
class Opened:
    """A page that has loaded what it needs to run `file`; `renderers`: the process numbers of what runs it."""

    file: Path
    options: RuntimeOptions
    packages: Installed
    served: Served
    page: Page
    renderers: list[int]
    call_seconds: float

    def ask(self, call: str) -> Any:
        """What a function of the page answers. Raises TargetError for what its runtime refuses, PageLost."""
        told = self.page.evaluate(f"edgepress.{call}", self.call_seconds)
        if "refused" in told:
            package = RUNTIME_PACKAGES[self.options.runtime]
            reason = " ".join(str(told["refused"]).split())[:400]
            raise TargetError(f"{self.file}: {package} {self.packages.versions[package]} refuses it: {reason}")
        return told.get("answer")

    def asked(self) -> str:
        """What was asked for that is not on this computer, in words."""
        own = (f"http://{self.served.proxy}/", "blob:", "data:")
        outside = {urlsplit(url).netloc for url in self.page.asked if not url.startswith(own)}
        refused = set(self.served.outside) - outside
        told = f"the page asked for {', '.join(sorted(outside))}" if outside else "the page asked for nothing outside"
        return told + (f"; the browser itself for {', '.join(sorted(refused))}, and was refused" if refused else "")

    def measure(self, runs: int, done: int, pace_ms: float | None) -> dict[str, Any]:
        told: dict[str, Any] = self.ask(f"measure({runs}, {PART_SECONDS}, {done}, {EVERY}, {json.dumps(pace_ms)})")
        if not all(math.isfinite(ms) and ms >= 0 for ms in told["samples"]):
            raise TargetError(f"{self.file}: the browser's clock ran backwards; measure again")
        return told


def _warm_up(opened: Opened, plan: Measure) -> tuple[int, int | None]:
    """As `targets.runners.worker.warm_up`, in the page."""
    taken: list[float] = []
    wanted = max(FEWEST_WARMUP, plan.warmup)
    while True:
        while len(taken) < wanted:
            taken += opened.measure(wanted - len(taken), len(taken), plan.pace_ms)["samples"]
        settled = settled_after(np.array(taken))
        if settled is not None or wanted >= MOST_WARMUP:
            return len(taken), settled
        wanted = min(2 * wanted, max(MOST_WARMUP, plan.warmup))


def _array(told: dict[str, Any]) -> np.ndarray:
    """An output as the page tells it; its shape is the file's own."""
    return np.frombuffer(base64.b64decode(told["base64"]), dtype=told["dtype"]).reshape(told["shape"])


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TargetError(f"{file}: can't be read: {error.strerror}; expected a model file") from None


def _runtime(options: RuntimeOptions, packages: Installed) -> str:
    package = RUNTIME_PACKAGES[options.runtime]
    delegate = "XNNPACK in " if options.runtime == "litert" else ""
    return f"{package} {packages.versions[package]}: {delegate}WebAssembly, threads {options.threads}"


@contextmanager
def _pinned(cores: Sequence[int] | None) -> Iterator[list[str]]:
    """Keeps what is started inside on `cores`; yields the notes that say so."""
    if not cores:
        yield []
        return
    listed = ", ".join(map(str, cores))
    if not hasattr(os, "sched_setaffinity"):
        yield [f"not pinned to cores {listed}: this system can't pin a process"]
        return
    here = os.sched_getaffinity(0)
    if set(cores) - here:
        yield [f"not pinned to cores {listed}: not all of them are here"]
        return
    os.sched_setaffinity(0, cores)
    try:
        yield [f"pinned to cores {listed}"]
    finally:
        os.sched_setaffinity(0, here)
