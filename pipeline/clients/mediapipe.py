"""A bundle's .tflite in MediaPipe Tasks, the library that Android and iOS apps load it with: its labels beside ours."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clients.probe import pixel_probe, token_probe
from pipeline.data.spans import read_texts
from pipeline.errors import InputError
from pipeline.quiet import quiet
from pipeline.results import PreparedData
from targets.errors import TargetError
from targets.profile import Task

Sample = np.ndarray | str  # an image uint8 [height, width, 3], RGB, of any size; or a text


@dataclass(frozen=True)
class ClientAgreement:
    """`agreed` of `samples`: the client's best label has the best of our scores, of which 8-bit outputs may have
    several. `refused`: why the client did not take the file."""

    client: str  # MediaPipe 1.2.2 ImageClassifier
    file: str
    samples: int
    agreed: int
    refused: str | None = None

    @property
    def share(self) -> float | None:
        return None if self.refused is not None else self.agreed / self.samples


def agreement_in_mediapipe(file: Path, task: Task, samples: Sequence[Sample], scores: np.ndarray) -> ClientAgreement:
    """MediaPipe's top-1 labels of `samples` against `scores`, float32 [len(samples), classes]: what edgepress's own
    validation of `file` gave for them (`pipeline.validate.score_file`).

    An image at the model's size goes in as it is; MediaPipe resizes any other by its own means.
    Raises InputError if MediaPipe is not installed.
    """
    client = f"MediaPipe {version()} {_NAMES[task]}"
    if len(samples) != len(scores) or not len(samples):
        raise InputError(f"{file}: {len(samples)} samples and {len(scores)} rows of scores, expected as many, not none")
    try:
        theirs = scores_in_mediapipe(file, task, samples, scores.shape[1])
    except TargetError as error:
        return ClientAgreement(client, file.name, len(samples), 0, str(error))
    best = theirs.argmax(axis=1)
    agreed = scores[np.arange(len(best)), best] == scores.max(axis=1)
    return ClientAgreement(client, file.name, len(samples), int(agreed.sum()))


def client_samples(data: PreparedData, rows: np.ndarray) -> list[Sample]:
    """The samples `rows` as a client takes them: images at the model's size, texts as they were read."""
    if data.task == "image-classification":
        return [np.ascontiguousarray(data.inputs[row]) for row in rows]
    return list(read_texts(data, rows))


def scores_in_mediapipe(file: Path, task: Task, samples: Iterable[Sample], classes: int) -> np.ndarray:
    """float32 [samples, classes] in the order of the model's output; a score that MediaPipe leaves out is 0.

    Raises InputError if MediaPipe is not installed, TargetError if it refuses the file.
    """
    found = []
    with _classifier(file, task) as classify:
        for sample in samples:
            scores = np.zeros(classes, np.float32)
            for entry in classify(sample).classifications[0].categories:
                scores[entry.index] = entry.score
            found.append(scores)
    return np.stack(found)


def token_ids_in_mediapipe(vocabulary: str, texts: Sequence[str], length: int, folder: Path) -> np.ndarray:
    """int64 [texts, length]: the ids, padding included, that MediaPipe makes of `texts` by `vocabulary`, the content of
    a vocab.txt. A file that is needed for it is written into `folder`."""
    file = folder / "tokens.tflite"
    file.write_bytes(token_probe(vocabulary, length))
    return np.rint(scores_in_mediapipe(file, "text-classification", texts, length)).astype(np.int64)


def resized_in_mediapipe(image: np.ndarray, width: int, height: int, folder: Path) -> np.ndarray:
    """float32 [height, width, 3]: what MediaPipe makes of `image`, uint8 [H, W, 3], for a model of that size. A file
    that is needed for it is written into `folder`."""
    file = folder / "pixels.tflite"
    file.write_bytes(pixel_probe(width, height))
    (pixels,) = scores_in_mediapipe(file, "image-classification", [image], width * height * 3)
    return pixels.reshape(height, width, 3)


def version() -> str:
    """MediaPipe's version. Raises InputError if it is not installed."""
    try:
        return metadata.version("mediapipe")
    except metadata.PackageNotFoundError:
        raise InputError("MediaPipe is not installed: pip install mediapipe") from None


_NAMES: dict[Task, str] = {"image-classification": "ImageClassifier", "text-classification": "TextClassifier"}


@contextmanager
def _classifier(file: Path, task: Task) -> Iterator[Any]:
    """The task's classify, of a sample."""
    version()
    try:
        with quiet():
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, text, vision
    except (ImportError, OSError) as error:
        raise InputError(f"MediaPipe can't be loaded: {error}; Debian: apt-get install libegl1 libgles2") from None
    base = BaseOptions(model_asset_path=str(file))
    with quiet():
        try:
            if task == "image-classification":
                opened = vision.ImageClassifier.create_from_options(vision.ImageClassifierOptions(base_options=base))
            else:
                opened = text.TextClassifier.create_from_options(text.TextClassifierOptions(base_options=base))
        except (ValueError, RuntimeError, OSError) as error:  # FileNotFoundError for metadata that is not there
            reason = " ".join(str(error).split())
            raise TargetError(f"{file}: MediaPipe {version()} {_NAMES[task]} refuses it: {reason}") from None
        with opened:
            if task == "image-classification":
                form = mediapipe.ImageFormat.SRGB
                yield lambda pixels: opened.classify(mediapipe.Image(image_format=form, data=pixels))
            else:
                yield opened.classify
