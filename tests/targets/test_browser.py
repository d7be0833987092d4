"""Files in a real Chromium, where one and the runtimes for pages are here: the outputs of the host, sane latencies, and
nothing asked for outside this computer. No times are judged."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from targets.browser.chromium import find_browser
from targets.browser.packages import checked, installed
from targets.errors import TargetError
from targets.place import placed
from targets.profile import Measure, load_profile
from targets.runners.base import runner_for
from targets.runners.browser import BrowserRunner, Opened
from targets.runners.host import HostRunner
from targets.runtimes.base import RuntimeOptions
from tests.targets.tiny_models import onnx_model, tflite_model

FEEDS = [{"image": np.array([row], dtype=np.float32)} for row in ((0.5, -1.0, 2.0, 1.5), (-2.0, 0.25, 1.0, -0.5))]
SHORT = Measure(where="browser", warmup=2, min_runs=25, max_runs=25, min_seconds=0)
WRITERS: dict[str, Callable[..., Path]] = {"onnxruntime": onnx_model, "litert": tflite_model}


def missing() -> str:
    try:
        find_browser()
        installed()
    except TargetError as error:
        return str(error)
    return ""


needs_browser = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(params=["onnxruntime", "litert"])
def options(request: pytest.FixtureRequest) -> RuntimeOptions:
    return RuntimeOptions(request.param)


@pytest.fixture
def file(options: RuntimeOptions, tmp_path: Path) -> Path:
    return WRITERS[options.runtime](tmp_path / ("m.onnx" if options.runtime == "onnxruntime" else "m.tflite"))


@needs_browser
@pytest.mark.parametrize("threads", [1, 2])
def test_float_outputs_are_the_hosts(options: RuntimeOptions, file: Path, threads: int) -> None:
    found = BrowserRunner().run(file, RuntimeOptions(options.runtime, threads), FEEDS)
    here = HostRunner().run(file, options, FEEDS)
    for theirs, ours in zip(found, here, strict=True):
        assert [(array.dtype, array.shape) for array in theirs] == [(np.float32, (1, 3))]
        np.testing.assert_allclose(theirs[0], ours[0], rtol=1e-5)
    assert not np.allclose(found[0][0], found[1][0])


@needs_browser
def test_eight_bit_outputs_are_exactly_the_hosts(tmp_path: Path) -> None:
    signed = [{"image": np.array([row], dtype=np.int8)} for row in ((0, -20, 31, 127), (-128, 5, -3, 64))]
    unsigned = [{"image": (feed["image"].astype(np.int16) + 128).astype(np.uint8)} for feed in signed]
    for file, options, feeds in (
        (onnx_model(tmp_path / "m.onnx", eight_bit=True), RuntimeOptions("onnxruntime"), signed),
        (tflite_model(tmp_path / "m.tflite", eight_bit=True, unsigned=True), RuntimeOptions("litert"), unsigned),
    ):
        found = BrowserRunner().run(file, options, feeds)
        for theirs, ours in zip(found, HostRunner().run(file, options, feeds), strict=True):
            assert theirs[0].dtype == feeds[0]["image"].dtype
            np.testing.assert_array_equal(theirs[0], ours[0])
        assert not np.array_equal(found[0][0], found[1][0])


@needs_browser
def test_what_litert_runs_here_and_not_in_a_page_is_told(tmp_path: Path) -> None:
    file, options = tflite_model(tmp_path / "m.tflite", eight_bit=True), RuntimeOptions("litert")
    feeds = [{"image": np.zeros((1, 4), np.int8)}]
    assert len(HostRunner().run(file, options, feeds)) == 1
    with pytest.raises(TargetError, match=r"m\.tflite: @litertjs/core [\d.]+ refuses it: .*INT8 is not supported"):
        BrowserRunner().run(file, options, feeds)


@needs_browser
def test_it_measures_single_inferences_and_asks_for_nothing_outside(
    options: RuntimeOptions, file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    measured = runner_for(SHORT).measure(file, options, FEEDS, SHORT, folder)
    assert measured.samples_ms.shape == (25,)
    assert np.all(measured.samples_ms >= 0)
    assert 0 < np.max(measured.samples_ms) < 60_000
    assert np.allclose(measured.samples_ms * 200, np.rint(measured.samples_ms * 200), atol=0.02)  # steps of 5 us
    assert measured.cold_start_ms is not None
    assert measured.cold_start_ms > 0
    assert measured.source == "host"
    assert measured.machine.startswith(("Chromium", "Google Chrome"))
    assert any("page asked for nothing outside" in note for note in measured.notes)
    package = {"onnxruntime": "onnxruntime-web", "litert": "@litertjs/core"}[options.runtime]
    assert measured.notes[0].startswith(f"{package} {installed().versions[package]}: ")
    assert measured.at_pace_ms is not None
    assert measured.at_pace_ms.shape == (25,)
    assert measured.quiet is not None
    assert measured.quiet.spread is not None
    if os.path.exists("/proc/self/status"):
        assert measured.peak_mem_mb is not None
        assert measured.process_mem_mb is not None
        assert 0 <= measured.peak_mem_mb < measured.process_mem_mb
    assert list(folder.rglob("*.json")) == []


@needs_browser
def test_paced_inferences_keep_their_pace_on_pinned_cores(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    plan = SHORT.model_copy(update={"mode": "paced", "pace_ms": 1e-4, "pin_cores": (core,), "max_runs": 30})
    file = onnx_model(tmp_path / "m.onnx")
    measured = BrowserRunner().measure(file, RuntimeOptions("onnxruntime"), FEEDS, plan, tmp_path)
    assert any("one every 0.0001 ms" in note for note in measured.notes)
    assert any("inferences began later than the pace wants" in note for note in measured.notes)
    if hasattr(os, "sched_getaffinity"):
        assert f"pinned to cores {core}" in measured.notes


@needs_browser
def test_a_page_that_asks_outside_is_refused_and_found_out(tmp_path: Path) -> None:
    file = onnx_model(tmp_path / "m.onnx")
    with BrowserRunner().opened(file, RuntimeOptions("onnxruntime"), FEEDS) as opened:
        assert opened.asked().startswith("the page asked for nothing outside")
        ask = "fetch('{}', {{mode: 'no-cors'}}).then(() => 'got', () => 'refused')"
        for address in ("https://outside.example/model", f"http://{opened.served.proxy.split(':')[0]}:9/model"):
            assert opened.page.evaluate(ask.format(address), 30) == "refused"
        assert opened.asked().startswith("the page asked for 127.0.0.1:9, outside.example")
        assert "outside.example:443" in opened.served.outside


@needs_browser
def test_what_a_runtime_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "words.onnx").write_text("not a model")
    (tmp_path / "words.tflite").write_text("not a model")
    for name, runtime in (("words.onnx", "onnxruntime"), ("words.tflite", "litert")):
        with pytest.raises(TargetError, match=rf"{name}: \S+ \d[\d.]+ refuses it: .") as told:
            BrowserRunner().measure(tmp_path / name, RuntimeOptions(runtime), FEEDS, SHORT, tmp_path)
        assert "\n" not in str(told.value)
    with pytest.raises(TargetError, match=r"gone\.onnx: can't be read: No such file"):
        BrowserRunner().measure(tmp_path / "gone.onnx", RuntimeOptions("onnxruntime"), FEEDS, SHORT, tmp_path)
    with pytest.raises(TargetError, match="no sample"):
        BrowserRunner().measure(tmp_path / "words.onnx", RuntimeOptions("onnxruntime"), [], SHORT, tmp_path)


def crash(opened: Opened) -> None:
    for renderer in opened.renderers:
        os.kill(renderer, signal.SIGKILL)
    opened.ask("open()")


def hang(opened: Opened) -> None:
    opened.page.evaluate("while (true) {}", 0.5)


def end(opened: Opened) -> None:
    os.kill(opened.page.pid, signal.SIGKILL)
    opened.ask("open()")


@needs_browser
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (crash, "the page crashed; the file may need more memory"),
        (hang, r"the page did not answer within 0\.5 s"),
        (end, "the browser ended by itself"),
    ],
)
def test_each_way_to_lose_a_page_has_its_own_message(
    spoil: Callable[[Opened], None], told: str, tmp_path: Path
) -> None:
    file, options = onnx_model(tmp_path / "m.onnx"), RuntimeOptions("onnxruntime")
    with (
        pytest.raises(TargetError, match=rf"m\.onnx: \w+ can't run it: {told}"),
        BrowserRunner().opened(file, options, FEEDS) as opened,
    ):
        spoil(opened)


@needs_browser
def test_runs_of_a_lost_page_are_kept_and_the_next_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, options = onnx_model(tmp_path / "m.onnx"), RuntimeOptions("onnxruntime")
    plan = SHORT.model_copy(update={"min_runs": 250, "max_runs": 250})
    measure = Opened.measure

    def lose(opened: Opened, runs: int, done: int, pace_ms: float | None) -> dict:
        if done >= 100:
            os.kill(opened.page.pid, signal.SIGKILL)
        return measure(opened, runs, done, pace_ms)

    monkeypatch.setattr(Opened, "measure", lose)
    with pytest.raises(TargetError, match=r"after 100 runs\. They are kept: give the same command again"):
        BrowserRunner().measure(file, options, FEEDS, plan, tmp_path)
    (kept,) = tmp_path.glob("resume/*.json")
    first = json.loads(kept.read_text())["samples_ms"]
    monkeypatch.setattr(Opened, "measure", measure)
    measured = BrowserRunner().measure(file, options, FEEDS, plan, tmp_path)
    assert measured.samples_ms.shape == (250,)
    assert measured.samples_ms[:100].tolist() == first
    assert any("lost after 100 runs" in note for note in measured.notes)
    assert list(tmp_path.glob("resume/*.json")) == []


@pytest.fixture
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    checked.cache_clear()
    yield tmp_path
    checked.cache_clear()


def test_without_a_browser_or_its_runtimes_it_is_told_what_to_do(nothing_here: Path) -> None:
    file = onnx_model(nothing_here / "m.onnx")
    browser = nothing_here / "chrome"
    browser.write_text("#!/bin/sh\necho Chromium 140.0.1.2\n")
    browser.chmod(0o755)
    plan = placed(load_profile("web"), "browser", {"browser": str(browser)}).measure
    for ask in (
        lambda: runner_for(plan).run(file, RuntimeOptions("onnxruntime"), FEEDS),
        lambda: runner_for(plan).identity(RuntimeOptions("onnxruntime")),
    ):
        with pytest.raises(TargetError, match=r"not installed: .*edgepress targets install-browser"):
            ask()
    lost = placed(load_profile("web"), "browser", {"browser": "/nowhere/chrome"}).measure
    with pytest.raises(TargetError, match=r"^browser /nowhere/chrome: no program that can be run"):
        runner_for(lost).identity(RuntimeOptions("onnxruntime"))


def test_the_ready_profile_runs_on_the_host_and_in_a_browser_when_told() -> None:
    profile = load_profile("web")
    assert profile.measure.where == "host"
    there = placed(profile, "browser").measure
    assert (there.where, there.device, there.min_runs) == ("browser", None, profile.measure.min_runs)
    assert isinstance(runner_for(there), BrowserRunner)
    assert runner_for(placed(profile, "browser", {"browser": "my/chrome"}).measure).program == "my/chrome"
    with pytest.raises(TargetError, match="say adb:chrome or ssh:chrome, or browser"):
        placed(profile, "chrome")


def test_cold_starts_are_not_had_in_a_browser() -> None:
    with pytest.raises(ValueError, match="mode cold is measured where host, found where browser"):
        Measure.model_validate({"where": "browser", "mode": "cold"})
