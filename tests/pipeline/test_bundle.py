"""Bundles: whole or not there, proven byte by byte, and able to prove themselves on another machine."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import bundle
from pipeline.bundle import validate_bundle, write_bundle
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.gate import check_bundle, decide
from pipeline.golden import golden_positions
from pipeline.integrity import json_text
from pipeline.report.record import make_report
from pipeline.results import ExportedFile, NetworkResult, PreparedData, RunResult, TargetFile
from pipeline.store import file_sha256
from pipeline.validate import validate
from targets.profile import Budgets, load_profile
from targets.runtimes.base import RuntimeOptions
from tests import releases

ROOMY = Budgets.model_validate({"size_mb": 100, "accuracy": {"max_drop": 90}})


@pytest.fixture
def run(digits: PreparedData, context: RunContext, tmp_path: Path) -> RunResult:
    return releases.real_release(tmp_path / "run", digits, context)


def write(run: RunResult, folder: Path, budgets: Budgets = ROOMY) -> Path:
    profile, recipe = load_profile("pixel8"), releases.recipe(run.data.task)
    report = make_report(run, recipe, profile, budgets)
    return write_bundle(run, recipe, profile, report, decide(report), folder)


def digests(folder: Path) -> dict[str, str]:
    return {f.relative_to(folder).as_posix(): file_sha256(f) for f in sorted(folder.rglob("*")) if f.is_file()}


def content(file: Path) -> Any:
    return json.loads(file.read_text())


def test_a_bundle_holds_what_an_app_needs(run: RunResult, tmp_path: Path, digits: PreparedData) -> None:
    folder = write(run, tmp_path / "out/pixel8")
    names = set(digests(folder))
    assert names >= {
        "model.float32.onnx", "labels.txt", "preprocess.json", "golden/samples.json", "report.json", "report.html",
        "MODEL_CARD.md", "manifest.json",
    }  # fmt: skip
    assert file_sha256(folder / "model.float32.onnx") == run.files[0].export.sha256
    assert (folder / "labels.txt").read_text().splitlines() == list(digits.labels)
    image = content(folder / "preprocess.json")["model.float32.onnx"]["image"]
    assert (image["layout"], image["width"], image["dtype"]) == ("NCHW", 32, "float32")


def test_the_manifest_lists_every_file_and_where_it_came_from(run: RunResult, tmp_path: Path) -> None:
    folder = write(run, tmp_path / "pixel8")
    manifest = content(folder / "manifest.json")
    expected = {name: digest for name, digest in digests(folder).items() if name != "manifest.json"}
    assert {name: entry["sha256"] for name, entry in manifest["files"].items()} == expected
    assert manifest["recipe"]["name"] == "tiny"
    assert manifest["profile"]["id"] == "pixel8"
    assert manifest["versions"]["onnxruntime"] != "absent"
    assert manifest["seeds"] == {"training": 0, "split": 0, "calibration": 0}
    for file in folder.rglob("*.json"):
        assert str(tmp_path) not in file.read_text()
        assert "/home/someone" not in file.read_text()


def test_calibration_is_in_the_manifest_row_by_row(digits: PreparedData, run: RunResult, tmp_path: Path) -> None:
    manifest = releases.calibration(tmp_path, digits)
    file = run.files[0]
    calibrated = replace(file, export=replace(file.export, calibration_manifest=manifest))
    folder = write(replace(run, files=(calibrated,)), tmp_path / "pixel8")
    rows = content(folder / "manifest.json")["calibration"]["model.float32.onnx"]["rows"]
    assert rows == digits.rows("train")[:16].tolist()


def test_golden_samples_are_test_images_of_different_classes(
    run: RunResult, digits: PreparedData, tmp_path: Path
) -> None:
    folder = write(run, tmp_path / "pixel8")
    golden = content(folder / "golden/samples.json")
    samples = golden["samples"]
    assert len({sample["label"] for sample in samples}) == len(samples) == 5
    fed = np.load(folder / golden["files"]["model.float32.onnx"]["inputs"]["image"])
    for index, sample in enumerate(samples):
        assert sample["row"] in digits.rows("test")
        assert sample["label"] == digits.labels[digits.targets[sample["row"]]]
        pixels = np.asarray(Image.open(folder / sample["image"]))
        np.testing.assert_array_equal(pixels.transpose(2, 0, 1)[None], fed[index])
    expected = np.load(folder / golden["files"]["model.float32.onnx"]["outputs"]["scores"])
    judged = run.files[0].accuracy.scores[golden_positions(digits)]
    np.testing.assert_array_equal(expected[:, 0], judged)


def test_the_same_release_gives_the_same_bytes(run: RunResult, tmp_path: Path) -> None:
    assert digests(write(run, tmp_path / "a")) == digests(write(run, tmp_path / "b"))


def test_only_the_files_named_hold_what_the_clock_gave(run: RunResult, tmp_path: Path) -> None:
    def timed(median: float) -> RunResult:
        figures = releases.latency(tmp_path / str(median), median)
        return replace(run, files=(replace(run.files[0], latency=figures),))

    fast, slow = write(timed(1.0), tmp_path / "fast"), write(timed(2.0), tmp_path / "slow")
    manifest = content(fast / "manifest.json")
    first, second = digests(fast), digests(slow)
    changed = {name for name in first if first[name] != second[name]} - {"manifest.json"}
    assert changed == set(manifest["clock_figures"]) == {"report.json", "report.html", "MODEL_CARD.md"}
    untimed = content(write(run, tmp_path / "untimed") / "manifest.json")
    assert untimed["clock_figures"] == []
    same = {manifest["reproducible_sha256"], untimed["reproducible_sha256"]}
    assert same == {content(slow / "manifest.json")["reproducible_sha256"]}


def test_another_model_gives_another_reproducible_digest(run: RunResult, digits: PreparedData, tmp_path: Path) -> None:
    file = run.files[0]
    other = releases.network(tmp_path, digits, "teacher", 3)
    folders = write(run, tmp_path / "a"), write(replace(run, teacher=other, files=(file,)), tmp_path / "b")
    assert len({content(folder / "manifest.json")["reproducible_sha256"] for folder in folders}) == 2


def test_a_bundle_is_replaced_by_a_whole_one(run: RunResult, digits: PreparedData, tmp_path: Path) -> None:
    folder = write(run, tmp_path / "pixel8")
    first = digests(folder)
    write(replace(run, teacher=releases.network(tmp_path, digits, "teacher", 3)), folder)
    assert digests(folder) != first
    assert check_bundle(folder).passed
    assert [path.name for path in tmp_path.glob(".pixel8*")] == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_bundle_stands_until_the_next_one_is_whole(
    run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = write(run, tmp_path / "pixel8")
    first = digests(folder)

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(bundle, "render_html", full)
    with pytest.raises((InputError, KeyboardInterrupt)) as raised:
        write(run, folder)
    if isinstance(error, OSError):
        assert "no space left" in str(raised.value)
    assert digests(folder) == first
    assert [path.name for path in tmp_path.glob(".pixel8*")] == []


def test_a_bundle_put_aside_by_a_killed_run_comes_back(
    run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(run, tmp_path / "pixel8")
    first = digests(folder)
    folder.rename(tmp_path / ".pixel8.old")  # killed between the two renames

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle, "render_html", full)
    with pytest.raises(InputError):
        write(run, folder)
    assert digests(folder) == first


def test_a_place_that_can_not_be_written_is_said(run: RunResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(InputError, match="can't be written"):
        write(run, tmp_path / "file/pixel8")
    with pytest.raises(InputError, match="a file stands where the bundle goes"):
        write(run, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "a file"


def test_a_folder_with_a_users_own_files_is_not_replaced(run: RunResult, tmp_path: Path) -> None:
    mine = tmp_path / "documents"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds thesis\.txt"):
        write(run, mine)
    assert (mine / "thesis.txt").read_text() == "years of work"
    folder = write(run, tmp_path / "pixel8")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt"):
        write(run, folder)
    assert (folder / "notes.txt").exists()


@pytest.mark.parametrize("name", ["model.float32.onnx", "labels.txt", "report.json", "golden/0.png"])
def test_one_changed_byte_is_found_and_the_file_named(run: RunResult, tmp_path: Path, name: str) -> None:
    folder = write(run, tmp_path / "pixel8")
    assert check_bundle(folder).passed
    damaged = bytearray((folder / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / name).write_bytes(damaged)
    for judge in (check_bundle, validate_bundle):
        with pytest.raises(InputError, match=f"{name}: changed since the bundle was written"):
            judge(folder)


def test_a_missing_and_a_foreign_file_are_found(run: RunResult, tmp_path: Path) -> None:
    folder = write(run, tmp_path / "pixel8")
    (folder / "golden/extra.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"golden/extra\.npy: not in the bundle's manifest"):
        check_bundle(folder)
    (folder / "golden/extra.npy").unlink()
    (folder / "labels.txt").unlink()
    with pytest.raises(InputError, match=r"labels\.txt: missing from the bundle"):
        check_bundle(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 9, "files": {}}', '{"schema": 1}'])
def test_a_manifest_that_is_none_is_refused(run: RunResult, tmp_path: Path, text: str) -> None:
    folder = write(run, tmp_path / "pixel8")
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        check_bundle(folder)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        check_bundle(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        validate_bundle(tmp_path)


def test_the_gate_decides_from_the_bundle_as_it_did_in_the_run(run: RunResult, tmp_path: Path) -> None:
    strict = Budgets.model_validate({"accuracy": {"min": 0.999}, "size_mb": 100})
    profile, recipe = load_profile("pixel8"), releases.recipe()
    report = make_report(run, recipe, profile, strict)
    folder = write_bundle(run, recipe, profile, report, decide(report), tmp_path / "pixel8")
    verdict = check_bundle(folder)
    assert verdict == decide(report)
    assert [check.name for check in verdict.missed] == ["accuracy.min"]


def test_a_baseline_bundle_adds_its_regressions(run: RunResult, digits: PreparedData, tmp_path: Path) -> None:
    before = content(write(run, tmp_path / "before") / "report.json")
    assert check_bundle(write(run, tmp_path / "same"), before).passed
    larger = replace(run.files[0], export=replace(run.files[0].export, bytes=2 * run.files[0].export.bytes))
    verdict = check_bundle(write(replace(run, files=(larger,)), tmp_path / "larger"), before)
    assert [check.name for check in verdict.missed] == ["baseline.size"]


def test_a_bundle_proves_itself_on_its_golden_samples(run: RunResult, tmp_path: Path) -> None:
    (result,) = validate_bundle(write(run, tmp_path / "pixel8"))
    assert result.passed
    assert (result.file, result.samples, result.unit) == ("model.float32.onnx", 5, "score")
    assert result.largest <= result.tolerance


def test_a_model_that_computes_otherwise_fails_its_golden_samples(
    run: RunResult, digits: PreparedData, tmp_path: Path
) -> None:
    folder = write(run, tmp_path / "pixel8")
    _, weights, bias = releases.linear_student(tmp_path / "other", digits)
    other = releases.linear_onnx(tmp_path / "other", digits, weights * np.float32(0.9), bias)
    shutil.copyfile(other.file, folder / "model.float32.onnx")
    manifest = content(folder / "manifest.json")
    manifest["files"]["model.float32.onnx"]["sha256"] = other.sha256
    (folder / "manifest.json").write_text(json_text(manifest))
    (result,) = validate_bundle(folder)
    assert not result.passed
    assert result.largest > result.tolerance
    assert "computes otherwise here" in result.explanation


def test_8_bit_inputs_and_outputs_are_stored_as_the_file_takes_them(
    digits: PreparedData, context: RunContext, tmp_path: Path
) -> None:
    run = releases.real_release(tmp_path / "run", digits, context, io8=True)
    name = "model.int8-static-io8.onnx"
    folder = write(run, tmp_path / "pixel8")
    golden = content(folder / "golden/samples.json")["files"][name]
    image = content(folder / "preprocess.json")[name]["image"]
    assert (image["dtype"], image["quantization"]) == ("uint8", {"scale": 1.0, "zero_point": 0})
    (output,) = content(folder / "preprocess.json")[name]["outputs"]
    assert output["quantization"] == {"scale": 1 / 256, "zero_point": 0}
    scores = np.load(folder / golden["outputs"]["scores"])
    assert np.load(folder / golden["inputs"]["image"]).dtype == scores.dtype == np.uint8
    np.testing.assert_allclose(scores[:, 0] / 256, run.files[0].accuracy.scores[golden_positions(digits)], atol=1e-6)
    (result,) = validate_bundle(folder)
    assert (result.passed, result.largest, result.tolerance, result.unit) == (True, 0, 1, "step")


def test_both_formats_of_a_text_student_ship_with_their_tokenizer(
    text_onnx: ExportedFile,
    text_tflite: ExportedFile,
    text_student: NetworkResult,
    reviews: PreparedData,
    session_context: RunContext,
    tmp_path: Path,
) -> None:
    files = []
    for export, runtime in ((text_onnx, "onnxruntime"), (text_tflite, "litert")):
        options = RuntimeOptions(runtime, 2, "cpu")  # type: ignore[arg-type]
        judged = validate(export, reviews, text_student, options, session_context)
        files.append(TargetFile(export, judged, None, shipped=True))
    teacher = releases.network(tmp_path, reviews, "teacher", 1)
    run = RunResult("pixel8", reviews, teacher, 10**8, None, (text_student,), tuple(files))
    folder = write(run, tmp_path / "pixel8")
    assert {"vocab.txt", "tokenizer.json", "tokenizer_config.json"} <= set(digests(folder))
    assert str(tmp_path.parent) not in (folder / "tokenizer_config.json").read_text()
    sample = content(folder / "golden/samples.json")["samples"][0]
    vocabulary = (folder / "vocab.txt").read_text().splitlines()
    assert [vocabulary[piece] for piece in (sample["input_ids"][0], sample["input_ids"][-1])] == ["[CLS]", "[SEP]"]
    assert sample["text"].split()[0][:2].lower() == vocabulary[sample["input_ids"][1]][:2]
    assert [result.passed for result in validate_bundle(folder)] == [True, True]
    assert content(folder / "report.json")["agreements"][0]["value"] == 1.0
