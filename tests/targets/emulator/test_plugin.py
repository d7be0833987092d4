"""The plugin, compiled and run: it counts exactly what a program of known instructions executes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from targets.emulator import plugin
from targets.emulator.classes import CLASSES
from targets.emulator.plugin import compiled_plugin, read_counts
from targets.emulator.qemu import find_qemu
from targets.errors import TargetError
from tests.targets.emulator.elf import EXIT, FIRST_MARK, LAST_MARK, LOOP, program

COMPILER = any(map(shutil.which, plugin.COMPILERS))
needs_compiler = pytest.mark.skipif(not COMPILER, reason="no C compiler here")


def reason_not_to_count() -> str:
    try:
        find_qemu().refuse_counting()
    except TargetError as error:
        return str(error)
    return "" if COMPILER else "no C compiler here"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.skipif(bool(reason_not_to_count()), reason=reason_not_to_count())
def test_a_loop_of_known_instructions_is_counted_exactly(cache: Path, tmp_path: Path) -> None:
    """A thousand rounds of one instruction of each class; around them one scalar before and the three of the last
    mark. Two regions, of which the second is the last mark alone."""
    file = program(tmp_path / "loop", [*FIRST_MARK, *LOOP, *LAST_MARK, *FIRST_MARK, *LAST_MARK, *EXIT])
    out = tmp_path / "counts.txt"
    command = [find_qemu().program, "-plugin", f"{compiled_plugin()},out={out}", str(file)]
    subprocess.run(command, cwd=tmp_path, check=True)
    loop, empty = ({**dict(zip(CLASSES, row.tolist(), strict=True))} for row in read_counts(out, 2))
    assert loop == dict.fromkeys(CLASSES, 1000) | {"scalar": 1004}
    assert empty == dict.fromkeys(CLASSES, 0) | {"scalar": 3}


@needs_compiler
def test_it_is_compiled_once_and_anew_when_its_source_changes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compiled_plugin()
    written = first.stat().st_mtime_ns
    assert compiled_plugin() == first
    assert first.stat().st_mtime_ns == written
    changed = tmp_path / "count.c"
    changed.write_text(plugin.SOURCE.read_text() + "\n/* changed */\n")
    monkeypatch.setattr(plugin, "SOURCE", changed)
    second = compiled_plugin()
    assert second != first
    assert sorted(file.name for file in (cache / "plugin").iterdir()) == sorted([first.name, second.name])


def test_no_compiler_is_told_with_what_to_install(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match=r"no C compiler.*apt-get install gcc"):
        compiled_plugin()


@needs_compiler
def test_a_source_that_does_not_compile_is_told_in_one_line_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "count.c"
    broken.write_text("#include <no_such_header.h>\n")
    monkeypatch.setattr(plugin, "SOURCE", broken)
    with pytest.raises(TargetError, match=r"can't compile QEMU's plugin: .*no_such_header\.h") as told:
        compiled_plugin()
    assert "\n" not in str(told.value)
    assert list((cache / "plugin").iterdir()) == []


def test_counts_that_are_not_there_are_no_counts(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="counted 0 regions, expected 3"):
        read_counts(tmp_path / "counts.txt", 3)
    (tmp_path / "counts.txt").write_text("1 2 3 4 5 6\n1 2 3\n")
    with pytest.raises(TargetError, match="counted 1 regions, expected 2"):
        read_counts(tmp_path / "counts.txt", 2)
    (tmp_path / "counts.txt").write_text("1 2 3 4 5 6\n7 8 9 10 11 12\n")
    assert read_counts(tmp_path / "counts.txt", 2).sum(axis=1).tolist() == [21, 57]
