"""Where files and teacher disagree: counted, and shown as pictures or sentences, the furthest apart first."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.disagreements import LETTERS, SHOWN
from pipeline.report.pictures import data_address, png
from pipeline.results import PreparedData, RunResult
from tests import releases
from tests.pipeline.report_pages import page_of, read, report_of, text_of

FILES = ("model.int8-static.onnx", "model.int8-static.tflite")


@pytest.fixture
def run(digits: PreparedData, tmp_path: Path) -> RunResult:
    return releases.release(tmp_path, digits)


def test_disagreements_are_counted_of_every_file_that_ships(run: RunResult) -> None:
    """The teacher makes 2 mistakes, which are among the 8 and the 9 of the files."""
    found = report_of(run)["disagreements"]
    assert found["samples"]["value"] == 60
    assert [(file["name"], file["value"]) for file in found["files"]] == [(FILES[0], 6), (FILES[1], 7)]
    assert len(found["worst"]) == 7
    text = text_of(report_of(run))
    assert "model.int8-static.onnx gives another label than the teacher to 6 of 60 test samples" in text


def test_the_furthest_apart_come_first(run: RunResult, tmp_path: Path) -> None:
    """Total variation, by hand: the first file is sure of its label as the teacher is of another (1), the second
    wavers (0.6)."""
    labels = run.data.targets[run.data.rows("test")]
    sure = np.full((60, 10), -1000.0, np.float32)
    sure[np.arange(60), labels] = 1000.0
    wavering = np.zeros((60, 10), np.float32)
    wavering[np.arange(60), labels] = 1.0
    certain = wavering.copy()
    other = (labels + 1) % 10
    certain[7], wavering[3] = 0, 0
    certain[7, other[7]] = 1
    wavering[3, labels[3]], wavering[3, other[3]] = 0.4, 0.6
    for name, scores in (("teacher", sure), ("certain", certain), ("wavering", wavering)):
        np.save(tmp_path / f"{name}.npy", scores)
    files = [
        replace(file, accuracy=replace(file.accuracy, scores_file=tmp_path / f"{name}.npy"))
        for file, name in zip((run.files[1], run.files[3]), ("certain", "wavering"), strict=True)
    ]
    changed = replace(run, teacher=replace(run.teacher, test_logits_file=tmp_path / "teacher.npy"))
    found = report_of(replace(changed, files=(run.files[0], files[0], run.files[2], files[1])))["disagreements"]
    rows = run.data.rows("test")
    assert [sample["row"] for sample in found["worst"]] == [rows[7], rows[3]]
    assert [sample["distance"] for sample in found["worst"]] == pytest.approx([1, 0.6])
    first = found["worst"][0]
    assert first["label"] == run.data.labels[labels[7]]
    said = {told["model"]: (told["label"], told["confidence"]) for told in first["said"]}
    assert list(said) == ["teacher", "pruned", *FILES]
    assert said["teacher"] == (first["label"], pytest.approx(1))
    assert said[FILES[0]] == (run.data.labels[other[7]], pytest.approx(1))


def test_a_sample_is_shown_as_the_picture_that_it_is(run: RunResult) -> None:
    report = report_of(run)
    first = report["disagreements"]["worst"][0]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(first["png"]))))
    assert (pixels == run.data.inputs[first["row"]]).all()
    assert f'src="data:image/png;base64,{first["png"]}"' in page_of(report)
    assert f"test sample {first['row']}, {first['label']}" in page_of(report)


def test_large_pictures_are_made_small_and_nothing_but_base64_becomes_an_address() -> None:
    large = np.zeros((300, 300, 3), np.uint8)
    assert Image.open(io.BytesIO(base64.b64decode(png(large)))).size == (96, 96)
    assert data_address('AAAA" onload="x') == "data:image/png;base64,AAAAonload=x"


def test_no_more_are_shown_than_can_be_looked_at(digits: PreparedData, tmp_path: Path) -> None:
    found = report_of(releases.release(tmp_path, digits, tflite=40))["disagreements"]
    assert len(found["worst"]) == SHOWN
    distances = [sample["distance"] for sample in found["worst"]]
    assert distances == sorted(distances, reverse=True)


def test_files_that_say_what_the_teacher_says_show_none(digits: PreparedData, tmp_path: Path) -> None:
    run = releases.release(tmp_path, digits, **dict.fromkeys(("student", "pruned", "float32", "onnx", "tflite"), 2))
    report = report_of(run)
    assert report["disagreements"]["worst"] == []
    assert "another label than the teacher to 0 of 60" in text_of(report)
    assert "furthest apart" not in text_of(report)


def test_a_text_is_shown_in_its_own_letters_cut_and_never_run(reviews: PreparedData, tmp_path: Path) -> None:
    long = "<b>bad</b> " * 100
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(long) + "\n" for _ in reviews.targets))
    run = releases.release(tmp_path, replace(reviews, texts_file=tmp_path / "texts.jsonl"), prune=False)
    report = report_of(run)
    first = report["disagreements"]["worst"][0]
    assert first["png"] is None
    assert first["text"] == long[:LETTERS] + "…"
    page = page_of(report)
    assert "<b>bad" not in page
    assert "<b>bad</b>" in read(page).text
