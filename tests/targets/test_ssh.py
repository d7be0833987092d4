"""A board at the other end of a real sshd on loopback: measured with its own Python, lost, refused."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from targets.budgets import Budgets, LatencyBudget
from targets.errors import TargetError
from targets.measuring import Measure, Tools
from targets.runners.base import runner_for
from targets.runners.openssh import CONFIG
from targets.runtimes.base import RuntimeOptions
from tests.targets.sshd import Board, needs_sshd, new_key, start_board, write_config, write_known_hosts
from tests.targets.tiny_models import expected, onnx_model, tflite_model

pytestmark = needs_sshd

FEED = {"image": np.array([[0.5, -1.0, 2.0, 1.5]], dtype=np.float32)}
OTHER = {"image": np.array([[1.0, 0.0, -2.0, 0.5]], dtype=np.float32)}
PYTHON = Tools(python=sys.executable)
SHORT = Measure(where="ssh", device="board", tools=PYTHON, warmup=2, min_runs=7, max_runs=50, min_seconds=0)
ONNX, TFLITE = RuntimeOptions("onnxruntime"), RuntimeOptions("litert")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    folder = tmp_path_factory.mktemp("ssh")
    board = start_board(folder / "board")
    yield board
    board.vanish()


@pytest.fixture
def board(started: Board, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setenv(CONFIG, str(started.config))
    return started


@pytest.mark.parametrize(("options", "write"), [(ONNX, onnx_model), (TFLITE, tflite_model)], ids=["onnx", "tflite"])
def test_a_board_measures_with_its_own_runtime_and_nothing_is_left_behind(
    options: RuntimeOptions, write: Callable[..., Path], board: Board, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    file = write(tmp_path / f"m.{'onnx' if options is ONNX else 'tflite'}")
    found = runner_for(SHORT).measure(file, options, [FEED, OTHER], SHORT, folder)
    assert found.samples_ms.shape == (7,)
    assert np.all(found.samples_ms > 0)
    assert found.cold_start_ms is not None
    assert found.cold_start_ms > 0
    assert found.source == "device"
    assert "cores" in found.machine
    assert any("on the board" in note for note in found.notes)
    for name in (os.uname().nodename, "127.0.0.1", str(tmp_path)):  # reports do not name the board
        assert name not in f"{found.machine} {found.notes}"
    assert board.left_behind == []
    assert not list(folder.rglob("*.json"))


def test_outputs_come_back_feed_by_feed_whatever_the_file_is_called(board: Board, tmp_path: Path) -> None:
    file = onnx_model(tmp_path / "m'; touch flag; echo $(touch flag) `touch flag` #.onnx")
    outputs = runner_for(SHORT).run(file, ONNX, [FEED, OTHER])
    assert not (Path.home() / "flag").exists()
    for feed, (scores,) in zip((FEED, OTHER), outputs, strict=True):
        np.testing.assert_allclose(scores, expected(feed["image"]), rtol=1e-5)
    assert board.left_behind == []


def test_a_latency_budget_ends_the_runs_on_the_board(board: Board, tmp_path: Path) -> None:
    plan = SHORT.model_copy(update={"min_runs": 100, "max_runs": 1600})
    budget = Budgets(latency_ms=LatencyBudget(p90=1e6))
    found = runner_for(plan).measure(onnx_model(tmp_path / "m.onnx"), ONNX, [FEED], plan, tmp_path, budget=budget)
    assert len(found.samples_ms) == 100
    assert found.looks == 8  # 100, 150, 225, 338, 507, 761, 1142, 1600


def test_what_a_lost_board_measured_is_kept_and_a_later_call_goes_on(board: Board, tmp_path: Path) -> None:
    plan = SHORT.model_copy(update={"min_runs": 10**6, "max_runs": 10**6})
    file = onnx_model(tmp_path / "m.onnx")

    def cut_the_power() -> None:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("measured-*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        board.vanish()

    cutting = threading.Thread(target=cut_the_power)
    cutting.start()
    with pytest.raises(TargetError, match=r"connection was lost.* after \d+ runs\. They are kept") as told:
        runner_for(plan).measure(file, ONNX, [FEED], plan, tmp_path)
    cutting.join()
    runs = int(str(told.value).split(" after ")[1].split()[0])
    assert runs > 0
    board.accept()
    rest = plan.model_copy(update={"min_runs": runs + 10, "max_runs": runs + 10})
    found = runner_for(rest).measure(file, ONNX, [FEED], rest, tmp_path)
    assert len(found.samples_ms) == runs + 10
    assert any(f"lost after {runs} runs" in note for note in found.notes)
    assert not list(tmp_path.rglob("measured-*.json"))


def test_a_file_that_is_no_model_is_told_by_its_own_name(board: Board, tmp_path: Path) -> None:
    (tmp_path / "words.onnx").write_text("not a model")
    with pytest.raises(TargetError, match=r"words\.onnx: onnxruntime can't open it as an ONNX model") as told:
        runner_for(SHORT).measure(tmp_path / "words.onnx", ONNX, [FEED], SHORT, tmp_path)
    assert "\n" not in str(told.value)
    assert board.left_behind == []


def test_a_board_without_python_or_a_runtime_is_told_what_to_install(board: Board, tmp_path: Path) -> None:
    file = onnx_model(tmp_path / "m.onnx")
    plan = SHORT.model_validate({**SHORT.model_dump(), "tools": {"python": "no-such-python"}})
    with pytest.raises(TargetError, match=r"there is no no-such-python on the board.*--tool python=PATH"):
        runner_for(plan).measure(file, ONNX, [FEED], plan, tmp_path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    plan = SHORT.model_validate({**SHORT.model_dump(), "tools": {"python": str(tmp_path / "bare" / "bin" / "python")}})
    with pytest.raises(TargetError, match=r"numpy and onnxruntime not installed.*-m pip install numpy onnxruntime"):
        runner_for(plan).measure(file, ONNX, [FEED], plan, tmp_path)


def test_no_space_on_the_board_is_told(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.runners.ssh.RECEIVE", "cat > /dev/full && echo /tmp")
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(TargetError, match=r"no space left on the board for m\.onnx \(\d+\.\d MB"):
        runner_for(SHORT).measure(onnx_model(tmp_path / "m.onnx"), ONNX, [FEED], SHORT, tmp_path)


def refuse(board: Board) -> None:
    write_config(board.folder, 1)


def forget_the_host(board: Board) -> None:
    (board.folder / "known").write_text("")


def change_the_host_key(board: Board) -> None:
    new_key(board.folder / "another")
    write_known_hosts(board.folder, board.port, "another")


def take_another_key(board: Board) -> None:
    new_key(board.folder / "stranger")
    write_config(board.folder, board.port, identity="stranger")


def name_no_host(board: Board) -> None:
    write_config(board.folder, board.port, host="no-such-board.invalid")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (refuse, "refuses connections"),
        (forget_the_host, "host key is not known: connect once by hand with `ssh board`"),
        (change_the_host_key, "host key is not the one that is known"),
        (take_another_key, "does not let us in.*ssh-copy-id board"),
        (name_no_host, "no such host"),
    ],
)
def test_each_way_not_to_get_in_has_its_own_message(
    spoil: Callable[[Board], None], told: str, board: Board, tmp_path: Path
) -> None:
    spoil(board)
    try:
        with pytest.raises(TargetError, match=f"^board: .*{told}") as error:
            runner_for(SHORT).run(onnx_model(tmp_path / "m.onnx"), ONNX, [FEED])
    finally:
        write_config(board.folder, board.port)
        write_known_hosts(board.folder, board.port)
    assert "\n" not in str(error.value)


def test_no_ssh_program_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match=r"no ssh program here.*openssh-client"):
        runner_for(SHORT).run(onnx_model(tmp_path / "m.onnx"), ONNX, [FEED])


def test_no_address_is_told() -> None:
    with pytest.raises(TargetError, match=r"there is no address: set measure\.device.*--device"):
        runner_for(Measure(where="ssh"))


def test_nothing_of_a_path_reaches_a_shell(board: Board, tmp_path: Path) -> None:
    """The interpreter's path is the one free text that crosses ssh."""
    flag, file = tmp_path / "flag", onnx_model(tmp_path / "m.onnx")
    for hostile in (f"python3; touch {flag}", f"$(touch {flag})", f"`touch {flag}`", f"x' ; touch {flag} '"):
        plan = SHORT.model_validate({**SHORT.model_dump(), "tools": {"python": hostile}})
        with pytest.raises(TargetError, match="there is no"):
            runner_for(plan).run(file, ONNX, [FEED])
    assert not flag.exists()


def test_a_place_is_known_by_its_address_and_python_without_asking_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    other = SHORT.model_validate({**SHORT.model_dump(), "tools": {"python": "venv/bin/python"}})
    mine, theirs = (runner_for(plan).identity(ONNX) for plan in (SHORT, other))
    assert '"ssh": "board"' in mine
    assert mine != theirs
