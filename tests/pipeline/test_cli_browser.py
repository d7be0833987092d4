"""The command that gets the runtimes for pages: it tells the size and asks before it gets anything."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from targets.browser.packages import ROOM, is_whole
from tests.targets.browser.npm import stand_in


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with stand_in(tmp_path, monkeypatch) as folder:
        yield folder


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["targets", "install-browser", *arguments])
    return done.exit_code, done.output


def test_the_size_is_told_and_nothing_got_until_someone_agrees(programs: Path) -> None:
    for arguments, code in (("--plan",), 0), ((), 2):
        found, text = call(*arguments)
        assert found == code
        assert "onnxruntime-web 1" in text
        assert "MB to download" in text
        assert not ROOM.folder.exists()
        assert not (programs / "npm.arguments").exists()
    assert "with --yes it goes on without" in text


def test_it_gets_the_runtimes_once(programs: Path) -> None:
    assert call("--yes", "--quiet")[0] == 0
    assert is_whole()
    (programs / "npm.arguments").unlink()
    code, text = call()
    assert (code, "are here, whole" in text) == (0, True)
    assert not (programs / "npm.arguments").exists()


def test_what_is_missing_is_told_in_one_message(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs / "npm").unlink()
    monkeypatch.setenv("PATH", str(programs))
    code, text = call("--yes")
    assert code == 2
    assert "note: no Chromium here" in text
    assert "edgepress: no npm here" in text
    assert "Traceback" not in text
