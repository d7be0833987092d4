"""Where the emulator lies, and that a file of it which is missing, changed or foreign is found."""

import json
from pathlib import Path

import pytest

from targets.emulator.cores import CORES
from targets.emulator.place import ROOM, checked, installed, write_guest, write_prefix
from targets.errors import TargetError
from targets.installation import cache_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An installation with a stand-in for Python."""
    root = tmp_path / "emulator" / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/python3.11").write_text("a program")
    (root / "lib").symlink_to("usr/lib")
    write_prefix(tmp_path / "emulator", CORES["cortex-a53"])
    write_guest(tmp_path / "emulator", "root/usr/bin/python3.11", {"numpy": "2.4.6"})
    return tmp_path / "emulator"


def test_the_cache_is_the_users_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEPRESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgepress"
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "mine"))
    assert ROOM.folder == tmp_path / "mine" / "emulator"


def test_a_whole_installation_says_what_it_holds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(folder.parent))
    found = installed()
    assert found.python == folder / "root/usr/bin/python3.11"
    assert found.versions == {"numpy": "2.4.6"}
    prefix = found.prefix(CORES["cortex-a53"])
    assert (prefix / "usr/bin/python3.11").read_text() == "a program"
    assert "CPU part\t: 0xd03" in (prefix / "proc/cpuinfo").read_text()
    assert (prefix / "sys/devices/system/cpu/possible").read_text() == "0-3\n"


def test_what_is_not_there_is_to_be_installed(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"not installed.*run 'edgepress targets install-emulator'"):
        checked(tmp_path)


@pytest.mark.parametrize("what", ["changed", "missing", "not of this installation"])
def test_a_changed_file_is_named(folder: Path, what: str) -> None:
    python = folder / "root/usr/bin/python3.11"
    if what == "changed":
        python.write_text("another")
    elif what == "missing":
        python.unlink()
    else:
        python.with_name("numpy.py").write_text("foreign")
    with pytest.raises(TargetError, match=rf"usr/bin/\S+: {what}.*install-emulator"):
        checked(folder)


def test_a_link_that_leads_elsewhere_is_a_change(folder: Path) -> None:
    (folder / "root/lib").unlink()
    (folder / "root/lib").symlink_to("/lib")
    with pytest.raises(TargetError, match="root/lib: changed"):
        checked(folder)


def test_a_broken_or_older_record_is_told(folder: Path) -> None:
    record = folder / "installed.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "schema": 0}))
    with pytest.raises(TargetError, match="another edgepress"):
        checked(folder)
    record.write_text("{")
    with pytest.raises(TargetError, match="not the record of an installation"):
        checked(folder)
