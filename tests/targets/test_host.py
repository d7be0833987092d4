"""Measuring in a process of its own: how long, on what, with what to say when it can't. No times are judged."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from targets.budgets import Budgets, LatencyBudget
from targets.errors import TargetError
from targets.machine import available_cores
from targets.profile import Measure
from targets.runners.host import measure
from targets.runtimes.base import RuntimeOptions
from tests.targets.tiny_models import onnx_model, tflite_model

ROOT = str(Path(__file__).parents[2])
FEED = {"image": np.array([[0.5, -1.0, 2.0, 1.5]], dtype=np.float32)}
SHORT = Measure(warmup=2, min_runs=7, max_runs=50, min_seconds=0)


@pytest.fixture(scope="module")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tflite_model(tmp_path_factory.mktemp("model") / "m.tflite")


def latency(**limits: float) -> Budgets:
    return Budgets(latency_ms=LatencyBudget(**limits))


@pytest.mark.parametrize(("runtime", "write"), [("onnxruntime", onnx_model), ("litert", tflite_model)])
def test_both_runtimes_are_measured_and_nothing_is_left_behind(
    runtime: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    measured = measure(write(tmp_path / "m"), RuntimeOptions(runtime), [FEED], SHORT, folder)
    assert measured.samples_ms.shape == (7,)
    assert measured.samples_ms.dtype == np.float64
    assert np.all(measured.samples_ms > 0)
    assert measured.cold_start_ms > 0
    assert 0 <= measured.peak_mem_mb < measured.process_mem_mb
    assert measured.looks == 1
    assert any(runtime in note for note in measured.notes)
    assert list(folder.iterdir()) == []


def test_runs_go_on_until_the_time_is_up_or_the_most_is_reached(tflite: Path, tmp_path: Path) -> None:
    long = Measure(warmup=0, min_runs=5, max_runs=2_000_000, min_seconds=0.05)
    samples = measure(tflite, RuntimeOptions("litert"), [FEED], long, tmp_path).samples_ms
    assert len(samples) > 5
    capped = Measure(warmup=0, min_runs=5, max_runs=9, min_seconds=60)
    assert len(measure(tflite, RuntimeOptions("litert"), [FEED], capped, tmp_path).samples_ms) == 9


def test_a_budget_that_is_clearly_kept_or_missed_ends_the_runs_at_the_first_look(tflite: Path, tmp_path: Path) -> None:
    plan = Measure(warmup=0, min_runs=100, max_runs=1600, min_seconds=0)
    for limits in ({"p90": 1e6}, {"p90": 1e-6}, {"p50": 1e6, "p90": 1e-6}):
        measured = measure(tflite, RuntimeOptions("litert"), [FEED], plan, tmp_path, budget=latency(**limits))
        assert len(measured.samples_ms) == 100
        assert measured.looks == 8  # 100, 150, 225, 338, 507, 761, 1142, 1600


def test_a_budget_too_strict_to_be_proven_runs_to_the_most(tflite: Path, tmp_path: Path) -> None:
    plan = Measure(warmup=0, min_runs=10, max_runs=80, min_seconds=0)  # a p99 takes hundreds of runs
    measured = measure(tflite, RuntimeOptions("litert"), [FEED], plan, tmp_path, budget=latency(p99=1e6))
    assert len(measured.samples_ms) == 80


def test_every_sample_takes_its_turn(tflite: Path, tmp_path: Path) -> None:
    wrong = {"image": np.zeros((1, 5), dtype=np.float32)}
    late = [FEED] * 400 + [wrong]  # the warm-up does not come so far
    some = Measure(warmup=0, min_runs=400, max_runs=400, min_seconds=0)
    assert len(measure(tflite, RuntimeOptions("litert"), late, some, tmp_path).samples_ms) == 400
    with pytest.raises(TargetError, match=r"m\.tflite: measuring it failed \(exit code 1\): ValueError"):
        measure(tflite, RuntimeOptions("litert"), [FEED, wrong], SHORT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "words.onnx").write_text("not a model")
    with pytest.raises(TargetError) as told:
        measure(tmp_path / "words.onnx", RuntimeOptions("onnxruntime"), [FEED], SHORT, tmp_path)
    assert "words.onnx" in str(told.value)
    assert "ONNX model" in str(told.value)
    assert "\n" not in str(told.value)


def test_cold_starts_are_each_the_first_inference_of_a_process(tflite: Path, tmp_path: Path) -> None:
    plan = Measure.model_validate({"mode": "cold", "min_runs": 3, "max_runs": 3})
    measured = measure(tflite, RuntimeOptions("litert"), [FEED], plan, tmp_path)
    assert measured.samples_ms.shape == (3,)
    assert measured.cold_start_ms == np.median(measured.samples_ms)
    assert any("cold starts" in note and "3 processes" in note for note in measured.notes)
    assert not any("warm-up" in note for note in measured.notes)
    assert measured.at_pace_ms is None
    assert list(tmp_path.iterdir()) == []


def test_cold_starts_end_with_the_verdict(tflite: Path, tmp_path: Path) -> None:
    plan = Measure.model_validate({"mode": "cold", "min_runs": 2, "max_runs": 9})
    measured = measure(tflite, RuntimeOptions("litert"), [FEED], plan, tmp_path, budget=latency(p90=1e-6))
    assert len(measured.samples_ms) < 9
    assert measured.looks == 5  # 2, 3, 5, 8, 9


def test_paced_inferences_come_at_their_pace(tflite: Path, tmp_path: Path) -> None:
    plan = SHORT.model_copy(update={"mode": "paced", "pace_ms": 20.0})
    start = time.monotonic()
    measured = measure(tflite, RuntimeOptions("litert"), [FEED], plan, tmp_path)
    assert len(measured.samples_ms) == 7
    assert time.monotonic() - start > (7 + 20 - 2) * 0.020  # the warm-up too
    assert any("one every 20 ms" in note for note in measured.notes)


def test_a_pace_that_can_not_be_kept_is_told(tflite: Path, tmp_path: Path) -> None:
    plan = SHORT.model_copy(update={"mode": "paced", "pace_ms": 1e-4})
    notes = measure(tflite, RuntimeOptions("litert"), [FEED], plan, tmp_path).notes
    assert any("of 7 inferences began later than the pace wants" in note for note in notes)


def test_warm_up_is_found_and_told(tflite: Path, tmp_path: Path) -> None:
    (note,) = (n for n in measure(tflite, RuntimeOptions("litert"), [FEED], SHORT, tmp_path).notes if "MSER-5" in n)
    made = int(note.split()[0])
    assert made >= 20
    assert "settled" in note
    many = SHORT.model_copy(update={"warmup": 333})
    assert any("333 warm-up runs" in n for n in measure(tflite, RuntimeOptions("litert"), [FEED], many, tmp_path).notes)


def test_the_machine_is_watched_meanwhile(tflite: Path, tmp_path: Path) -> None:
    measured = measure(tflite, RuntimeOptions("litert"), [FEED], SHORT.model_copy(update={"min_runs": 25}), tmp_path)
    assert measured.quiet is not None
    assert measured.quiet.spread is not None
    assert measured.quiet.busy is not None
    assert measured.quiet.quiet is not bool(measured.quiet.reasons)
    assert measured.at_pace_ms is not None
    assert measured.at_pace_ms.shape == (25,)


def test_no_sample_is_an_error(tflite: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no sample"):
        measure(tflite, RuntimeOptions("litert"), [], SHORT, tmp_path)


def test_it_works_from_any_folder_whatever_lies_there(
    tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's own folder may well hold a targets/ or a numpy.py, and models may be given by relative path."""
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "__init__.py").write_text("raise ImportError('the wrong targets')")
    (tmp_path / "numpy.py").write_text("raise ImportError('the wrong numpy')")
    (tmp_path / "here.tflite").write_bytes(tflite.read_bytes())
    monkeypatch.chdir(tmp_path)
    measured = measure(Path("here.tflite"), RuntimeOptions("litert"), [FEED], SHORT, tmp_path)
    assert len(measured.samples_ms) == 7


def test_what_the_asking_process_holds_is_not_counted(tflite: Path, tmp_path: Path) -> None:
    held = np.ones(50_000_000)  # 400 MB
    measured = measure(tflite, RuntimeOptions("litert"), [FEED], SHORT, tmp_path)
    assert measured.process_mem_mb < held.nbytes / 1e6
    assert measured.peak_mem_mb < 50


def test_memory_of_a_model_is_counted(tmp_path: Path) -> None:
    """A file with 40 MB of weights grows the process by about that; without it, by next to nothing."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((10_000, 1_000), dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "weights"], ["scores"])],
        "large",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 10_000])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1_000])],
        [weights],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "large.onnx"
    )
    options = RuntimeOptions("onnxruntime")
    large = measure(tmp_path / "large.onnx", options, [{"image": np.ones((1, 10_000), np.float32)}], SHORT, tmp_path)
    small = measure(onnx_model(tmp_path / "small.onnx"), options, [FEED], SHORT, tmp_path)
    assert large.peak_mem_mb - small.peak_mem_mb > 30


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system can't pin a process")
def test_it_pins_to_cores_that_are_here_and_says_so_if_not(tflite: Path, tmp_path: Path) -> None:
    here = min(os.sched_getaffinity(0))
    for core, said in ((here, f"pinned to cores {here}"), (4095, "not pinned to cores 4095: not all of them are here")):
        plan = SHORT.model_copy(update={"pin_cores": (core,)})
        assert said in measure(tflite, RuntimeOptions("litert"), [FEED], plan, tmp_path).notes


def test_more_threads_than_cores_are_noted(tflite: Path, tmp_path: Path) -> None:
    threads = available_cores() + 1
    notes = measure(tflite, RuntimeOptions("litert", threads), [FEED], SHORT, tmp_path).notes
    assert any(f"{threads} threads on {available_cores()} cores" in note for note in notes)


def test_the_worker_holds_only_numpy_and_its_own_code() -> None:
    program = (
        "import sys, targets.runners.worker; "
        "print({'pydantic', 'yaml', 'scipy', 'torch', 'onnx', 'onnxruntime', 'ai_edge_litert'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": ROOT}
    assert subprocess.check_output([sys.executable, "-c", program], text=True, env=environment) == "set()\n"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_the_worker_ends_when_whoever_asked_is_killed(tflite: Path, tmp_path: Path) -> None:
    program = (
        "import numpy as np; from pathlib import Path; from targets.profile import Measure; "
        "from targets.runners.host import measure; from targets.runtimes.base import RuntimeOptions; "
        f"measure(Path({str(tflite)!r}), RuntimeOptions('litert'), [{{'image': np.zeros((1, 4), np.float32)}}], "
        f"Measure(max_runs=10**8, min_seconds=600), Path({str(tmp_path)!r}))"
    )
    asking = psutil.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": ROOT})
    deadline = time.monotonic() + 30
    workers: list[psutil.Process] = []
    while not workers and time.monotonic() < deadline:
        time.sleep(0.05)
        workers = [child for child in asking.children() if "targets.runners.worker" in child.cmdline()]
    asking.kill()
    asking.wait()
    gone, still_there = psutil.wait_procs(workers, timeout=30)
    for worker in still_there:
        worker.kill()
    assert len(gone) == 1
