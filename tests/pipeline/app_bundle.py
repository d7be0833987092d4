"""The part of a bundle from which its examples are made, without a model: records and golden inputs."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from pipeline.app.write import write_app
from pipeline.bundle import _output
from pipeline.feeds import feeds, preprocess_settings
from pipeline.golden import write_samples
from pipeline.integrity import MANIFEST, bundle_files, json_text
from pipeline.results import PreparedData
from pipeline.store import file_sha256
from targets.runtimes.base import TensorSpec

RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}


def text_specs(length: int, dtype: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, (1, length), dtype) for name in ("input_ids", "attention_mask", "token_type_ids"))


def ids_of(folder: Path, texts: list[str], length: int) -> list[list[int]]:
    """The ids that the tokenizer of the bundle in `folder` gives to `texts`, cut to `length`, not padded."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=length)
    return [tokenizer.encode(text).ids for text in texts]


def app_bundle(
    folder: Path,
    data: PreparedData,
    files: dict[str, Sequence[TensorSpec]],
    *,
    delegate: str = "xnnpack",
    scores: TensorSpec | None = None,
    samples: int = 3,
) -> Path:
    """A bundle of `files`, the inputs of each by its name, with examples; the model files themselves are not there."""
    (folder / "golden").mkdir(parents=True)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in data.labels), encoding="utf-8")
    for part in data.tokenizer_folder.iterdir() if data.tokenizer_folder else ():
        shutil.copyfile(part, folder / part.name)
    positions = np.arange(samples)
    rows = data.rows("test")[positions]
    golden = {"schema": 1, "samples": write_samples(data, positions, folder), "files": {}}
    preprocess = {}
    output = scores or TensorSpec("scores", (1, len(data.labels)), "float32")
    for name, specs in files.items():
        preprocess[name] = {**preprocess_settings(tuple(specs), data), "outputs": [_output(output)]}
        inputs = {}
        for place, spec in enumerate(specs):
            inputs[spec.name] = f"golden/{name}.input{place}.npy"
            np.save(
                folder / inputs[spec.name], np.stack([feeds(tuple(specs), data, int(row))[spec.name] for row in rows])
            )
        runtime = {"name": RUNTIMES[name.rpartition(".")[2]], "threads": 2, "delegate": delegate}
        golden["files"][name] = {"runtime": runtime, "inputs": inputs}
    (folder / "preprocess.json").write_text(json_text(preprocess), encoding="utf-8")
    (folder / "golden/samples.json").write_text(json_text(golden), encoding="utf-8")
    write_app(folder, "tiny", "Google Pixel 8")
    listed = {name: {"sha256": file_sha256(folder / name)} for name in bundle_files(folder)}
    (folder / MANIFEST).write_text(json_text({"schema": 1, "files": listed, "app": {}}), encoding="utf-8")
    return folder
