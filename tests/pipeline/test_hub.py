"""Hugging Face data sets, from local folders: what the hub's name would load, without the hub."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.images import read_pixels
from pipeline.data.samples import Source, class_names
from pipeline.data.sources import open_source
from pipeline.errors import InputError
from pipeline.settings.data import DataSettings
from targets.profile import Task

IMAGE: Task = "image-classification"
TEXT: Task = "text-classification"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)


def opened(task: Task, **settings: Any) -> Source:
    return open_source(DataSettings(source="huggingface", **settings), task)


def picture(file: Path, shade: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 20, 3), shade, np.uint8)).save(file)


def stored(folder: Path, **splits: dict[str, list[Any]]) -> Path:
    """A data set as the hub keeps it: Parquet with its features, one file a split."""
    import datasets

    (folder / "data").mkdir(parents=True)
    for split, columns in splits.items():
        features = None
        if "label" in columns and all(isinstance(label, int) for label in columns["label"]):
            kinds = {name: datasets.Value("string") for name in columns}
            if "image" in columns:
                kinds["image"] = datasets.Image()
            features = datasets.Features({**kinds, "label": datasets.ClassLabel(names=["zebra", "ant"])})
        made = datasets.Dataset.from_dict(columns, features=features)
        made.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def png(shade: int) -> dict[str, Any]:
    buffer = BytesIO()
    Image.fromarray(np.full((20, 20, 3), shade, np.uint8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def test_csv_splits_are_train_and_test_and_others_are_not_used(tmp_path: Path) -> None:
    for split, text in (("train", "a,x\nb,y\nc,x\n"), ("test", "d,x\ne,y\n"), ("validation", "f,x\n")):
        (tmp_path / f"{split}.csv").write_text("text,label\n" + text)
    found = opened(TEXT, path=tmp_path).read()
    assert found.train.texts == ["a", "b", "c"]
    assert found.train.labels == ["x", "y", "x"]
    assert found.test is not None
    assert found.test.texts == ["d", "e"]
    assert not found.published  # the user's own files


def test_a_column_groups_texts_and_images(tmp_path: Path) -> None:
    folder = stored(tmp_path / "images", train={"image": [png(9), png(99)], "label": [0, 1], "camera": ["old", None]})
    assert opened(IMAGE, path=folder, group_column="camera").read().train.groups == ["old", "(none)"]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/train.csv").write_text("text,label,year\na,x,1999\nb,y,2001\nc,x,1999\n")
    found = opened(TEXT, path=tmp_path / "texts", group_column="year", where={"label": "x"}).read()
    assert found.train.groups == ["1999", "1999"]
    with pytest.raises(InputError, match=r"no column 'camera'; it has .*data\.group_column"):
        opened(TEXT, path=tmp_path / "texts", group_column="camera")


def test_a_name_may_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,1\nb,2\n")
    found = opened(TEXT, name=str(tmp_path)).read()
    assert found.test is None
    assert class_names(found.train.labels) == ("1", "2")


def test_class_labels_keep_their_names_and_order(tmp_path: Path) -> None:
    folder = stored(tmp_path / "set", train={"text": ["a", "b", "c"], "label": [0, 1, 0]})
    found = opened(TEXT, path=folder).read()
    assert found.names == ("zebra", "ant")
    assert found.train.labels == ["zebra", "ant", "zebra"]


def test_withheld_test_labels_are_no_test_set_and_a_missing_label_is_named(tmp_path: Path) -> None:
    train = {"text": ["a", "b"], "label": [0, 1]}
    withheld = stored(tmp_path / "one", train=train, test={"text": ["c", "d"], "label": [-1, -1]})
    assert opened(TEXT, path=withheld).read().test is None
    part = stored(tmp_path / "two", train=train, test={"text": ["c", "d"], "label": [1, -1]})
    with pytest.raises(InputError, match="test, row 2: no label"):
        opened(TEXT, path=part).read()


def test_images_in_parquet_are_read(tmp_path: Path) -> None:
    folder = stored(
        tmp_path / "set", train={"image": [png(10), png(200), {"bytes": b"broken", "path": None}], "label": [0, 1, 0]}
    )
    found = opened(IMAGE, path=folder).read()
    assert found.train.labels == ["zebra", "ant", "zebra"]
    assert (read_pixels(found.train, 1, 16)[0] == 200).all()
    with pytest.raises(InputError, match="train, row 3: not a readable image"):
        read_pixels(found.train, 2, 16)


def test_a_folder_of_images_is_read_and_its_bytes_are_its_content(tmp_path: Path) -> None:
    for root in ("one", "two"):
        for split in ("train", "test"):
            for label, shade in (("cat", 30), ("dog", 90)):
                picture(tmp_path / root / split / label / "a.png", shade)
    source = opened(IMAGE, path=tmp_path / "one")
    found = source.read()
    assert found.names == ("cat", "dog")
    assert found.test is not None
    assert (read_pixels(found.test, 1, 16)[0] == 90).all()
    assert opened(IMAGE, path=tmp_path / "two").content_sha256 == source.content_sha256
    picture(tmp_path / "two" / "train" / "dog" / "a.png", 91)
    assert opened(IMAGE, path=tmp_path / "two").content_sha256 != source.content_sha256


def test_the_content_hash_is_of_texts_and_labels(tmp_path: Path) -> None:
    base = stored(tmp_path / "one", train={"text": ["a", "b"], "label": [0, 1], "more": ["x", "y"]})
    same = stored(tmp_path / "two", train={"text": ["a", "b"], "label": [0, 1], "more": ["x", "z"]})
    other = stored(tmp_path / "three", train={"text": ["a", "b"], "label": [1, 0], "more": ["x", "y"]})
    hashes = [opened(TEXT, path=folder).content_sha256 for folder in (base, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_where_keeps_rows_of_images_too(tmp_path: Path) -> None:
    columns = {"image": [png(1), png(2), png(3)], "label": [0, 1, 1], "lang": ["en", "fr", "en"]}
    found = opened(IMAGE, path=stored(tmp_path / "set", train=columns), where={"lang": "en"}).read()
    assert found.train.labels == ["zebra", "ant"]
    assert (read_pixels(found.train, 1, 16)[0] == 3).all()
    assert found.train.origin(1).endswith("row 3")


def test_columns_that_are_missing_or_of_another_kind_are_named(tmp_path: Path) -> None:
    folder = stored(tmp_path / "set", train={"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(InputError, match="no column 'review'; it has 'text', 'label'"):
        opened(TEXT, path=folder, text_column="review")
    with pytest.raises(InputError, match=r"column 'text' holds .*expected images"):
        opened(IMAGE, path=folder, image_column="text")
    with pytest.raises(InputError, match=r"column 'label' holds .*expected texts"):
        opened(TEXT, path=folder, text_column="label")


def test_a_name_that_can_not_be_loaded_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"'no-such/data-set': can't be loaded .*be online, or download it first"):
        opened(TEXT, name="no-such/data-set")


def test_a_folder_without_data_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty': can't be loaded .*expected a folder of CSV, Parquet or image files"):
        opened(TEXT, path=tmp_path / "empty")


def test_name_or_path_is_needed_and_not_both(tmp_path: Path) -> None:
    for settings in ({}, {"name": "x", "path": tmp_path}):
        with pytest.raises(InputError, match=r"either 'name' .* or 'path'"):
            opened(TEXT, **settings)
