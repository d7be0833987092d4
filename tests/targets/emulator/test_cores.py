"""Which cores are emulated, and what the emulated machine says of itself."""

from pathlib import Path

import pytest
import yaml

from targets.emulator.cores import CORES, PROCESSORS, emulated_core, named_cores, profile_cores
from targets.errors import TargetError
from targets.machine import read_cpuinfo
from targets.profile import load_profile


@pytest.mark.parametrize(
    ("name", "told", "dotprod"),
    [
        ("cortex-a53", "Cortex-A53", False),
        ("cortex-a55", "Cortex-A55", True),
        ("cortex-a72", "Cortex-A72", False),
        ("cortex-a76", "Cortex-A76", True),
    ],
)
def test_cpuinfo_names_the_core_and_its_instruction_sets(name: str, told: str, dotprod: bool) -> None:
    processor, isa = read_cpuinfo(CORES[name].cpuinfo)
    assert processor == f"{PROCESSORS}x {told}"
    assert ("dotprod" in isa, "fp16" in isa) == (dotprod, dotprod)
    assert "neon" in isa


def test_a_core_is_found_by_the_profiles_word_for_it() -> None:
    assert emulated_core("Cortex-A72").name == "cortex-a72"
    assert [core.name for core in named_cores("CORTEX-A55")] == ["cortex-a55"]
    assert [core.name for core in named_cores("rpi4")] == ["cortex-a72"]


def test_a_core_that_qemu_lacks_is_named_with_those_that_it_has() -> None:
    with pytest.raises(TargetError, match=r"pixel8: Cortex-X3, Cortex-A715, Cortex-A510 can't be emulated.*cortex-a53"):
        named_cores("pixel8")
    with pytest.raises(TargetError, match="expected one of cortex-a53"):
        emulated_core("cortex-m4")


def test_a_profile_without_cores_has_nothing_to_emulate() -> None:
    with pytest.raises(TargetError, match="host names no cores"):
        named_cores("host")


def test_an_unknown_name_is_neither_core_nor_target() -> None:
    with pytest.raises(TargetError, match=r"unknown target 'cortexa76'"):
        named_cores("cortexa76")


def test_each_kind_of_a_profiles_cores_is_emulated_once(tmp_path: Path) -> None:
    content = load_profile("rpi4").model_dump(mode="json", by_alias=True)
    content["cores"] = [
        {"uarch": "Cortex-A76", "count": 1, "ghz": 2.0, "big": True},
        {"uarch": "Cortex-A55", "count": 2},
        {"uarch": "cortex-a76", "count": 1},
        {"uarch": "Cortex-A55", "count": 2, "ghz": 1.1},
    ]
    file = tmp_path / "rpi4.yaml"
    file.write_text(yaml.safe_dump(content))
    assert [core.name for core in profile_cores(load_profile(str(file)))] == ["cortex-a76", "cortex-a55"]
