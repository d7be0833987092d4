"""Two files measured in turn: ratios that drift leaves alone, and messages for what can't be measured."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from targets.errors import TargetError
from targets.profile import Measure
from targets.runners import paired
from targets.runners.paired import PER_ROUND, Contender, PairedSamples, measure_paired
from targets.runtimes.base import RuntimeOptions
from tests.targets.tiny_models import onnx_model, tflite_model

FEW = Measure(warmup=1, min_runs=33, max_runs=33, min_seconds=0)
ORT = RuntimeOptions("onnxruntime")


def doubled(file: Path, name: str) -> Path:
    """Twice its input, which is called `name`."""
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [4]) for end in (name, "twice")]
    graph = helper.make_graph([helper.make_node("Add", [name, name], ["twice"])], "doubled", ends[:1], ends[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))
    return file


def feeds(name: str, samples: int = 1) -> list[dict[str, np.ndarray]]:
    return [{name: np.full(4, sample, np.float32)} for sample in range(samples)]


def contender(file: Path, name: str = "x", samples: int = 1) -> Contender:
    return Contender(file, ORT, feeds(name, samples))


def test_what_slows_both_leaves_the_figures_as_they_were() -> None:
    steady = PairedSamples(np.full((2, 3), 4.0), np.full((2, 3), 2.0))
    drifting = PairedSamples(np.array([[4.0] * 3, [12.0] * 3]), np.array([[2.0] * 3, [6.0] * 3]))
    assert steady.at_pace(3.0).tolist() == [6.0] * 6
    assert drifting.at_pace(3.0).tolist() == steady.at_pace(3.0).tolist()


def test_a_single_slow_run_of_the_reference_sets_no_pace() -> None:
    found = PairedSamples(np.array([[4.0, 5.0, 4.0]]), np.array([[2.0, 40.0, 2.0]]))
    assert found.at_pace(2.0).tolist() == [4.0, 5.0, 4.0]


def test_both_files_are_run_in_rounds_on_their_own_samples(tmp_path: Path) -> None:
    file, reference = doubled(tmp_path / "file.onnx", "x"), doubled(tmp_path / "reference.onnx", "y")
    found = measure_paired(contender(file, "x", 2), contender(reference, "y"), FEW, tmp_path)
    assert found.file_ms.shape == found.reference_ms.shape == (7, PER_ROUND)  # 33 runs of each, in whole rounds
    assert (found.file_ms > 0).all()
    assert (found.reference_ms > 0).all()
    assert found.ratio().rounds == 7
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file.onnx", "reference.onnx"]


def test_what_was_measured_of_which_file_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(file: Path, place: Path, module: str) -> None:
        np.save(place / "samples.npy", np.array([[[1.0, 2.0], [3.0, 4.0]]]))

    monkeypatch.setattr(paired, "run_worker", measured)
    found = measure_paired(contender(tmp_path / "a"), contender(tmp_path / "b", "y"), FEW, tmp_path)
    assert (found.file_ms.tolist(), found.reference_ms.tolist()) == ([[1.0, 2.0]], [[3.0, 4.0]])


def test_files_of_two_runtimes_are_measured_in_turn(tmp_path: Path) -> None:
    image = {"image": np.zeros((1, 4), np.float32)}
    lite = Contender(tflite_model(tmp_path / "m.tflite"), RuntimeOptions("litert"), [image])
    found = measure_paired(lite, Contender(onnx_model(tmp_path / "m.onnx"), ORT, [image]), FEW, tmp_path)
    assert found.ratio().value > 0


def test_few_runs_are_as_many_rounds_as_an_interval_needs(tmp_path: Path) -> None:
    file = contender(doubled(tmp_path / "file.onnx", "x"))
    two = Measure(warmup=0, min_runs=2, max_runs=2, min_seconds=0)
    ratio = measure_paired(file, file, two, tmp_path).ratio()
    assert ratio.rounds == 6
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low <= ratio.value <= ratio.high


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    good, bad = doubled(tmp_path / "good.onnx", "x"), tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    with pytest.raises(TargetError, match=r"bad\.onnx"):
        measure_paired(contender(bad), contender(good), FEW, tmp_path)
