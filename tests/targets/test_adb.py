"""Android devices as real adb sees them: measured by their tools, lost, unauthorised, of another ABI."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from targets.budgets import Budgets, LatencyBudget
from targets.errors import TargetError
from targets.measuring import Measure, Tools
from targets.runners import adb
from targets.runners.base import runner_for
from targets.runners.bridge import find_device
from targets.runtimes.base import RuntimeOptions
from tests.targets.adb_device import Device, compile_tool, environment, needs_adb, needs_compiler
from tests.targets.tiny_models import onnx_model, tflite_model

pytestmark = [needs_adb, needs_compiler]

FEED = {"image": np.array([[0.5, -1.0, 2.0, 1.5]], dtype=np.float32)}
OTHER = {"image": np.array([[1.0, 0.0, -2.0, 0.5]], dtype=np.float32)}
LITERT, ORT = RuntimeOptions("litert", 2), RuntimeOptions("onnxruntime", 2)


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_tool(tmp_path_factory.mktemp("tool"), "benchmark")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An adb server of the tests' own, with a key of its own, which looks for no USB devices."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("adb")
    own = {"ADB_SERVER_SOCKET": f"tcp:localhost:{port}", "HOME": str(home), "ADB_LIBUSB": "0", "ADB_MDNS": "0"}
    subprocess.run(["adb", "start-server"], env={**os.environ, **own}, check=True, capture_output=True)
    yield own
    subprocess.run(["adb", "kill-server"], env={**os.environ, **own}, check=False, capture_output=True)


@pytest.fixture
def phone(server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    device = Device(tmp_path / "phone")
    monkeypatch.setattr(adb, "PLACE", str(device.tmp))
    connect(device)
    yield device
    device.vanish()
    subprocess.run(["adb", "disconnect"], check=False, capture_output=True)


def connect(device: Device) -> None:
    subprocess.run(["adb", "connect", device.serial], check=False, capture_output=True)
    if device.authorised:
        subprocess.run(["adb", "-s", device.serial, "wait-for-device"], check=True, timeout=30)


def plan_of(tool: Path, **settings: object) -> Measure:
    content = {"where": "adb", "tools": {"litert": str(tool), "onnxruntime": str(tool)}, "warmup": 3, "min_seconds": 0}
    return Measure.model_validate({**content, "min_runs": 30, "max_runs": 200, **settings})


def test_a_tflite_file_is_measured_run_by_run(phone: Device, tool: Path, tmp_path: Path) -> None:
    phone.environment = environment("litert")
    file, plan = tflite_model(tmp_path / "m.tflite"), plan_of(tool, min_runs=31, pin_cores=[4, 5])
    (tmp_path / "work").mkdir()
    found = runner_for(plan).measure(file, LITERT, [FEED, OTHER], plan, tmp_path / "work")
    assert found.samples_ms.tolist() == pytest.approx([(4000 + run) / 1e3 for run in range(31)])
    assert found.cold_start_ms == pytest.approx(11.5)  # 2500 + 9000 microseconds
    assert found.peak_mem_mb == pytest.approx(10.48576)
    assert found.process_mem_mb == pytest.approx(41.94304)
    assert (found.source, found.machine) == ("device", "Acme One (A1), Android 14, x86_64")
    assert "battery 83%, 31.2 °C, plugged in" in found.notes
    assert "Android's thermal status: moderate before, moderate after" in found.notes
    assert any("throttled" in note for note in found.notes)
    assert set((phone.folder / "masks").read_text().split()) == {"30"}
    assert list(phone.tmp.iterdir()) == []
    assert not list((tmp_path / "work").rglob("*.json"))


def test_an_onnx_file_is_measured_run_by_run_without_its_warm_up(phone: Device, tool: Path, tmp_path: Path) -> None:
    phone.environment = environment("onnxruntime")
    file, plan = onnx_model(tmp_path / "m.onnx"), plan_of(tool)
    found = runner_for(plan).measure(file, ORT, [FEED, OTHER], plan, tmp_path)
    assert found.samples_ms.tolist() == pytest.approx([(5003 + run) / 1e3 for run in range(30)], rel=1e-5)
    assert found.cold_start_ms == pytest.approx(19.5)  # 12.5 + 7 ms
    assert found.peak_mem_mb is None
    assert found.process_mem_mb == pytest.approx(50.331648)


def test_old_devices_that_tell_no_exit_code_are_read_too(
    server: dict[str, str], tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    old = Device(tmp_path / "old", shell_v2=False)
    monkeypatch.setattr(adb, "PLACE", str(old.tmp))
    connect(old)
    old.environment = environment("onnxruntime")
    plan = plan_of(tool, device=old.serial)
    found = runner_for(plan).measure(onnx_model(tmp_path / "m.onnx"), ORT, [FEED], plan, tmp_path)
    assert len(found.samples_ms) == 30
    old.environment["TOOL_CRASHES"] = "1"
    with pytest.raises(TargetError, match="crashed"):
        runner_for(plan).measure(onnx_model(tmp_path / "m.onnx"), ORT, [FEED], plan, tmp_path)
    old.vanish()
    subprocess.run(["adb", "disconnect"], check=False, capture_output=True)


def test_outputs_of_a_tflite_file_come_back(phone: Device, tool: Path, tmp_path: Path) -> None:
    """The tool of the tests writes its first three inputs as its outputs."""
    phone.environment = environment("litert")
    plan = plan_of(tool)
    outputs = runner_for(plan).run(tflite_model(tmp_path / "m.tflite"), LITERT, [FEED, OTHER])
    for feed, (found,) in zip((FEED, OTHER), outputs, strict=True):
        np.testing.assert_array_equal(found, feed["image"][:, :3])


def test_a_latency_budget_ends_the_runs(phone: Device, tool: Path, tmp_path: Path) -> None:
    phone.environment = environment("onnxruntime")
    plan = plan_of(tool, min_runs=100, max_runs=1600)
    for limit, looks in ((1e6, 8), (1e-6, 8)):
        budget = Budgets(latency_ms=LatencyBudget(p90=limit))
        found = runner_for(plan).measure(onnx_model(tmp_path / "m.onnx"), ORT, [FEED], plan, tmp_path, budget=budget)
        assert (len(found.samples_ms), found.looks) == (100, looks)


def test_what_a_lost_device_measured_is_kept_and_a_later_call_goes_on(
    phone: Device, tool: Path, tmp_path: Path
) -> None:
    phone.environment = environment("litert")
    file, plan = tflite_model(tmp_path / "m.tflite"), plan_of(tool, min_runs=50)
    phone.vanish_at = 3
    with pytest.raises(TargetError, match=r"the device was lost .*, after 40 runs\. They are kept: connect"):
        runner_for(plan).measure(file, LITERT, [FEED], plan, tmp_path)
    phone.start()
    subprocess.run(["adb", "disconnect"], check=False, capture_output=True)
    connect(phone)
    found = runner_for(plan).measure(file, LITERT, [FEED], plan, tmp_path)
    assert found.samples_ms.tolist() == pytest.approx([(4000 + run) / 1e3 for run in range(50)])
    assert phone.calls == 4  # twice 20 before, 10 after
    assert any("lost after 40 runs" in note for note in found.notes)


def test_a_tool_that_prints_nonsense_or_crashes_is_told(phone: Device, tool: Path, tmp_path: Path) -> None:
    file, plan = tflite_model(tmp_path / "m.tflite"), plan_of(tool)
    phone.environment = environment("litert", TOOL_TELLS_NONSENSE="1")
    with pytest.raises(TargetError, match=r"benchmark_model wrote what is no result of it: .*everything is fine"):
        runner_for(plan).measure(file, LITERT, [FEED], plan, tmp_path)
    phone.environment = environment("litert", TOOL_CRASHES="1")
    with pytest.raises(TargetError, match=r"benchmark_model crashed \(signal 6\) on the device"):
        runner_for(plan).measure(file, LITERT, [FEED], plan, tmp_path)
    assert list(phone.tmp.iterdir()) == []


def test_a_tool_for_another_abi_is_refused_before_it_is_pushed(phone: Device, tool: Path, tmp_path: Path) -> None:
    other = bytearray(tool.read_bytes())
    other[18:20] = (183).to_bytes(2, "little")
    (tmp_path / "arm").write_bytes(other)
    plan = plan_of(tmp_path / "arm")
    with pytest.raises(TargetError, match=r"arm: built for arm64-v8a, the device runs x86_64, x86"):
        runner_for(plan).measure(tflite_model(tmp_path / "m.tflite"), LITERT, [FEED], plan, tmp_path)
    (tmp_path / "script").write_text("#!/bin/sh\necho count=1\n")
    plan = plan_of(tmp_path / "script")
    with pytest.raises(TargetError, match=r"script: not a program for Android.*expected an ELF file"):
        runner_for(plan).measure(tflite_model(tmp_path / "m.tflite"), LITERT, [FEED], plan, tmp_path)
    assert list(phone.tmp.iterdir()) == []


def test_no_space_on_the_device_is_told(phone: Device, tool: Path, tmp_path: Path) -> None:
    phone.full = True
    plan = plan_of(tool)
    with pytest.raises(TargetError, match=r"no space left on the device for benchmark \(\d+\.\d MB\)"):
        runner_for(plan).measure(tflite_model(tmp_path / "m.tflite"), LITERT, [FEED], plan, tmp_path)


def test_outputs_of_an_onnx_file_are_refused_before_a_device_is_asked(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"onnxruntime_perf_test times a file and writes none of its outputs.*--file"):
        adb.AdbRunner(None, Tools()).run(tmp_path / "m.onnx", RuntimeOptions("onnxruntime"), [FEED])


def test_a_tool_that_is_not_named_or_not_there_is_told(tmp_path: Path) -> None:
    file, plan = tflite_model(tmp_path / "m.tflite"), Measure(where="adb")
    with pytest.raises(TargetError, match=r"benchmark_model is wanted .*measure\.tools\.litert.*--tool litert=PATH"):
        runner_for(plan).measure(file, LITERT, [FEED], plan, tmp_path)
    plan = Measure(where="adb", tools=Tools(litert=str(tmp_path / "nowhere")))
    with pytest.raises(TargetError, match=r"nowhere: no such file; expected benchmark_model"):
        runner_for(plan).measure(file, LITERT, [FEED], plan, tmp_path)


def test_several_devices_are_told_apart_by_serial(phone: Device, tool: Path, tmp_path: Path) -> None:
    second = Device(tmp_path / "second")
    connect(second)
    second.environment = phone.environment = environment("litert")
    with pytest.raises(TargetError, match=rf"2 Android devices are connected .*{phone.serial}.*name one"):
        runner_for(plan_of(tool)).identity(LITERT)
    identities = {runner_for(plan_of(tool, device=d.serial)).identity(LITERT) for d in (phone, second)}
    assert len(identities) == 2
    phone.vanish()
    assert runner_for(plan_of(tool, device=phone.serial)).identity(LITERT) in identities  # nobody was asked
    with pytest.raises(TargetError, match=r"R5CT: no such Android device is connected; connected: "):
        find_device("R5CT")
    second.vanish()


def test_no_device_and_one_that_is_unauthorised_are_told(phone: Device, tool: Path, tmp_path: Path) -> None:
    subprocess.run(["adb", "disconnect"], check=True, capture_output=True)
    with pytest.raises(TargetError, match=r"no Android device is connected: plug one in"):
        runner_for(plan_of(tool)).identity(LITERT)
    stranger = Device(tmp_path / "stranger", authorised=False)
    waiting = threading.Thread(target=connect, args=(stranger,))  # adb waits for somebody to touch the screen
    waiting.start()
    waiting.join(15)
    with pytest.raises(TargetError, match=rf"{stranger.serial}: the device has not allowed this computer: unlock it"):
        runner_for(plan_of(tool)).identity(LITERT)
    stranger.vanish()


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("offline", "the device is offline: reconnect it"),
        ("no permissions (user in plugdev group; are your udev rules wrong?)", "no permission to use the USB device"),
        ("recovery", "the device is in state 'recovery', expected a started Android"),
    ],
)
def test_other_states_that_adb_lists_are_told(
    state: str, told: str, tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adb").write_text(f'#!/bin/sh\nprintf "List of devices attached\\nR5CT\\t{state}\\n\\n"\n')
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(TargetError, match=told):
        runner_for(plan_of(tool)).identity(LITERT)


def test_no_adb_is_told(tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match=r"there is no adb program here; Debian: apt-get install adb"):
        runner_for(plan_of(tool)).identity(LITERT)


def test_nothing_of_a_name_reaches_a_shell(phone: Device, tool: Path, tmp_path: Path) -> None:
    phone.environment = environment("litert")
    hostile = tmp_path / "m'; touch flag; echo '$(touch flag) `touch flag`"
    hostile.mkdir()
    shutil.copy(tool, hostile / "t; touch flag")
    file, plan = tflite_model(hostile / "m; touch flag #.tflite"), plan_of(hostile / "t; touch flag")
    found = runner_for(plan).measure(file, LITERT, [FEED], plan, tmp_path)
    assert len(found.samples_ms) == 30
    assert not list(tmp_path.rglob("flag"))
    assert not Path("flag").exists()
