"""What is said of a machine that was not left alone, and of the energy it used: from readings made up by hand."""

import re
from pathlib import Path

import numpy as np
import pytest

from targets.runners.energy import read_microjoules, used_millijoules
from targets.runners.pace import EVERY, Ticks, at_pace, reference_ms
from targets.runners.quiet import Before, judge, look_around

STEADY = 0.1 + np.random.default_rng(0).normal(0, 0.001, 60)
IDLE = Before(busy=0.1, cores=2, load=0.2)


def test_a_steady_core_on_an_idle_machine_is_quiet() -> None:
    found = judge(IDLE, STEADY, 1)
    assert found.quiet
    assert found.reasons == ()
    assert found.spread == pytest.approx(0.01, abs=0.003)


@pytest.mark.parametrize(
    ("before", "references", "threads", "reason"),
    [
        (Before(1.6, 2, 1.8), STEADY, 1, "1.6 of 2 cores busy just before, 1 needed \\(load average 1.8\\)"),
        (Before(0.9, 2, 0.9), STEADY, 2, "0.9 of 2 cores"),
        (IDLE, STEADY * np.linspace(1, 1.1, 60), 1, "pace drifted.* took \\+"),
        (IDLE, STEADY * np.linspace(1.1, 1, 60), 1, "pace drifted.* took -9"),
        (IDLE, STEADY * np.where(np.arange(60) % 7 == 0, 2, 1), 1, "vary by 3"),
    ],
)
def test_each_disturbance_is_a_reason(before: Before, references: np.ndarray, threads: int, reason: str) -> None:
    found = judge(before, references, threads)
    assert not found.quiet
    assert len(found.reasons) == 1
    assert re.search(reason, found.reasons[0])


def test_one_busy_core_leaves_the_other_for_one_thread() -> None:
    assert judge(Before(1.0, 2, 1.0), STEADY, 1).quiet


def test_what_the_place_does_not_tell_is_no_reason() -> None:
    found = judge(Before(), np.array([]), 4)
    assert found.quiet
    assert (found.busy, found.spread, found.drift) == (None, None, None)


def test_the_cores_that_measure_are_watched() -> None:
    found = look_around(None)
    assert found.cores is not None
    assert found.busy is not None
    assert 0 <= found.busy <= found.cores
    assert look_around([4095]).cores == found.cores  # such a core is not here


def test_latencies_at_pace_are_those_of_an_even_clock() -> None:
    """A clock that halves in the middle: the inferences and the reference take twice as long."""
    slow = np.repeat([1.0, 2.0], 3)
    samples = 5.0 * np.repeat(slow, EVERY)[:-3]
    scaled = at_pace(samples, 0.1 * slow)
    assert scaled.shape == samples.shape
    assert np.ptp(scaled) == pytest.approx(0)


def test_an_interrupted_reference_changes_no_latency() -> None:
    references = np.full(5, 0.1)
    references[2] = 9.0
    assert at_pace(np.full(50, 4.0), references).tolist() == [4.0] * 50


def test_the_reference_work_takes_time() -> None:
    assert reference_ms() > 0


def test_ticks_keep_their_distance_and_count_what_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slept = [0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += round(seconds * 1e9)

    monkeypatch.setattr("targets.runners.pace.perf_counter_ns", lambda: clock[0])
    monkeypatch.setattr("targets.runners.pace.time.sleep", sleep)
    ticks = Ticks(10.0)
    ticks.wait()
    for busy_ms in (4, 10, 25, 3):  # the second ends on its tick, the third after it
        clock[0] += busy_ms * 1_000_000
        ticks.wait()
    assert slept == [pytest.approx(0.006), pytest.approx(0.007)]
    assert ticks.late == 2


def test_without_a_pace_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.runners.pace.time.sleep", lambda _: pytest.fail("it slept"))
    Ticks(None).wait()


def zone(root: Path, name: str, counter: str, largest: int = 1_000_000) -> None:
    (root / name).mkdir(exist_ok=True)
    (root / name / "energy_uj").write_text(counter)
    (root / name / "max_energy_range_uj").write_text(str(largest))


def test_energy_is_that_of_all_packages_once_round(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "999000")
    zone(tmp_path, "intel-rapl:1", "5000")
    zone(tmp_path, "intel-rapl:0:0", "77")  # a part of the first
    before = read_microjoules(tmp_path)
    zone(tmp_path, "intel-rapl:0", "499")  # began anew after 1,000,000
    zone(tmp_path, "intel-rapl:1", "7500")
    assert used_millijoules(before, read_microjoules(tmp_path)) == pytest.approx(1.5 + 2.5)


def test_energy_that_can_not_be_read_is_none(tmp_path: Path) -> None:
    assert used_millijoules(read_microjoules(tmp_path), read_microjoules(tmp_path)) is None
    zone(tmp_path, "intel-rapl:0", "nonsense")
    assert read_microjoules(tmp_path) == {}
