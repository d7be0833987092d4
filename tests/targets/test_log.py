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
    with pytest.raises(TargetError, match=r"'perfetto' is not known; known: benchmark-model, perf-test"):
        read_log("", "perfetto")
