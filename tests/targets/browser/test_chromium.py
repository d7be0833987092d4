"""Finding a browser, and what is said where there is none that can be used."""

import os
from pathlib import Path

import pytest

from targets.browser.chromium import PLACES, PageLost, browser_version, find_browser, open_browser
from targets.errors import TargetError


def program(file: Path, text: str) -> Path:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_the_named_browser_goes_before_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    own, system = program(tmp_path / "own", ""), program(tmp_path / "bin/google-chrome", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_browser(str(own)) == own
    assert find_browser() == system


def test_no_browser_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if any(Path(place).exists() for place in PLACES):
        pytest.skip("a browser stands where macOS has it")
    with pytest.raises(TargetError, match=r"^no Chromium here: .*apt-get install chromium.*--tool browser=PATH"):
        find_browser()
    with pytest.raises(TargetError, match=r"^browser nowhere/chrome: no program that can be run"):
        find_browser("nowhere/chrome")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Chromium 156.0.8078.79 built on Debian GNU/Linux 12 (bookworm)", "Chromium 156.0.8078.79"),
        ("Google Chrome 140.0.7339.80 ", "Google Chrome 140.0.7339.80"),
        ("Google Chrome for Testing 139.0.1.2", "Google Chrome for Testing 139.0.1.2"),
    ],
)
def test_a_browser_tells_its_name_and_version(said: str, version: str, tmp_path: Path) -> None:
    assert browser_version(program(tmp_path / "chrome", f"echo '{said}'")) == version


def test_what_is_no_chromium_is_told(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"not Chromium: asked for its version it said 'Mozilla Firefox 140\.0'"):
        browser_version(program(tmp_path / "firefox", "echo 'Mozilla Firefox 140.0'"))
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(TargetError, match=r"text: can't be run"):
        browser_version(tmp_path / "text")


def test_a_browser_that_ends_at_once_tells_its_last_words(tmp_path: Path) -> None:
    broken = program(tmp_path / "chrome", "echo '[1:1:FATAL:zygote_host_impl.cc] No usable sandbox!' >&2; exit 1")
    opened = len(os.listdir("/dev/fd"))
    with (
        pytest.raises(PageLost, match=r"the browser ended by itself: .*No usable sandbox!"),
        open_browser(broken, "127.0.0.1:9"),
    ):
        pass
    assert len(os.listdir("/dev/fd")) == opened
    with pytest.raises(TargetError, match="can't be run: "), open_browser(tmp_path / "nowhere", "127.0.0.1:9"):
        pass
