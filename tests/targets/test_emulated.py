"""Model files on emulated cores. What needs the emulator skips where it is not installed; no times are judged."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from targets.emulator.classes import CLASSES
from targets.emulator.cores import CORES
from targets.emulator.counts import InstructionCounts
from targets.emulator.place import installed
from targets.emulator.plugin import compiler
from targets.emulator.qemu import find_qemu
from targets.errors import TargetError
from targets.profile import Measure
from targets.runners.emulated import EmulatedRunner
from targets.runtimes.base import RuntimeOptions, open_model
from tests.targets.tiny_models import onnx_model, tflite_model

FEEDS = [{"image": np.array([row], dtype=np.float32)} for row in ([0.5, -1.0, 2.0, 1.5], [0.0, 0.0, 0.0, 0.0])]
A76 = EmulatedRunner(CORES["cortex-a76"])


def reason_not_to_run(*needed: Callable[[], object]) -> str:
    try:
        for need in needed:
            need()
    except TargetError as error:
        return str(error)
    return ""


CAN_NOT_RUN = reason_not_to_run(find_qemu, installed)
CAN_NOT_COUNT = CAN_NOT_RUN or reason_not_to_run(lambda: find_qemu().refuse_counting(), compiler)


@pytest.mark.skipif(bool(CAN_NOT_RUN), reason=CAN_NOT_RUN)
@pytest.mark.parametrize(("runtime", "write"), [("onnxruntime", onnx_model), ("litert", tflite_model)])
def test_the_core_computes_what_the_host_computes(runtime: str, write: Callable[..., Path], tmp_path: Path) -> None:
    file, options = write(tmp_path / "it's a model, $HOME"), RuntimeOptions(runtime)
    found = EmulatedRunner(CORES["cortex-a53"]).run(file, options, FEEDS)
    model = open_model(file, options)
    for outputs, feed in zip(found, FEEDS, strict=True):
        for mine, theirs in zip(outputs, model.run(feed), strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    assert not np.array_equal(found[0][0], found[1][0])


@pytest.mark.skipif(bool(CAN_NOT_COUNT), reason=CAN_NOT_COUNT)
def test_counts_repeat_and_do_not_hold_what_is_around_an_inference(tmp_path: Path) -> None:
    """A model of twelve multiplications: an interpreter's few hundred instructions, none of Python's thousands."""
    file = tflite_model(tmp_path / "m.tflite")
    counts = [A76.count(file, RuntimeOptions("litert", threads=2), FEEDS) for _ in range(2)]
    assert counts[0].total == pytest.approx(counts[1].total, rel=1e-3)
    assert 100 < counts[0].total < 100_000
    assert counts[0].core == "cortex-a76"
    assert counts[0].version == installed().versions["ai-edge-litert"]


@pytest.mark.skipif(bool(CAN_NOT_RUN), reason=CAN_NOT_RUN)
def test_a_file_that_is_no_model_and_a_wrong_input_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "words.tflite").write_text("not a model")
    with pytest.raises(TargetError, match=r"emulated on cortex-a76 it failed.*not a TFLite model"):
        A76.run(tmp_path / "words.tflite", RuntimeOptions("litert"), FEEDS)
    wrong = [{"image": np.zeros((1, 5), dtype=np.float32)}]
    with pytest.raises(TargetError, match=r"m\.tflite: emulated on cortex-a76 it failed \(exit code 1\)") as told:
        A76.run(tflite_model(tmp_path / "m.tflite"), RuntimeOptions("litert"), wrong)
    assert "\n" not in str(told.value)


def test_time_on_an_emulated_core_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="time of an emulated cortex-a76 says nothing of the device"):
        A76.measure(tmp_path / "m.tflite", RuntimeOptions("litert"), FEEDS, Measure(), tmp_path)


def test_no_sample_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no sample"):
        A76.run(tmp_path / "m.tflite", RuntimeOptions("litert"), [])


def test_without_the_emulator_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path))
    with pytest.raises(TargetError, match="edgepress targets install-emulator"):
        A76.run(tmp_path / "m.tflite", RuntimeOptions("litert"), FEEDS)


def test_counts_add_up_by_class() -> None:
    counts = InstructionCounts("cortex-a53", "litert", "2.3.0", "QEMU 7.2", 7, 0.0, 1, 2, 3, 4, 5, 6)
    assert counts.total == 21
    assert list(counts.by_class()) == list(CLASSES)
    assert counts.by_class()["scalar"] == 5
