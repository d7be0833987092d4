from dataclasses import replace
from pathlib import Path

import pytest

from calibration.errors import CalibrationError
from calibration.manifest import CalibrationManifest, read_manifest, write_manifest

MANIFEST = CalibrationManifest(
    method="minimum and maximum of each activation (minmax)", asked=3, seed=0, rows=(7, 2, 5),
    samples_by_label={"cat": 2, "dög": 1}, samples_sha256="a" * 64, data_sha256="b" * 64, model_sha256="c" * 64,
)  # fmt: skip


def test_a_manifest_reads_back_as_written_and_is_written_alike(tmp_path: Path) -> None:
    first, second = write_manifest(MANIFEST, tmp_path / "a.json"), write_manifest(MANIFEST, tmp_path / "b.json")
    assert read_manifest(first) == MANIFEST
    assert first.read_bytes() == second.read_bytes()


def test_notes_say_the_method_and_what_was_short() -> None:
    assert MANIFEST.notes == (
        "calibrated on 3 training samples, stratified by class: minimum and maximum of each activation (minmax)",
    )
    short = replace(MANIFEST, asked=100, samples_by_label={"cat": 3, "dög": 0})
    assert "asked for 100 samples and took all 3" in short.notes[1]
    assert "no sample of 1 of 2 classes" in short.notes[2]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}', '{"schema": 1, "rows": [1]}'])
def test_a_file_that_is_no_manifest_is_told_by_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(content)
    with pytest.raises(CalibrationError, match=r"calibration\.json"):
        read_manifest(file)


def test_a_missing_manifest_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"gone\.json"):
        read_manifest(tmp_path / "gone.json")
