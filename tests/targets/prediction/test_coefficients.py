"""Costs as they are stored, and as a core borrows them."""

import json
from pathlib import Path

import pytest
import yaml

from targets.emulator.cores import CORES
from targets.errors import TargetError
from targets.prediction.coefficients import (
    COEFFICIENTS,
    borrow,
    decode_widths,
    fitted,
    nearest,
    read_coefficients,
    work_in_range,
)
from targets.prediction.measurements import COUNTS, published, read_counts
from targets.profile import load_profile, profile_names
from tests.targets.prediction.made_up import costs, measurement, work

WIDTHS = {"cortex-a53": 2, "cortex-a72": 3, "cortex-a76": 4}


def test_the_stored_costs_are_what_profiles_and_counts_give() -> None:
    measured = published(map(load_profile, profile_names()), read_counts())
    assert fitted(measured, decode_widths()) == read_coefficients()


def test_every_stored_cost_names_its_sources_and_the_threads() -> None:
    for core in read_coefficients().cores:
        assert core.sources
        assert all(source and "XNNPACK" in source for source in core.sources)
        assert core.threads == 4
        assert min(core.ms_per_million_instructions.values()) > 0
        assert core.deviation > 0


def test_every_core_that_can_be_emulated_has_a_width_to_borrow_by() -> None:
    assert set(CORES) <= set(decode_widths())


def test_a_baseline_without_threads_or_counts_is_not_fitted() -> None:
    counts = {("cortex-a72", "net", "int8"): work(1)}
    profile = load_profile("rpi4")
    quoted = [{"model": "net", "dtype": "int8", "ms": 3, "source": "s"}, {"model": "other", "dtype": "int8", "ms": 3,
              "threads": 2, "source": "s"}]  # fmt: skip
    content = profile.model_dump(mode="json", by_alias=True)
    assert published([type(profile).model_validate(content | {"baselines": quoted})], counts) == ()
    quoted[0]["threads"] = 2
    (found,) = published([type(profile).model_validate(content | {"baselines": quoted})], counts)
    assert (found.device, found.network, found.threads, found.ghz, found.ms) == ("rpi4", "net", 2, 1.5, 3)


def test_each_core_is_fitted_from_its_own_latencies_and_errs_for_its_sibling() -> None:
    """A core of twice the decoded instructions a second that takes half as long: the loan errs by nothing."""
    slow = [measurement(name, millions, work(millions, core="cortex-a53"), "slow", 1.5)
            for name, millions in (("a", 100), ("b", 50), ("c", 20))]  # fmt: skip
    fast = [measurement(name, millions / 2, work(millions, core="cortex-a72"), "fast", 2.0)
            for name, millions in (("a", 100), ("b", 50), ("c", 20))]  # fmt: skip
    found = fitted([*fast, *slow], WIDTHS)
    assert [(core.uarch, core.device, core.ghz, core.measured) for core in found.cores] == [
        ("cortex-a53", "slow", 1.5, 3), ("cortex-a72", "fast", 2.0, 3)
    ]  # fmt: skip
    assert [core.ms_per_million_instructions for core in found.cores] == [{"float32": 1.0}, {"float32": 0.5}]
    assert found.cores[0].instructions_millions == {"float32": (20.0, 100.0)}
    assert found.borrowed_deviation == pytest.approx(0, abs=1e-6)
    assert found.borrowed_cores == 2
    alone = fitted(slow, WIDTHS)
    assert (alone.borrowed_deviation, alone.borrowed_cores) == (None, None)


def test_a_dtype_of_one_network_is_not_fitted() -> None:
    """Leaving that network out would leave nothing to predict it from."""
    measured = [
        measurement("a", 100, work(100)), measurement("b", 50, work(50)),
        measurement("a", 10, work(80, dtype="int8")),
    ]  # fmt: skip
    (core,) = fitted(measured, WIDTHS).cores
    assert core.ms_per_million_instructions == {"float32": 1.0}
    assert core.measured == 2


def test_the_nearest_sibling_decodes_about_as_many_instructions_a_second() -> None:
    cores = [costs("cortex-a53", ghz=1.4), costs("cortex-a72", ghz=1.5)]
    assert nearest(cores, "cortex-a76", 2.4, WIDTHS) is cores[1]  # 9.6 against 2.8 and 4.5 in a nanosecond
    assert nearest(cores, "cortex-a53", 3.0, WIDTHS) is cores[0]  # its own kind, at whatever clock
    assert nearest(cores, "cortex-x3", 3.0, WIDTHS) is None
    assert nearest([], "cortex-a53", 1.4, WIDTHS) is None


def test_instructions_get_cheaper_by_clock_and_width_and_memory_does_not() -> None:
    found = borrow(costs("cortex-a72", ghz=1.5), "cortex-a76", 3.0, WIDTHS)
    assert found == pytest.approx(
        {
            ("instructions", "float32"): 0.5 / (2 * 4 / 3),
            ("instructions", "int8"): 0.25 / (2 * 4 / 3),
            ("weight_bytes", ""): 2.0,
        }
    )
    assert borrow(costs(ghz=1.5), "cortex-a72", 1.5, WIDTHS) == costs().costs()


def test_sizes_that_were_measured_reach_from_half_to_twice() -> None:
    measured = costs()  # 28 to 210 million
    assert [work_in_range(measured, work(millions)) for millions in (13, 15, 400, 430)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cores": []}, "'cores': "),
        ({"schema": 2}, "schema 2 is not known; this edgepress reads 1"),
        ({"borowed_cores": 2}, "unknown key 'borowed_cores': did you mean 'borrowed_cores'"),
    ],
)
def test_wrong_costs_are_told_by_their_place(change: dict[str, object], told: str, tmp_path: Path) -> None:
    file = tmp_path / "costs.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(COEFFICIENTS.read_text()) | change))
    with pytest.raises(TargetError, match=told.replace("'", ".")):
        read_coefficients(file)


@pytest.mark.parametrize("content", ["", "[1]", '[{"core": "cortex-a53"}]'])
def test_counts_that_are_none_are_told(content: str, tmp_path: Path) -> None:
    file = tmp_path / "counts.json"
    file.write_text(content)
    with pytest.raises(TargetError, match=r"counts\.json: not the counts of networks"):
        read_counts(file)


def test_the_stored_counts_are_of_one_version_and_repeat() -> None:
    rows = json.loads(COUNTS.read_text())
    assert len({row["version"] for row in rows}) == 1
    assert all(row["spread"] < 0.01 for row in rows)
