"""What a device of the tests runs in place of the benchmark tools: a program that checks its arguments as they do, and
tells made-up times in their form: 4000, 4001, 4002 ... microseconds, or from 5000 on. Standard library alone."""

import argparse
import os
import sys
from pathlib import Path


def benchmark_model(given: list[str], state: Path) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("graph", "input_layer", "input_layer_shape", "input_layer_value_files", "use_xnnpack", "use_gpu"):
        parser.add_argument(f"--{name}")
    for name in ("num_threads", "warmup_runs", "num_runs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("min_secs", "warmup_min_secs"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--report_peak_memory_footprint")
    parser.add_argument("--output_filepath")
    asked = parser.parse_args(given)
    assert asked.min_secs == asked.warmup_min_secs == 0
    assert Path(asked.graph).read_bytes()[4:8] == b"TFL3"
    for entry, shape in zip(asked.input_layer_value_files.split(","), asked.input_layer_shape.split(":"), strict=True):
        size = 4
        for length in shape.split(","):
            size *= int(length)
        assert Path(entry.split(":")[1]).stat().st_size == size
    if asked.output_filepath:
        Path(asked.output_filepath).write_bytes(Path(asked.input_layer_value_files.split(":")[1]).read_bytes()[:12])
    made = int(state.read_text()) if state.exists() else 0
    times = [4000 + made + run for run in range(asked.num_runs)]
    if not asked.report_peak_memory_footprint:
        state.write_text(str(made + asked.num_runs))
    print(f"INFO: STARTING!\nINFO: Graph: [{asked.graph}]\nINFO: Initialized session in 2.5ms.")
    print(f"INFO: Running benchmark for at least {asked.warmup_runs} iterations and at least 0 seconds but terminate")
    print(f"INFO: count={asked.warmup_runs} first=9000 curr=5000 min=5000 max=9000 avg=6000 std=5\n")
    print(f"INFO: Running benchmark for at least {asked.num_runs} iterations and at least 0 seconds but terminate")
    mean = sum(times) / len(times)
    if len(set(times)) == 1:
        print(f"INFO: count={len(times)} curr={times[-1]}{'(all same)' if len(times) > 1 else ''}\n")
    else:
        print(
            f"INFO: count={len(times)} first={times[0]} curr={times[-1]} min={min(times)} max={max(times)} "
            f"avg={mean:g} std=1 p5={times[0]} median={times[-1]} p95={times[-1]}\n"
        )
    first = "Init: 2500, First inference: 9000, Warmup (avg): 6000"
    print(f"INFO: Inference timings in us: {first}, Inference (avg): {mean:g}")
    print("INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=10")
    if asked.report_peak_memory_footprint:
        print("INFO: Overall peak memory footprint (MB) via periodic monitoring: 40")


def perf_test(given: list[str], state: Path) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in "emrxyo":
        parser.add_argument(f"-{name}", required=True)
    parser.add_argument("model")
    parser.add_argument("result")
    asked = parser.parse_args(given)
    assert asked.m == "times"
    assert list(Path.cwd().glob("test_data_set_*/input_0.pb"))
    made = int(state.read_text()) if state.exists() else 0
    runs = int(asked.r)
    state.write_text(str(made + runs))
    with Path(asked.result).open("a") as stream:
        for run in range(runs):
            stream.write(f"{Path.cwd().name},{(5000 + made + run) / 1e6:g},50331648,98,{run}\n")
    print("Session creation time cost: 0.0125 s\nFirst inference time cost: 7 ms\nTotal inference time cost: 1 s")


if __name__ == "__main__":
    if os.environ.get("TOOL_TELLS_NONSENSE"):
        print("Segfault? No: everything is fine. count=banana")
        sys.exit(0)
    counted = Path(os.environ["DEVICE"]) / "made"
    (benchmark_model if os.environ["TOOL_IS"] == "litert" else perf_test)(sys.argv[1:], counted)
