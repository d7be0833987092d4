"""Logs from elsewhere, each form as its tool writes it."""

import json

import pytest

from targets.errors import TargetError
from targets.runners.log import FORMATS, read_log
from tests.targets.test_tools import NEW, OLD, RESULT


def test_a_log_of_benchmark_model_tells_its_model_and_threads() -> None:
    found = read_log(OLD + OLD, "benchmark-model")
    assert found.samples_ms == (32.891, 33.978, 32.891, 33.978)
    assert (found.model, found.threads) == ("model.tflite", 4)
    assert found.cold_start_ms == pytest.approx(49.915)


def test_a_summary_of_runs_is_refused_with_the_way_to_tell_each() -> None:
    with pytest.raises(TargetError, match=r"0 of 50 inferences.*--num_runs=2 --min_secs=0"):
        read_log(OLD.replace("count=2 first", "count=50 first"), "benchmark-model")


def test_a_log_of_two_models_is_refused() -> None:
    with pytest.raises(TargetError, match="several models"):
        read_log(OLD + NEW, "benchmark-model")


def test_result_files_and_verbose_output_of_perf_test_are_read() -> None:
    assert read_log(RESULT, "perf-test").samples_ms == pytest.approx((5.12, 4.98))
    printed = (
        "Setting intra_op_num_threads to 2\niteration:1,time_cost:0.005\niteration:2,time_cost:0.0061\n"
        "Session creation time cost: 0.01 s\nFirst inference time cost: 8 ms\n"
    )
    found = read_log(printed, "perf-test")
    assert found.samples_ms == pytest.approx((5.0, 6.1))
    assert (found.threads, found.cold_start_ms) == (2, pytest.approx(18))


def test_lines_of_an_app_are_picked_out_of_logcat() -> None:
    text = (
        "11-22 10:00:00.001  1234  1240 I ActivityManager: latency_us=1\n"
        "11-22 10:00:00.002  1234  1240 I edgepress: model=m.tflite sha256=AB12 threads=2 cold_start_us=25000\n"
        "11-22 10:00:00.003  1234  1240 I edgepress: latency_us=4512\n"
        "I/edgepress( 1234): latency_us=4400\n"
    )
    found = read_log(text, "logcat")
    assert found.samples_ms == (4.512, 4.4)
    assert (found.model, found.sha256, found.threads, found.cold_start_ms) == ("m.tflite", "AB12", 2, 25.0)
    with pytest.raises(TargetError, match=r"several values of threads: 2, 4"):
        read_log(text + "I/edgepress( 1234): threads=4\n", "logcat")


REAL = """\
07-14 13:23:08.133 25289 25289 I tflite  : Log parameter values verbosely: [0]
07-14 13:23:08.133 25289 25289 I tflite  : Min num runs: [2]
07-14 13:23:08.133 25289 25289 I tflite  : Num threads: [4]
07-14 13:23:08.133 25289 25289 I tflite  : Graph: [/data/local/tmp/model.tflite]
07-14 13:23:08.148 25289 25289 I ActivityManager: count=9 first=1 curr=1 min=1 max=1 avg=1 std=0
07-14 13:23:08.229 25289 25289 I tflite  : Initialized session in 95.112ms.
07-14 13:23:08.257 25289 25289 I tflite  : Running benchmark for at least 1 iterations and at least 0.5 seconds but \
terminate if exceeding 150 seconds.
07-14 13:23:08.980 25289 25289 I tflite  : count=3 first=237814 curr=236852 min=236852 max=242195 avg=238954 std=2325 \
p5=236852 median=237814 p95=242195
07-14 13:23:08.980 25289 25289 I tflite  : Running benchmark for at least 2 iterations and at least 0 seconds but \
terminate if exceeding 150 seconds.
07-14 13:23:09.443 25289 25289 I tflite  : count=2 first=243180 curr=227146 min=227146 max=243180 avg=235163 std=8017 \
p5=227146 median=243180 p95=243180
07-14 13:23:09.443 25289 25289 I tflite  : Inference timings in us: Init: 95112, First inference: 237814, Warmup (avg):\
 238954, Inference (avg): 235163
07-14 13:23:09.443 25289 25289 I tflite  : Memory footprint delta from the start of the tool (MB): init=65.4141 \
overall=90.25
"""


def test_benchmark_model_as_an_app_is_read_from_logcat_process_by_process() -> None:
    """Two runs whose lines lie between each other's, and those of others."""
    other = REAL.replace("25289 25289", "25311 25311").splitlines(keepends=True)
    mixed = "".join(line for pair in zip(REAL.splitlines(keepends=True), other, strict=True) for line in pair)
    found = read_log(mixed, "logcat")
    assert found.samples_ms == (243.18, 227.146, 243.18, 227.146)
    assert (found.model, found.threads, found.cold_start_ms) == ("model.tflite", 4, pytest.approx(332.926))
    assert read_log(REAL.replace("\n", "\r\n"), "logcat").samples_ms == (243.18, 227.146)
    with pytest.raises(TargetError, match=r"0 of 25 inferences.*--num_runs=2 --min_secs=0"):
        read_log(REAL.replace("count=2 first", "count=25 first"), "logcat")


@pytest.mark.parametrize(
    "line",
    [
        "11-22 10:00:00.003  1234  1240 I edgepress: latency_us=4512",
        "11-22 10:00:00.003 I/edgepress( 1234): latency_us=4512",
        "I/edgepress( 1234): latency_us=4512",
        "I/edgepress: latency_us=4512",
        "I edgepress: latency_us=4512",
    ],
)
def test_an_apps_line_is_read_in_each_of_logcats_forms(line: str) -> None:
    assert read_log(line + "\n", "logcat").samples_ms == (4.512,)


SYSTRACE = """\
# tracer: nop
     render-thr-21 (  20) [000] .... 34579.000100: tracing_mark_write: B|20|draw
      tflite-11 (  10) [001] ...1 34579.001000: tracing_mark_write: B|10|invoke@-1/-1
      tflite-11 (  10) [001] .... 34579.001200: tracing_mark_write: B|10|FULLY_CONNECTED@0/0
     render-thr-21 (  20) [000] .... 34579.001300: tracing_mark_write: E|20
      tflite-11 (  10) [001] .... 34579.004000: tracing_mark_write: E|10|
      tflite-11 (-----) [001] .... 34579.005512: tracing_mark_write: E
      tflite-11 (  10) [002] .... 34579.006000: tracing_mark_write: B|10|invoke@-1/-1
      tflite-11 (  10) [002] .... 34579.006100: sched_switch: prev_comm=tflite
      tflite-11 (  10) [002] .... 34579.010400: tracing_mark_write: E|10
      tflite-11 (  10) [002] .... 34579.010500: tracing_mark_write: E|10
      tflite-11 (  10) [002] .... 34579.011000: tracing_mark_write: B|10|invoke@-1/-1
"""


def test_inferences_are_picked_out_of_a_system_trace_thread_by_thread() -> None:
    """The last one had not ended when the recording did; a section that began before it is none either."""
    assert read_log(SYSTRACE, "perfetto").samples_ms == pytest.approx((4.512, 4.4))


def test_sections_of_an_app_go_before_those_inside_them_and_tell_the_model() -> None:
    own = SYSTRACE.replace("B|20|draw", "B|20|edgepress model=m.tflite threads=2")
    found = read_log(own, "perfetto")
    assert found.samples_ms == pytest.approx((1.2,))
    assert (found.model, found.threads) == ("m.tflite", 2)


def test_the_answer_of_trace_processor_is_read_in_nanoseconds() -> None:
    table = '"ts","dur","name"\n10852771242000,4512000,"invoke@-1/0"\n10852781242000,-1,"invoke@-1/0"\n1,3,"draw"\n'
    assert read_log(table, "perfetto").samples_ms == (4.512,)


def test_a_trace_without_an_inference_and_a_recording_itself_are_told() -> None:
    with pytest.raises(TargetError, match=r"no section named edgepress .* among 4: set debug\.tflite\.trace"):
        read_log(SYSTRACE.replace("invoke@", "input@"), "perfetto")
    with pytest.raises(TargetError, match=r"a recording itself is binary: .*`traceconv systrace`"):
        read_log("\nO\x12\x00\x01", "perfetto")


def test_the_profile_of_ai_hub_is_read_run_by_run() -> None:
    summary = {
        "all_inference_times": [10003, 4205],
        "warm_load_time": 277823,
        "estimated_inference_peak_memory": 166711296,
    }
    found = read_log(json.dumps({"execution_summary": summary}), "ai-hub")
    assert found.samples_ms == (10.003, 4.205)
    assert found.cold_start_ms == pytest.approx(287.826)
    assert found.peak_mem_mb == pytest.approx(166.711296)


def test_columns_in_either_unit_are_read() -> None:
    assert read_log("run,latency_ms\n0,4.5\n1,4.25\n", "csv").samples_ms == (4.5, 4.25)
    assert read_log("latency_us\n4500\n", "csv").samples_ms == (4.5,)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "text", ["", "everything is fine\n", "{}", "latency_ms\n", "latency_ms\nnan\n", "latency_ms\n0\n"]
)
def test_what_is_no_log_is_told_in_one_line(form: str, text: str) -> None:
    with pytest.raises(TargetError, match=f"not a log of the form {form}") as told:
        read_log(text, form)
    assert "\n" not in str(told.value)


def test_an_unknown_form_is_told() -> None:
    with pytest.raises(TargetError, match=r"'systrace' is not known; known: benchmark-model, perf-test"):
        read_log("", "systrace")
