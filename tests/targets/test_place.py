"""Where a target is measured: what a command says goes before its profile, and no name becomes an option."""

import pytest

from targets.errors import TargetError
from targets.place import by_target, named_tools, placed
from targets.profile import Measure, load_profile
from targets.runners.base import RUNNERS, runner_for


def test_a_ready_profile_is_measured_on_the_device_that_is_named() -> None:
    profile = load_profile("rpi4")
    there = placed(profile, "ssh:pi@board").measure
    assert (there.where, there.device, there.min_runs) == ("ssh", "pi@board", profile.measure.min_runs)
    assert placed(profile, "adb:192.168.1.7:5555").measure.device == "192.168.1.7:5555"
    only = placed(profile, "adb:").measure
    assert (only.where, only.device) == ("adb", None)
    assert placed(profile, None).measure == profile.measure


def test_a_profile_of_a_device_takes_another_address_and_keeps_its_tools() -> None:
    measure = Measure.model_validate({"where": "adb", "device": "A", "tools": {"litert": "a", "onnxruntime": "o"}})
    profile = load_profile("pixel8").model_copy(update={"measure": measure})
    there = placed(profile, "B", {"litert": "b"}).measure
    assert (there.where, there.device) == ("adb", "B")
    assert (there.tools.litert, there.tools.onnxruntime) == ("b", "o")


def test_an_address_without_a_place_is_refused() -> None:
    with pytest.raises(TargetError, match=r"rpi4: --device board: .*say adb:board or ssh:board"):
        placed(load_profile("rpi4"), "board")


@pytest.mark.parametrize(
    "address", ["-oProxyCommand=touch x", "a b", "a;b", "$(x)", "`x`", "a\nb", "a'b", "a|b", "a&b", "../b", "\0"]
)
def test_no_address_is_an_option_or_a_shells(address: str) -> None:
    for place in ("adb", "ssh"):
        with pytest.raises(TargetError, match=r"'device': expected a serial number, or a host"):
            placed(load_profile("rpi4"), f"{place}:{address}")


@pytest.mark.parametrize("path", ["-c", "a\nb", "", " ", "\x1b[0m"])
def test_no_path_of_a_tool_is_an_option(path: str) -> None:
    with pytest.raises(TargetError, match=r"'tools\.python': expected a path"):
        placed(load_profile("rpi4"), "ssh:board", {"python": path})


def test_addresses_are_told_by_target() -> None:
    assert by_target(["a=ssh:x", "b=adb:1"], ["a", "b"], "--device") == {"a": "ssh:x", "b": "adb:1"}
    assert by_target(["ssh:x"], ["a"], "--device") == {"a": "ssh:x"}
    for wrong in ("c=ssh:x", "ssh:x", "a="):
        with pytest.raises(TargetError, match=r"expected TARGET=ADDRESS, TARGET one of a, b"):
            by_target([wrong], ["a", "b"], "--device")
    assert named_tools(["litert=./x=y"]) == {"litert": "./x=y"}
    with pytest.raises(TargetError, match="expected NAME=PATH"):
        named_tools(["./x"])
    with pytest.raises(TargetError, match=r"unknown key 'tools\.lite': did you mean 'litert'"):
        placed(load_profile("rpi4"), "ssh:board", {"lite": "x"})


def test_every_place_with_a_runner_gives_one() -> None:
    for where in RUNNERS:
        assert runner_for(Measure.model_validate({"where": where, "device": "x"})).measure
    with pytest.raises(TargetError, match=r"'log'.*--no-latency.*import-log"):
        runner_for(Measure(where="log"))


def test_reports_name_neither_device_nor_tools() -> None:
    there = placed(load_profile("rpi4"), "ssh:secret", {"python": "secret/python"})
    assert "secret" not in str(there.for_reports())
    assert there.for_reports()["measure"]["where"] == "ssh"
