"""Goals that files tell: a size, and a latency of which the test says how it goes with the network."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.export.onnx import export_onnx
from pipeline.networks import count_macs, example_inputs, load_network
from pipeline.prune import prune
from pipeline.prune_goal import Shipping, choose_pruning, measure_pace
from pipeline.pruning.timing import Pace, TimedFile, compare_pace
from pipeline.results import ExportedFile, NetworkResult, PreparedData, PruningChoice, TargetFile
from pipeline.settings.distill import DistillSettings
from pipeline.settings.prune import PruneSettings
from pipeline.store import Store
from targets.profile import Measure
from targets.runners.paired import Contender, PairedSamples
from targets.runtimes.base import RuntimeOptions

ONLINE = DistillSettings(mode="online", batch_size=64)
ORT = RuntimeOptions("onnxruntime")
FAST = Measure(warmup=1, min_runs=1, min_seconds=0)


@pytest.fixture(autouse=True)
def fewer_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.pruning.channels.STEPS", 16)


@pytest.fixture(scope="module")
def student(digits: PreparedData, image_student: NetworkResult) -> NetworkResult:
    return replace(image_student, macs=count_macs(load_network(image_student), example_inputs(digits)))


def no_files(data: PreparedData) -> Callable[[NetworkResult, RunContext], list[TimedFile]]:
    """Two files for each network, which nobody opens; the fingerprint tells its multiply-accumulates."""

    def make(network: NetworkResult, context: RunContext) -> list[TimedFile]:
        macs = count_macs(load_network(network), example_inputs(data))
        return [
            TimedFile(ExportedFile(f"{name} {macs}", Path("none"), name, "float32", "float32", 1, "0"), ORT, data)  # type: ignore[arg-type]
            for name in ("onnx", "tflite")
        ]

    return make


def paced(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Latency that a part of is overhead: 0.2 + 0.8 m of the unpruned student's for a share m of its MACs, and a tenth
    more for the other of the files. Gives the shares of MACs that were measured."""
    asked: list[float] = []

    def pace(pruned: TimedFile, whole: TimedFile, plan: Measure, folder: Path) -> Pace:
        name, macs = pruned.file.fingerprint.split()
        share = int(macs) / int(whole.file.fingerprint.split()[1])
        asked.append(share)
        found = (0.2 + 0.8 * share) * (1.1 if name == "tflite" else 1.0)
        return Pace(found, found, found, found, 1.0, 5)

    monkeypatch.setattr("pipeline.prune_goal.compare_pace", pace)
    return asked


def chosen(
    data: PreparedData, student: NetworkResult, settings: PruneSettings, shipping: Shipping, context: RunContext
) -> PruningChoice:
    return choose_pruning(data, student, student, None, settings, ONLINE, shipping, context)


def shipping(make: Any, **decided_by: Any) -> Shipping:
    return Shipping(make, decided_by, "float32", FAST)


def test_the_first_architecture_whose_worst_file_is_fast_enough_is_chosen(
    digits: PreparedData, student: NetworkResult, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = paced(monkeypatch)
    settings = PruneSettings(latency=0.6, importance="magnitude_l2", round_to=4, recovery_epochs=0)
    choice = chosen(digits, student, settings, shipping(no_files(digits)), context)
    assert 0.5 < choice.predicted <= 0.6
    assert choice.predicted == pytest.approx(1.1 * (0.2 + 0.8 * choice.macs_left))
    assert len(asked) <= 2 * 6
    pruned = prune(digits, student, student, None, settings, ONLINE, context, choice)
    assert pruned.macs is not None
    assert student.macs is not None
    assert pruned.macs / student.macs == pytest.approx(choice.macs_left)
    assert pruned.name.endswith("pruned to 60% of its latency")


def test_a_choice_is_measured_once(
    digits: PreparedData, student: NetworkResult, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = paced(monkeypatch)
    settings = PruneSettings(latency=0.7, importance="magnitude_l2")
    make = no_files(digits)
    first = chosen(digits, student, settings, shipping(make, threads=1), context)
    measured = len(asked)
    assert chosen(digits, student, settings, shipping(make, threads=1), context) == first
    longer = settings.model_copy(update={"recovery_epochs": 9, "learning_rate": 1e-4})
    assert chosen(digits, student, longer, shipping(make, threads=1), context) == first
    assert len(asked) == measured
    chosen(digits, student, settings, shipping(make, threads=2), context)
    assert len(asked) > measured


def test_layers_that_go_may_be_enough(
    reviews: PreparedData, text_student: NetworkResult, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = paced(monkeypatch)
    bert = replace(text_student, macs=count_macs(load_network(text_student), example_inputs(reviews)))
    settings = PruneSettings(layers=1, latency=0.7, importance="magnitude_l2")
    choice = chosen(reviews, bert, settings, shipping(no_files(reviews)), context)
    assert choice.rung == 0
    assert choice.macs_left == pytest.approx(0.5, abs=0.01)
    assert len(asked) == 2


def test_a_latency_that_no_architecture_has_is_refused(
    digits: PreparedData, student: NetworkResult, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    paced(monkeypatch)
    settings = PruneSettings(latency=0.2, importance="magnitude_l2")
    with pytest.raises(
        InputError, match=r"prune.latency 0.2 can't be reached.*at least \d\d\.\d% of the latency is left"
    ):
        chosen(digits, student, settings, shipping(no_files(digits)), context)


def onnx_files(data: PreparedData) -> Callable[[NetworkResult, RunContext], list[TimedFile]]:
    return lambda network, context: [TimedFile(export_onnx(data, network, 20, None, context), ORT, data)]


def test_a_size_is_that_of_the_file_itself(digits: PreparedData, student: NetworkResult, context: RunContext) -> None:
    settings = PruneSettings(size_mb=0.8, importance="magnitude_l2", round_to=4, recovery_epochs=0)
    whole = export_onnx(digits, student, 20, None, context)
    assert whole.bytes > 1_000_000
    choice = chosen(digits, student, settings, shipping(onnx_files(digits)), context)
    pruned = prune(digits, student, student, None, settings, ONLINE, context, choice)
    file = export_onnx(digits, pruned, 20, None, context)
    assert 0.6 < choice.predicted <= 0.8
    assert file.bytes / 1e6 == pytest.approx(choice.predicted, rel=0.005)
    assert len(choice.tried) <= 5
    assert choice.machine is None


def test_a_student_that_is_small_enough_stays_as_it_is(
    digits: PreparedData, student: NetworkResult, context: RunContext
) -> None:
    settings = PruneSettings(size_mb=50, importance="magnitude_l2")
    choice = chosen(digits, student, settings, shipping(no_files(digits)), context)
    assert (choice.rung, choice.macs_left) == (0, 1.0)


def test_two_files_are_measured_in_turns(
    image_onnx: ExportedFile, digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.pruning.timing.PROCESSES", 2)
    timed = TimedFile(image_onnx, ORT, digits)
    pace = compare_pace(timed, timed, FAST, tmp_path)
    assert pace.share > 0
    assert pace.pruned_ms > 0
    assert pace.whole_ms > 0
    assert list(tmp_path.iterdir()) == []


def test_the_share_is_the_median_of_the_rounds(
    image_onnx: ExportedFile, digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that becomes ever slower slows both, and a round that is off is outvoted."""
    processes = iter([([1.0, 8.0, 3.0], [2.0, 4.0, 6.0]), ([4.0, 5.0, 16.0], [8.0, 10.0, 32.0])])

    def measured(file: Contender, reference: Contender, plan: Measure, folder: Path) -> PairedSamples:
        return PairedSamples(*(np.repeat(np.array(ms), 5).reshape(3, 5) for ms in next(processes)))

    monkeypatch.setattr("pipeline.pruning.timing.PROCESSES", 2)
    monkeypatch.setattr("pipeline.pruning.timing.measure_paired", measured)
    pace = compare_pace(TimedFile(image_onnx, ORT, digits), TimedFile(image_onnx, ORT, digits), FAST, tmp_path)
    assert (pace.share, pace.pruned_ms, pace.whole_ms, pace.rounds) == (pytest.approx(0.5), 4.5, 7.0, 6)
    assert (pace.low, pace.high) == (pytest.approx(0.5), pytest.approx(2.0))  # of six rounds, the least and the most


def test_only_files_that_ship_are_held_against_the_unpruned(
    image_onnx: ExportedFile, digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.prune_goal.compare_pace", lambda *_: Pace(0.4, 0.38, 0.43, 2.0, 5.0, 60))
    whole = [TimedFile(image_onnx, ORT, digits)]
    context = RunContext(Store(tmp_path))
    beside, shipped = (TargetFile(image_onnx, None, None, shipped=ships) for ships in (False, True))  # type: ignore[arg-type]
    assert measure_pace(beside, whole, FAST, digits, context) == beside
    pace = measure_pace(shipped, whole, FAST, digits, context).pace
    assert pace is not None
    assert (pace.share, pace.pruned_ms, pace.whole_ms) == (0.4, 2.0, 5.0)
    assert (pace.low, pace.high, pace.rounds) == (0.38, 0.43, 60)
