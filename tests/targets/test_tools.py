"""What the benchmark tools write, of each version that is read, and what is no result of theirs."""

from pathlib import Path

import pytest

from targets.errors import TargetError
from targets.runners import tools
from targets.runtimes.base import RuntimeOptions

# As TensorFlow Lite 2.4 prints it: no prefix, "Peak memory footprint".
OLD = """STARTING!
Num threads: [4]
Graph: [/data/local/tmp/model.tflite]
Initialized session in 0.855ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930

Running benchmark for at least 2 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
count=2 first=32891 curr=33978 min=32891 max=33978 avg=33434.5 std=543

Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, Inference (avg): 33434.5
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE
Peak memory footprint (MB): init=0 overall=12.8672
"""

# As later ones do: a prefix, percentiles, the footprint's growth, and the peak that was looked after.
NEW = """INFO: STARTING!
INFO: Graph: [model.int8-static.tflite]
INFO: Running benchmark for at least 3 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
INFO: count=3 first=9000 curr=5000 min=5000 max=9000 avg=6333.33 std=1885 p5=5000 median=5000 p95=9000
INFO: Running benchmark for at least 2 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
INFO: count=2 curr=4498(all same)
INFO: Inference timings in us: Init: 2500, First inference: 9000, Warmup (avg): 6333.33, Inference (avg): 4498
INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=10
INFO: Overall peak memory footprint (MB) via periodic monitoring: 40
"""

RESULT = "m,0.00512,1048576,98,0\nm,0.00498,2097152,98,1\n"


def test_old_and_new_output_of_benchmark_model_is_read() -> None:
    (old,) = tools.read_benchmark_model(OLD)
    assert old.samples_ms == (32.891, 33.978)
    assert (old.runs, old.model) == (2, "model.tflite")
    assert old.cold_start_ms == pytest.approx(49.915)
    assert old.peak_mem_mb == pytest.approx(12.8672 * 1.048576)
    (new,) = tools.read_benchmark_model(NEW)
    assert new.samples_ms == (4.498, 4.498)
    assert new.cold_start_ms == 11.5
    assert (new.peak_mem_mb, new.process_mem_mb) == pytest.approx((10.48576, 41.94304))


def test_several_calls_in_one_log_are_each_read() -> None:
    found = tools.read_benchmark_model(OLD + NEW)
    assert [one.samples_ms for one in found] == [(32.891, 33.978), (4.498, 4.498)]


def test_runs_that_the_tool_does_not_tell_are_not_made_up() -> None:
    many = OLD.replace("count=2 first", "count=50 first")
    (found,) = tools.read_benchmark_model(many)
    assert (found.runs, found.samples_ms) == (50, ())


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("count=2 first=32891", "count=2 first=99999", "contradict each other"),
        ("avg=33434.5 std=543", "avg=99999 std=543", "contradict each other"),
        ("curr=33978 min", "min", "statistics without curr"),
        ("Inference (avg): 33434.5", "Inference (avg): 1", "two averages"),
        ("First inference: 49060", "First inference: 1", "two first inferences"),
        ("count=2 first=32891 curr=33978 min=32891 max=33978 avg=33434.5 std=543", "Killed", "no line of statistics"),
        ("min=32891 max=33978 avg=33434.5", "min=-5 max=33978 avg=33434.5", "statistics without min"),
        (OLD[OLD.index("Running") :], "Segmentation fault", "no pair of"),
    ],
)
def test_nonsense_of_benchmark_model_is_refused(right: str, wrong: str, told: str) -> None:
    assert right in OLD
    with pytest.raises(ValueError, match=told):
        tools.read_benchmark_model(OLD.replace(right, wrong))


def test_the_result_file_of_perf_test_is_read_with_and_without_statistics() -> None:
    for text in (RESULT, f"{RESULT}\nMin Latency: 0.00498 s\nP50 Latency: 0.00512 s\n"):
        found = tools.read_perf_test_results(text)
        assert found.samples_ms == pytest.approx((5.12, 4.98))
        assert found.process_mem_mb == pytest.approx(2.097152)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no inference"),
        ("m,0.005,1,98\n", "expected model,seconds,bytes,percent,number"),
        ("m,fast,1,98,0\n", "expected model,seconds"),
        ("m,0,1,98,0\n", "an inference of 0 seconds"),
        (RESULT + RESULT, "inference 2 is missing, found 0: was the file written twice"),
    ],
)
def test_nonsense_of_perf_test_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        tools.read_perf_test_results(text)


def test_the_cold_start_of_perf_test_is_told_by_versions_that_print_it() -> None:
    printed = "Session creation time cost: 0.0125 s\nFirst inference time cost: 7 ms\n"
    assert tools.perf_test_cold_start(printed) == pytest.approx(19.5)
    assert tools.perf_test_cold_start("Total time cost:58.8053\n") is None


def test_threads_and_delegates_reach_the_tools_and_unknown_ones_are_refused() -> None:
    call = tools.benchmark_model_arguments("m", RuntimeOptions("litert", 3, "gpu"), [("1,4", "a"), ("1", "b")], 0, 2)
    assert {"--num_threads=3", "--use_gpu=true", "--warmup_runs=1", "--input_layer_shape=1,4:1"} <= set(call)
    assert "--input_layer_value_files=input0:a,input1:b" in call
    assert tools.perf_test_arguments("m", RuntimeOptions("onnxruntime", 3, "xnnpack"), 7, "r") == [
        "-e", "xnnpack", "-m", "times", "-r", "7", "-x", "3", "-y", "1", "-o", "99", "m", "r",
    ]  # fmt: skip
    with pytest.raises(TargetError, match=r"delegate 'edgetpu': benchmark_model can't be told .*xnnpack, gpu"):
        tools.benchmark_model_arguments("m", RuntimeOptions("litert", 1, "edgetpu"), [], 0, 2)


@pytest.mark.parametrize(("machine", "abi"), [(183, "arm64-v8a"), (40, "armeabi-v7a"), (62, "x86_64"), (3, "x86")])
def test_the_abi_of_a_program_is_told_by_its_header(machine: int, abi: str, tmp_path: Path) -> None:
    head = b"\x7fELF\x02\x01" + bytes(10) + (3).to_bytes(2, "little") + machine.to_bytes(2, "little")
    (tmp_path / "tool").write_bytes(head)
    assert tools.program_abi(tmp_path / "tool") == abi
