"""Every `edgepress` command that README and docs show is one that there is; those that take a second are run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipeline.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = (["plan"], ["targets", "list"], ["targets", "show"], ["targets", "check"], ["doctor"])
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = ("", "sh", "bash", "console")
INLINE = re.compile(r"`(edgepress [^`\n]+)`")


def fenced(page: Path) -> list[str]:
    """The command lines of its fenced blocks, without comments and what a shell does with the answer."""
    blocks = [block for language, block in FENCED.findall(page.read_text()) if language in SHELLS]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [
        line.strip().removeprefix("$ ") for line in lines if line.strip().removeprefix("$ ").startswith("edgepress ")
    ]


def words_of(line: str) -> tuple[list[str], str | None]:
    """The words behind `edgepress`, and the file that takes the answer."""
    words = shlex.split(line, comments=True)[1:]
    for stop in ("|", "&&", ";"):
        words = words[: words.index(stop)] if stop in words else words
    if ">" in words:
        place = words.index(">")
        return words[:place], words[place + 1]
    return words, None


def found(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words name, and what is left of them."""
    command: Any = get_command(app)
    left = list(words)
    while hasattr(command, "commands") and left and not left[0].startswith("-"):
        assert left[0] in command.commands, f"edgepress {' '.join(words)}: no command '{left[0]}'"
        command = command.commands[left.pop(0)]
    return command, left


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def every_command() -> Iterator[Any]:
    for page in PAGES:
        for line in fenced(page):
            yield pytest.param(line, id=f"{page.name}: {line[:60]}")


@pytest.mark.parametrize("line", every_command())
def test_a_command_of_a_page_is_taken_as_it_stands(line: str) -> None:
    command, arguments = found(words_of(line)[0])
    if hasattr(command, "commands"):  # an option of edgepress itself
        assert set(arguments[:1]) <= options(command), line
    else:
        command.make_context("edgepress", arguments)  # reads arguments and options, and runs nothing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_in_a_sentence_exist_with_their_options(page: Path) -> None:
    for line in INLINE.findall(page.read_text()):
        words, _ = words_of(line)
        command, arguments = found(words)
        named = {argument.partition("=")[0] for argument in arguments if argument.startswith("-") and argument != "-"}
        assert named <= options(command) | {"--help", "-h"}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_quick_commands_of_a_page_run_in_their_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    lines = INLINE.findall(page.read_text()) if page.name == "README.md" else []
    for line in [*lines, *fenced(page)]:
        words, place = words_of(line)
        files = [word for word in words if re.search(r"\.(ya?ml|onnx|tflite|csv|txt)$", word)]
        quick = any(words[: len(start)] == start for start in QUICK)
        if not quick or any(word.isupper() for word in words) or not all(Path(file).exists() for file in files):
            continue  # a name that stands for another, a file of the reader's own
        ended = CliRunner().invoke(app, words)
        assert ended.exit_code == 0, f"{line}: {ended.output}"
        if place is not None:
            Path(place).write_text(ended.output)


def test_the_examples_of_help_are_taken_as_they_stand() -> None:
    def walk(command: Any) -> Iterator[str]:
        if command.epilog:
            yield command.epilog.removeprefix("Example: ")
        for inner in getattr(command, "commands", {}).values():
            yield from walk(inner)

    lines = list(walk(get_command(app)))
    assert len(lines) > 10
    for line in lines:
        command, arguments = found(words_of(line)[0])
        command.make_context("edgepress", arguments)
