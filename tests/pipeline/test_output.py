"""What a shell and a script get: completion, JSON alone, no colours where none are wanted."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.completion import LOG_FORMATS, target_names, yaml_files
from pipeline.doctor import Finding, onward
from targets.profile import profile_names
from targets.runners.log import FORMATS

ROOT = Path(__file__).parents[2]
# Not pydantic: typer itself reads arguments with it.
HEAVY = ["torch", "transformers", "onnxruntime", "numpy", "matplotlib", "pandas", "scipy", "yaml", "rich"]
COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|9[0-7]|38;5)[0-9;]*m")


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """`edgepress` as it is installed, in a folder that may stand in PATH."""
    script = tmp_path / "bin" / "edgepress"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom pipeline.cli import main\nmain()\n"
    )
    script.chmod(0o755)
    return script


def asked(line: str, shell: str) -> list[str]:
    """What edgepress answers a shell whose line ends with the cursor."""
    environment = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment["_EDGEPRESS_COMPLETE"] = f"complete_{shell}"
    return re.findall(r"[\w./=-]+", CliRunner().invoke(app, [], prog_name="edgepress", env=environment).stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_completes_commands_targets_and_recipes(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    for name in ("recipes/mine.yaml", "recipes/more.yml", "recipes/.hidden.yaml", "recipes/note.txt"):
        (tmp_path / name).write_text("")
    assert "history" in asked("edgepress hist", shell)
    found = asked("edgepress run recipes/mine.yaml --target pix", shell)
    assert "pixel8" in found
    assert "rpi4" not in found
    found = asked("edgepress plan recipes/m", shell)
    assert {"recipes/mine.yaml", "recipes/more.yml"} <= set(found)
    assert "recipes/note.txt" not in found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_it_can_read(shell: str) -> None:
    environment = {"_EDGEPRESS_COMPLETE": f"source_{shell}"}
    script = CliRunner().invoke(app, [], prog_name="edgepress", env=environment).stdout
    assert "_EDGEPRESS_COMPLETE" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed, so that its script is not read by it")
    subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes_as_a_person_presses_tab(command: Path, tmp_path: Path) -> None:
    """The script that edgepress prints, in a real bash, asked as readline asks it."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    script = (
        'eval "$(_EDGEPRESS_COMPLETE=source_bash edgepress)"; COMP_WORDS=(edgepress targets show rp); COMP_CWORD=3; '
        '_edgepress_completion edgepress; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    ended = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{command.parent}:{os.environ['PATH']}",
        },
    )  # fmt: skip
    assert ended.stdout.split() == [name for name in profile_names() if name.startswith("rp")]


def test_completing_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import atexit, sys; sys.argv = ['edgepress']; from pipeline.cli import main;"
        f"atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)); main()"
    )
    line = "edgepress run recipes/digits-mobilenet.yaml --target "
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "COMP_WORDS": line, "COMP_CWORD": "4", "_EDGEPRESS_COMPLETE": "complete_bash"},
    )  # fmt: skip
    assert "pixel8" in ended.stdout
    assert ended.stderr.strip() == "[]"


def test_what_is_completed_is_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert target_names("") == profile_names()
    assert sorted(LOG_FORMATS) == sorted(FORMATS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kiosk.yaml").write_text("")
    assert target_names("kio") == ["kiosk.yaml"]
    assert yaml_files("./kio") == ["kiosk.yaml"]
    assert yaml_files("nowhere/") == []


def at_terminal(*arguments: str, **environment: str) -> str:
    """What the command writes to a terminal of 16 colours."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=theirs,
        stderr=theirs, env={**kept, "TERM": "xterm-16color", **environment},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    process.wait(timeout=60)
    os.close(ours)
    return written.decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.pipeline.folders import pictures

    return pictures(tmp_path_factory.mktemp("data") / "pets", {"cat": 60, "dog": 60})


def test_a_terminal_shows_a_live_line_in_colour_but_for_no_color(folder: Path, tmp_path: Path) -> None:
    arguments = ("init", str(folder), str(tmp_path / "a.yaml"), "--overwrite")
    assert COLOUR.search(at_terminal(*arguments))
    plain = at_terminal(*arguments, NO_COLOR="1")
    assert "looking" in plain
    assert not COLOUR.search(plain)


def test_quiet_and_json_say_nothing_on_the_way(folder: Path, tmp_path: Path) -> None:
    recipe = str(tmp_path / "a.yaml")
    quiet, told, loud = (
        CliRunner().invoke(app, ["init", str(folder), recipe, "--overwrite", *flags])
        for flags in (["--quiet"], ["--json"], [])
    )
    assert (quiet.stdout, quiet.stderr) == (f"{recipe}: 2 classes, 120 samples\n", "")
    assert (json.loads(told.stdout)["recipe"], told.stderr) == (recipe, "")
    assert "looking" in loud.stderr
    assert "looking" not in loud.stdout


def every_command(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """The words of each command, and its options."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(words), {option for parameter in command.params for option in parameter.opts}
    for name, part in (inner or {}).items():
        yield from every_command(part, (*words, name))


def test_every_command_that_answers_can_answer_in_json() -> None:
    options = dict(every_command(get_command(app)))
    assert {"init", "history", "monitor", "cache export"} <= set(options)
    without = [name for name, known in options.items() if "--json" not in known]
    # A page that is served, and what does something and says that it is done.
    assert without == ["try", "targets install-emulator", "targets install-browser"]


def test_doctor_leads_onward() -> None:
    there = Finding("torch", "2", True, True)
    assert "Next: edgepress init DATA" in onward([there])[0]
    extras = [
        Finding(name, "absent", False, False, f"pip install 'edgepress[{extra}]'")
        for name, extra in (("optuna", "search"), ("captum", "explain"), ("mlxtend", "recipes"), ("more", "recipes"))
    ]
    assert onward([there, *extras])[1].endswith("pip install 'edgepress[search,explain,recipes]'")
    lacking = Finding("onnx", "absent", False, True, "pip install edgepress")
    assert onward([there, lacking, *extras]) == [
        "The main job lacks 1 of what it needs. onnx: pip install edgepress",
    ]
