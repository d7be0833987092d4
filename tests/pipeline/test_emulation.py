"""Bundles on emulated cores: what counts as the same, what counts as more instructions, and the commands that say so.

The emulator itself is stood in for, but where a test is marked; then it skips where it is not installed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.emulated import emulation
from pipeline.emulated.emulation import validate_emulated
from pipeline.emulated.outputs import compare
from pipeline.errors import InputError
from pipeline.gating.instructions import compare_counts
from pipeline.store import file_sha256
from targets.emulator.counts import InstructionCounts
from targets.errors import TargetError
from targets.runners.emulated import EmulatedRunner
from targets.runtimes.base import RuntimeOptions, open_model
from tests.targets.test_emulated import CAN_NOT_COUNT
from tests.targets.tiny_models import onnx_model, tflite_model

GOLDEN = np.array([[[0.5, -1.0, 2.0, 1.5]], [[0.0, 3.0, -2.0, 1.0]]], dtype=np.float32)


def counts(total: int, core: str = "cortex-a72", **classes: int) -> InstructionCounts:
    by_class = dict.fromkeys(("vector_multiply_add", "vector", "load", "store", "branch"), 0) | classes
    rest = total - sum(by_class.values())
    return InstructionCounts(core, "litert", "2.3.0", "QEMU 7.2", 7, 0.0, scalar=rest, **by_class)


def scores(*rows: list[float], dtype: str = "float32") -> list[list[np.ndarray]]:
    return [[np.array([row], dtype=dtype)] for row in rows]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of two float32 files with two golden samples; nothing in it but what emulation reads."""
    return make_bundle(tmp_path / "bundle")


def make_bundle(folder: Path) -> Path:
    (folder / "golden").mkdir(parents=True)
    files = {}
    for name, runtime, write in (
        ("model.float32.onnx", "onnxruntime", onnx_model),
        ("model.float32.tflite", "litert", tflite_model),
    ):
        write(folder / name)
        np.save(folder / f"golden/{name}.input0.npy", GOLDEN)
        files[name] = {
            "runtime": {"name": runtime, "threads": 1, "delegate": None},
            "inputs": {"image": f"golden/{name}.input0.npy"},
        }
    (folder / "golden/samples.json").write_text(json.dumps({"files": files}))
    (folder / "report.json").write_text(json.dumps({"files": [{"name": name, "scheme": "float32"} for name in files]}))
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    listed = {name: {"sha256": file_sha256(folder / name)} for name in names}
    (folder / "manifest.json").write_text(json.dumps({"schema": 1, "files": listed}))
    return folder


@pytest.fixture
def host_as_core(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Every core computes what the host does, plus what the test says for a core."""
    wrong: dict[str, float] = {}

    def run(self: EmulatedRunner, file: Path, options: RuntimeOptions, feeds: list) -> list[list[np.ndarray]]:
        model = open_model(file, options)
        return [[output + np.float32(wrong.get(self.core.name, 0)) for output in model.run(feed)] for feed in feeds]

    monkeypatch.setattr(EmulatedRunner, "run", run)
    return wrong


def test_scores_in_8_bits_may_be_one_step_off() -> None:
    host = scores([1, 2, 253], [4, 5, 247], dtype="uint8")
    same = compare("m", "cortex-a53", "int8-static", host, host)
    assert (same.passed, same.identical, same.unit, same.explanation) == (
        True, True, "step", "bit-identical to the host on 2 samples"
    )  # fmt: skip
    near = compare("m", "cortex-a53", "int8-static", scores([1, 2, 253], [4, 6, 247], dtype="uint8"), host)
    assert (near.passed, near.identical, near.largest) == (True, False, 1.0)
    other = compare("m", "cortex-a53", "int8-static", scores([1, 2, 253], [4, 5, 249], dtype="uint8"), host)
    assert (other.passed, other.identical, other.largest) == (False, False, 2.0)
    assert "1 samples are over it; on a cortex-a53" in other.explanation


def test_scores_in_8_bits_that_are_given_in_float_may_be_one_step_off() -> None:
    host = scores([1 / 256, 255 / 256])
    assert compare("m", "a", "int8-static", scores([2 / 256, 254 / 256]), host).passed
    assert not compare("m", "a", "int8-static", scores([3 / 256, 253 / 256]), host).passed


def test_float_scores_of_integers_may_differ_by_float_rounding_alone() -> None:
    """A small score that changed by one part in a thousand is a quantized step, however small the change is."""
    host = scores([1e-6, 0.999999])
    rounded = scores([1e-6 * (1 + 5e-6), 0.999999])
    step = scores([1e-6 * (1 + 1e-3), 0.999999])
    assert compare("m", "a", "int8-static", rounded, host).passed
    assert not compare("m", "a", "int8-static", step, host).passed


def test_float32_is_held_against_the_largest_score_of_its_sample() -> None:
    host = scores([1e-9, 2.0])
    assert compare("m", "a", "float32", scores([1.5e-5, 2.0]), host).passed
    wrong = compare("m", "a", "float32", scores([3e-5, 2.0]), host)
    assert not wrong.passed
    assert wrong.largest == pytest.approx(1.5e-5, rel=1e-3)


def test_no_number_and_another_shape_are_never_the_same() -> None:
    host = scores([0.25, 0.75])
    for scheme in ("float32", "int8-static", "int8-dynamic"):
        for found in (scores([float("nan"), 0.75]), scores([0.25, 0.5, 0.25])):
            assert not compare("m", "a", scheme, found, host).passed


def test_other_schemes_may_differ_as_golden_outputs_may() -> None:
    host = scores([0.25, 0.75])
    assert compare("m", "a", "int8-dynamic", scores([0.26, 0.74]), host).passed
    assert not compare("m", "a", "float16", scores([0.26, 0.74]), host).passed


def test_one_percent_more_instructions_fail() -> None:
    before = counts(100_000_000)
    assert compare_counts("m", counts(101_000_000), before).passed
    more = compare_counts("m", counts(102_000_000, load=1_900_000), before)
    assert (more.passed, more.source, more.unit) == (False, "emulated", "instructions")
    assert more.explanation == (
        "102.000 million instructions on cortex-a72, baseline 100.000 (+2.00%, 1% allowed); most of it load: "
        "+1.900 million"
    )
    assert compare_counts("m", counts(50_000_000), before).passed


def test_every_file_is_checked_on_every_core(bundle: Path, host_as_core: dict[str, float]) -> None:
    host_as_core["cortex-a76"] = 0.001
    results = validate_emulated(bundle, ["rpi4", "cortex-a76", "Cortex-A72"])
    assert [(r.file, r.core, r.passed) for r in results] == [
        ("model.float32.onnx", "cortex-a72", True),
        ("model.float32.onnx", "cortex-a76", False),
        ("model.float32.tflite", "cortex-a72", True),
        ("model.float32.tflite", "cortex-a76", False),
    ]


def test_validate_ends_with_1_where_a_core_computes_otherwise(bundle: Path, host_as_core: dict[str, float]) -> None:
    runner = CliRunner()
    good = runner.invoke(app, ["validate", str(bundle), "--emulate", "rpi4", "--json"])
    assert good.exit_code == 0
    assert [row["core"] for row in json.loads(good.stdout)] == ["cortex-a72", "cortex-a72"]
    host_as_core["cortex-a72"] = 0.5
    bad = runner.invoke(app, ["validate", str(bundle), "--emulate", "rpi4"])
    assert bad.exit_code == 1
    assert "DIFFERENT" in bad.output


def test_files_can_be_chosen_by_name(bundle: Path, host_as_core: dict[str, float]) -> None:
    for where in (["--emulate", "rpi4"], []):
        told = CliRunner().invoke(app, ["validate", str(bundle), "--file", "model.float32.onx", *where])
        assert told.exit_code == 2
        assert "ships model.float32.onnx, model.float32.tflite; name one" in " ".join(told.output.split())
    one = CliRunner().invoke(
        app, ["validate", str(bundle), "--emulate", "rpi4", "--file", "model.float32.tflite", "--json"]
    )
    assert [row["file"] for row in json.loads(one.stdout)] == ["model.float32.tflite"]


def test_a_core_that_fails_is_one_message_and_exit_code_2(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise TargetError("m.onnx: the process emulated on cortex-a72 crashed (SIGSEGV; it said nothing)")

    monkeypatch.setattr(EmulatedRunner, "run", run)
    for arguments, said in (
        (["--emulate", "rpi4"], "crashed (SIGSEGV"),
        (["--emulate", "pixel8"], "Cortex-X3, Cortex-A715, Cortex-A510 can't be emulated"),
        (["--emulate", "cortex-a9"], "unknown target 'cortex-a9'"),
    ):
        told = CliRunner().invoke(app, ["validate", str(bundle), *arguments])
        assert told.exit_code == 2
        assert said in " ".join(told.output.split())


def test_a_changed_bundle_is_not_emulated(bundle: Path, host_as_core: dict[str, float]) -> None:
    (bundle / "model.float32.onnx").write_bytes(b"other")
    with pytest.raises(InputError, match=r"model\.float32\.onnx: changed since"):
        validate_emulated(bundle, ["rpi4"])


def test_instructions_of_both_bundles_are_held_against_each_other(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_bundle(tmp_path / "before")
    monkeypatch.setattr(
        EmulatedRunner, "count",
        lambda self, file, options, feeds: counts(1000 if file.parent == before else 1011, self.core.name),
    )  # fmt: skip
    checks = emulation.instruction_checks(bundle, before, ["rpi4"])
    assert [(check.name, check.file, check.passed) for check in checks] == [
        ("baseline.instructions", "model.float32.onnx", False),
        ("baseline.instructions", "model.float32.tflite", False),
    ]
    assert all(check.passed for check in emulation.instruction_checks(before, bundle, ["rpi4"]))


@pytest.mark.skipif(bool(CAN_NOT_COUNT), reason=CAN_NOT_COUNT)
@pytest.mark.parametrize("where", ["rpi4", "cortex-a72"])
def test_bench_counts_on_the_targets_core_or_on_one_that_is_named(bundle: Path, where: str) -> None:
    told = CliRunner().invoke(
        app, ["bench", str(bundle / "model.float32.tflite"), "--target", where, "--emulate", "--json"]
    )
    assert told.exit_code == 0, told.output
    (found,) = json.loads(told.stdout)
    assert (found["source"], found["core"], found["runtime"]) == ("emulated", "cortex-a72", "litert")
    classes = ("vector_multiply_add", "vector", "load", "store", "scalar", "branch")
    assert found["total"] == sum(found[name] for name in classes) > 0


def test_counting_without_cores_and_gating_without_a_baseline_are_refused(bundle: Path) -> None:
    told = CliRunner().invoke(app, ["bench", str(bundle / "model.float32.tflite"), "--emulate"])
    assert (told.exit_code, "target host names no cores" in told.output) == (2, True)
    told = CliRunner().invoke(app, ["gate", str(bundle), "--emulate", "rpi4"])
    assert (told.exit_code, "give --baseline BUNDLE too" in told.output) == (2, True)
