"""What a delegate's table leaves out of a file, held against the delegate itself where this host has it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.coverage import coverage
from pipeline.delegates import BEHIND, UNKNOWN, known_uncovered, uncovered
from pipeline.gating.operator_budget import operator_checks
from pipeline.student import STUDENTS
from targets.delegates.tables import DelegateTable, delegate_table
from targets.errors import TargetError
from targets.profile import Runtime, load_profile
from targets.runtimes.base import RuntimeOptions
from tests.pipeline.operator_models import onnx_chain, tflite_chain

FC, SWISH, TURN = "FULLY_CONNECTED", "HARD_SWISH", "TRANSPOSE"


def table(runtime: str, delegate: str) -> DelegateTable:
    found = delegate_table(runtime, delegate)
    assert found is not None
    return found


def made_up(**row: Any) -> DelegateTable:
    """A table that takes fully-connected as `row` says."""
    source = {"where": "a manual", "version": "1", "date": "2026-01-01"}
    inner = row.pop("inner_dimensions", None)
    return DelegateTable.model_validate(
        {
            "delegate": "npu", "runtime": "litert", "name": "NPU", "sources": {"page": source},
            "inner_dimensions": inner, "operators": [{"kinds": ["fully-connected"], "source": "page", **row}],
        }
    )  # fmt: skip


@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize("kinds", [(FC, FC), (FC, SWISH, FC), (SWISH, FC), (FC, TURN, SWISH), (SWISH, SWISH)])
def test_the_table_of_xnnpack_says_what_xnnpack_does(tmp_path: Path, kinds: tuple[str, ...], quantized: bool) -> None:
    file = tflite_chain(tmp_path / "model.tflite", *kinds, quantized=quantized)
    seen = coverage(file, RuntimeOptions("litert"), "int8-static" if quantized else "float32")
    found = uncovered(file, table("litert", "xnnpack"))
    assert {kind.kind: kind.count for kind in found.not_taken} == seen.left_out
    assert (found.pieces, found.operators, found.outside) == (seen.pieces, len(kinds), sum(seen.left_out.values()))


def test_what_is_not_taken_is_told_by_kind_dtype_and_reason(tmp_path: Path) -> None:
    file = tflite_chain(tmp_path / "model.tflite", FC, SWISH, FC, SWISH)
    (left,) = uncovered(file, table("litert", "xnnpack")).not_taken
    assert (left.kind, left.dtype, left.count, left.reason) == ("hard-swish", "int8", 2, "takes float32 or float16")


def test_the_edge_tpu_takes_the_first_piece_alone(tmp_path: Path) -> None:
    file = tflite_chain(tmp_path / "model.tflite", FC, FC, SWISH, FC)
    found = uncovered(file, table("litert", "edgetpu"))
    reasons = {(kind.kind, kind.reason): kind.count for kind in found.not_taken}
    assert reasons == {("hard-swish", UNKNOWN): 1, ("fully-connected", BEHIND): 1}
    assert (found.pieces, found.outside, found.share) == (1, 2, 0.5)
    assert not found.complete


def test_the_edge_tpu_takes_nothing_of_a_float_file(tmp_path: Path) -> None:
    found = uncovered(tflite_chain(tmp_path / "m.tflite", FC, FC, quantized=False), table("litert", "edgetpu"))
    assert (found.pieces, found.share) == (0, 0.0)
    assert [(kind.dtype, kind.reason) for kind in found.not_taken] == [("float32", "takes int8 or uint8")]


def test_the_gpu_takes_8_bits_and_float(tmp_path: Path) -> None:
    for quantized in (True, False):
        file = tflite_chain(tmp_path / "model.tflite", FC, SWISH, TURN, quantized=quantized)
        assert uncovered(file, table("litert", "gpu")).outside == 0


def test_core_ml_leaves_the_conversions_of_8_bits_out_and_the_graph_in_pieces(tmp_path: Path) -> None:
    file = onnx_chain(tmp_path / "model.onnx", "MatMul", "Relu")
    found = uncovered(file, table("onnxruntime", "coreml"))
    # 3 pairs of conversions around 2 operators; those of the weights are computed once
    assert {kind.kind: kind.count for kind in found.not_taken} == {"quantize-linear": 3, "dequantize-linear": 3}
    assert (found.operators, found.pieces) == (9, 3)  # mat-mul, relu and the identity at the end, each alone


def test_qnn_reads_groups_between_conversions_as_8_bits(tmp_path: Path) -> None:
    eight = uncovered(onnx_chain(tmp_path / "a.onnx", "MatMul", "Relu"), table("onnxruntime", "qnn"))
    assert {kind.kind for kind in eight.not_taken} == {"identity"}
    real = uncovered(onnx_chain(tmp_path / "b.onnx", "MatMul", quantized=False), table("onnxruntime", "qnn"))
    assert ("mat-mul", "float32", "takes uint8 or uint16") in {(k.kind, k.dtype, k.reason) for k in real.not_taken}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"rank": {"min": 4, "max": 4}}, "takes 4 dimensions, this has 2"),
        ({"rank": {"max": 1}}, "takes at most 1 dimensions, this has 2"),
        ({"elements": {"max": 15}}, "takes at most 15 elements, this has 16"),
        ({"inputs": {"min": 3}}, "takes 3 or more inputs, this has 2"),
        ({"weights": ["int4"]}, "takes weights of int4, these are int8"),
        ({"constant": [0]}, "takes no computed tensor as input 0"),
        ({"inner_dimensions": 1}, "takes tensors of which the last 1 dimensions alone are longer than 1"),
        ({"rank": {"min": 2, "max": 2}, "elements": {"max": 16}, "weights": ["int8"], "constant": [1]}, None),
        ({"dtypes": "any"}, None),
    ],
)
def test_constraints_of_a_row_are_checked(tmp_path: Path, row: dict[str, Any], reason: str | None) -> None:
    found = uncovered(tflite_chain(tmp_path / "model.tflite", FC), made_up(**row))
    assert [kind.reason for kind in found.not_taken] == ([reason] if reason else [])


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(TargetError, match="not a TFLite model"):
        uncovered(file, table("litert", "gpu"))


def test_a_plan_tells_what_a_family_has_that_the_delegate_does_not_take() -> None:
    coral = Runtime(name="litert", delegate="edgetpu")
    told = known_uncovered(STUDENTS["mobilenetv3_small"], coral, "int8-static")
    assert told is not None
    assert "mobilenetv3_small has hard-swish, which Edge TPU (compiler) does not take in int8" in told
    assert known_uncovered(STUDENTS["mobilenetv2"], coral, "int8-static") is None
    core_ml = Runtime(name="onnxruntime", delegate="coreml")
    assert "has hard-swish, which" in (known_uncovered(STUDENTS["mobilenetv3_small"], core_ml, "float16") or "")
    xnnpack = Runtime(name="litert", delegate="xnnpack")
    assert known_uncovered(STUDENTS["mobilenetv3_small"], xnnpack, "int8-static") is None  # the host tells
    nnapi = Runtime(name="onnxruntime", delegate="nnapi")
    assert "deprecated" in (known_uncovered(STUDENTS["mobilenetv2"], nnapi, "float32") or "")
    unknown = Runtime(name="litert", delegate="hexagon")
    assert "no table" in (known_uncovered(STUDENTS["mobilenetv2"], unknown, "float32") or "")


def figure(value: float, source: str) -> dict[str, Any]:
    return {"value": value, "unit": "operators", "source": source}


def reported(told_by: str, left_out: int, not_taken: int, allow: bool = False) -> dict[str, Any]:
    """A file of a report, as far as the check of fall-back reads it."""
    device = {
        "delegate": "NPU", "complete": False, "count": figure(22, "counted"), "covered": figure(0.9, "counted"),
        "not_taken": [{"kind": "gelu", "dtype": "float32", "count": not_taken, "reason": "-"}] if not_taken else [],
    }  # fmt: skip
    operators = {
        "delegate": "XNNPACK", "count": figure(20, "host"), "covered": figure(0.9, "host"), "device": device,
        "left_out": [{"kind": "hard-swish", "count": left_out}] if left_out else [], "in_float": [], "pieces": 3,
        "wanted": {"min_delegated": None, "max_transposes": None, "allow_fallback": allow, "fallback_told_by": told_by},
    }  # fmt: skip
    return {"name": "model.int8-static.tflite", "scheme": "int8-static", "operators": operators}


def test_fallback_is_judged_by_the_host_where_it_has_the_delegate() -> None:
    (check,) = operator_checks(reported("host", left_out=2, not_taken=0), reported("host", 0, 0))
    assert (check.name, check.value, check.limit, check.passed) == ("runtimes.allow_fallback", 2, 0, False)
    assert (check.source, check.stage) == ("host", "quantize")
    assert "2 of 20 operators run outside XNNPACK, as found on this host: 2 hard-swish" in check.explanation
    (check,) = operator_checks(reported("host", left_out=0, not_taken=5), None)
    assert check.passed


def test_fallback_is_judged_by_the_table_elsewhere() -> None:
    (check,) = operator_checks(reported("table", left_out=0, not_taken=3), reported("table", 0, 3))
    assert (check.value, check.passed, check.source, check.stage) == (3, False, "counted", "export")
    assert "outside NPU, by the table of what it takes: 3 gelu (float32)" in check.explanation
    assert "the table is not complete" in check.explanation
    (check,) = operator_checks(reported("table", left_out=2, not_taken=0), None)
    assert check.passed


def test_fallback_that_is_allowed_is_not_judged_and_one_that_nothing_tells_is_undecided() -> None:
    assert operator_checks(reported("host", 2, 2, allow=True), None) == []
    file = reported("table", 0, 0)
    file["operators"]["device"] = None
    (check,) = operator_checks(file, None)
    assert check.passed is None


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_prints_what_is_not_taken_and_the_sources(tmp_path: Path) -> None:
    file = tflite_chain(tmp_path / "model.tflite", FC, SWISH, FC)
    done = run("targets", "check", file, "--target", "coral_dev")
    assert done.exit_code == 0
    for words in ("hard-swish", "takes all but 2 of 3 operators, in 1 piece(s)", "source: developer.axis.com"):
        assert words in done.stdout
    answer = json.loads(run("targets", "check", file, "--delegate", "gpu", "--json").stdout)
    assert (answer["operators"], answer["not_taken"], answer["kinds"]) == (3, 0, [])


def test_a_table_of_ones_own_is_held_against_a_file(tmp_path: Path) -> None:
    own = tmp_path / "npu-litert.yaml"
    own.write_text(yaml.safe_dump(made_up(dtypes=["int8"]).model_dump(mode="json", exclude_unset=True)))
    file = tflite_chain(tmp_path / "model.tflite", FC, SWISH)
    answer = json.loads(run("targets", "check", file, "--delegate", own, "--json").stdout)
    assert [(kind["kind"], kind["reason"]) for kind in answer["kinds"]] == [("hard-swish", UNKNOWN)]
    other = run("targets", "check", onnx_chain(tmp_path / "model.onnx", "Relu"), "--delegate", own)
    assert other.exit_code == 2
    assert "a table for litert, model.onnx is run by onnxruntime" in other.output


def test_the_command_fails_where_the_profile_allows_no_fallback(tmp_path: Path) -> None:
    content = load_profile("coral_dev").model_dump(mode="json", by_alias=True)
    content["runtimes"][0]["allow_fallback"] = False
    profile = tmp_path / "coral_dev.yaml"
    profile.write_text(yaml.safe_dump(content), encoding="utf-8")
    whole, cut = (tflite_chain(tmp_path / f"{n}.tflite", *kinds) for n, kinds in (("a", (FC,)), ("b", (FC, SWISH))))
    assert run("targets", "check", whole, "-t", profile).exit_code == 0
    assert run("targets", "check", cut, "-t", profile).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a --target, or a --delegate"),
        (("--target", "pixel8"), "no table of what onnxruntime's delegate 'cpu' takes"),
        (("--target", "coral_dev"), "has no runtime for .onnx files"),
        (("--delegate", "gpu"), "onnxruntime has tables of coreml, nnapi, qnn"),
    ],
)
def test_what_cannot_be_checked_is_one_message(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("targets", "check", onnx_chain(tmp_path / "model.onnx", "Relu", quantized=False), *arguments)
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output
