"""Results are found again for the same inputs, whole or not at all."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.progress import Meter
from pipeline.store import Store, canonical, fingerprint, write_atomic

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@dataclass(frozen=True)
class Made:
    fingerprint: str
    file: Path
    parts: tuple[Path, ...] = ()
    loss: float | None = None


@given(plain)
def test_fingerprint_does_not_depend_on_the_order_of_keys(value: object) -> None:
    def reversed_keys(item: object) -> object:
        if isinstance(item, dict):
            return {key: reversed_keys(item[key]) for key in reversed(list(item))}
        return [reversed_keys(part) for part in item] if isinstance(item, list) else item

    assert fingerprint(value) == fingerprint(reversed_keys(value))


@given(plain, plain)
def test_fingerprints_differ_where_values_differ(a: object, b: object) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (repr(canonical(a)) == repr(canonical(b)) or _same_json(a, b))


def _same_json(a: object, b: object) -> bool:
    import json

    return json.dumps(canonical(a), sort_keys=True) == json.dumps(canonical(b), sort_keys=True)


def test_a_type_without_plain_form_is_refused() -> None:
    with pytest.raises(TypeError, match="fingerprint"):
        fingerprint({"network": object()})


def test_a_stage_runs_once_for_the_same_inputs(context: RunContext) -> None:
    calls: list[str] = []

    def make(folder: Path, key: str, meter: Meter) -> Made:
        calls.append(key)
        (folder / "weights").write_text("w")
        return Made(key, folder / "weights", (folder / "weights",))

    first = context.stage("teacher", {"epochs": 1}, Made, make)
    again = context.stage("teacher", {"epochs": 1}, Made, make)
    other = context.stage("teacher", {"epochs": 2}, Made, make)
    assert first == again
    assert first.file.is_absolute()
    assert first.file.read_text() == "w"
    assert first.parts == (first.file,)
    assert other.fingerprint != first.fingerprint
    assert len(calls) == 2


def test_a_relative_store_gives_the_same_paths_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    context = RunContext(Store(Path("out/.store")))

    def make(folder: Path, key: str, meter: Meter) -> Made:
        (folder / "file.txt").write_text("made")
        return Made(key, folder / "file.txt")

    made = context.stage("made", {}, Made, make)
    monkeypatch.chdir("/")
    assert made.file.read_text() == "made"
    assert made.file.is_relative_to(tmp_path / "out/.store/made")
    assert context.stage("made", {}, Made, make) == made


def test_another_seed_is_another_result(tmp_path: Path) -> None:
    def make(folder: Path, key: str, meter: Meter) -> Made:
        (folder / "weights").touch()
        return Made(key, folder / "weights")

    store = Store(tmp_path)
    made = {RunContext(store, seed=seed).stage("teacher", {}, Made, make).fingerprint for seed in (0, 1)}
    assert len(made) == 2


def test_a_failed_stage_leaves_no_result_and_keeps_its_checkpoints(context: RunContext) -> None:
    def fail(folder: Path, key: str, meter: Meter) -> Made:
        (folder / "resume").mkdir(exist_ok=True)
        (folder / "resume" / "epoch-1").write_text("half way")
        raise InputError("out of luck")

    def finish(folder: Path, key: str, meter: Meter) -> Made:
        return Made(key, folder, loss=None)

    key = context.store.key("teacher", {"seed": 0}, fail)
    with pytest.raises(InputError):
        context.store.make("teacher", key, Made, lambda folder: fail(folder, key, Meter("", "", 1)))
    assert context.store.find("teacher", key, Made) is None
    found: list[str] = []

    def resume(folder: Path) -> Made:
        found.append((folder / "resume" / "epoch-1").read_text())
        (folder / "weights").touch()
        return Made(key, folder / "weights")

    result = context.store.make("teacher", key, Made, resume)
    assert found == ["half way"]
    assert not (result.file.parent / "resume").exists()


def test_what_nobody_will_go_on_from_is_discarded(tmp_path: Path) -> None:
    context = RunContext(Store(tmp_path, discards=(InputError,)))

    def fail(folder: Path, key: str, meter: Meter) -> Made:
        (folder / "half").write_text("made")
        raise InputError("given up") if tries else KeyError

    tries: list[str] = []
    with pytest.raises(KeyError):
        context.stage("student", {}, Made, fail)
    assert [file.read_text() for file in tmp_path.rglob("half")] == ["made"]
    tries.append("again")
    with pytest.raises(InputError):
        context.stage("student", {}, Made, fail)
    assert list((tmp_path / "student").iterdir()) == []


def test_of_several_that_want_a_result_one_makes_it(tmp_path: Path) -> None:
    made: list[str] = []
    begun = threading.Event()

    def make(folder: Path, key: str, meter: Meter) -> Made:
        made.append(key)
        begun.set()
        time.sleep(0.2)
        (folder / "weights").write_text("w")
        return Made(key, folder / "weights")

    found: list[Made] = []
    first, second = (
        threading.Thread(target=lambda: found.append(RunContext(Store(tmp_path)).stage("teacher", {}, Made, make)))
        for _ in range(2)
    )
    first.start()
    assert begun.wait(10)
    second.start()
    first.join()
    second.join()
    assert len(made) == 1
    assert found[0] == found[1]
    assert [file.name for file in (tmp_path / "teacher").iterdir()] == [found[0].file.parent.name]


def test_a_result_can_not_point_out_of_its_folder(context: RunContext, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="subpath"):
        context.stage("teacher", {}, Made, lambda folder, key, meter: Made(key, tmp_path / "elsewhere"))


def test_a_damaged_record_is_named(context: RunContext) -> None:
    def make(folder: Path, key: str, meter: Meter) -> Made:
        (folder / "weights").touch()
        return Made(key, folder / "weights")

    made = context.stage("teacher", {}, Made, make)
    (made.file.parent / "result.json").write_text('{"fingerprint": 3')
    with pytest.raises(InputError, match=r"result\.json"):
        context.stage("teacher", {}, Made, make)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_atomic(file, "old")
    writer = (
        "import sys; from pathlib import Path; import pipeline.store as s, os;"
        "os.fsync = lambda _: os._exit(9); s.write_atomic(Path(sys.argv[1]), 'new' * 100000)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", writer, str(file)], env=environment, check=False)
    assert ended.returncode == 9
    assert file.read_text() == "old"


def test_the_code_of_a_stage_is_all_that_it_can_reach() -> None:
    from pipeline import store

    root = Path(store.__file__).parents[1]
    reached = {file.relative_to(root).as_posix() for file in store._imported(root / "pipeline/teacher.py")}
    assert {"pipeline/training/fit.py", "pipeline/networks.py", "pipeline/weights.py"} <= reached
    assert "pipeline/gate.py" not in reached
