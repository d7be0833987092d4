"""A smaller vocabulary: the trained student keeps the word pieces that its training texts need, and is not trained
again."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.context import RunContext
from pipeline.data.files import storage_errors, write_npy
from pipeline.data.texts import load_tokenizer, piece_chunks, save_tokenizer
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import build_network, load_network
from pipeline.progress import Meter
from pipeline.results import NetworkResult, PreparedData, TrimmedResult, vocabulary_size
from pipeline.settings.data import TextInput
from pipeline.training.fit import Fit, network_result, prepare_torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PREFIX = "##"  # of a piece that goes on with a word
SPELT = frozenset({"inputs_file", "lengths_file", "tokenizer_folder"})  # of the data: made anew


def trim_vocabulary(
    data: PreparedData, student: NetworkResult, settings: TextInput, context: RunContext
) -> tuple[PreparedData, NetworkResult]:
    """`data` and `student` with the word pieces of `kept_pieces`: the tokenizer without the others and numbered anew,
    texts spelt by it, rows of the embeddings gathered, every other weight as it was.

    With `settings.least_count` 1 each training text keeps its pieces, and so does any text whose pieces are all kept:
    the longest piece that fits is still there. Accuracy and test logits are measured anew.
    Raises InputError if the tokenizer is not one of word pieces.
    """

    def make(folder: Path, key: str, meter: Meter) -> TrimmedResult:
        with storage_errors(folder):
            old = load_tokenizer(_tokenizer_folder(data))
            keep = kept_pieces(old, piece_counts(data), settings.least_count)
            new = smaller_tokenizer(old, keep)
            smaller, unknown = _spell(data, old, new, folder, key, meter)
        rows = _rows(old, new)
        result = _shrink(student, smaller, rows, int(new.pad_token_id), folder, key, meter, context)
        notes = (*student.notes, _note(student, result), *_warnings(unknown, len(data.targets)))
        return TrimmedResult(key, smaller, replace(result, notes=notes), unknown)

    inputs = {"data": data.fingerprint, "student": student.fingerprint, "least_count": settings.least_count}
    total = len(data.targets) + len(data.rows("validation")) + len(data.rows("test"))
    title = "trim vocabulary"
    found = context.stage("trim", inputs, TrimmedResult, make, total=total, unit="samples", title=title)
    return found.data, found.student


def piece_counts(data: PreparedData) -> np.ndarray:
    """int64 [highest id + 1]: how often the training texts, as far as the student reads them, hold each piece."""
    rows = data.rows("train")
    ids, lengths = data.inputs[rows], data.lengths[rows]
    return np.bincount(ids[np.arange(ids.shape[1]) < lengths[:, None]])


def kept_pieces(tokenizer: "PreTrainedTokenizerFast", counts: np.ndarray, least: int = 1) -> list[str]:
    """The pieces that stay, in the order of their numbers: those counted `least` times or more, special and added
    tokens, single letters at the start of a word and within it, and what can't be spelt from these.

    Raises InputError if the tokenizer's model is not WordPiece (Schuster and Nakajima 2012) with `##`.
    """
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model["type"] != "WordPiece" or model["continuing_subword_prefix"] != PREFIX:
        raise InputError(
            f"text.vocabulary: task needs a tokenizer of word pieces (WordPiece, '{PREFIX}'), the teacher's is "
            f"{model['type']}: use text.vocabulary: full, or a teacher such as a BERT"
        )
    vocabulary = tokenizer.get_vocab()
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab(), model["unk_token"]}
    letters = {piece for piece in vocabulary if len(piece.removeprefix(PREFIX)) == 1}
    spelt = {letter for letter in letters if not letter.startswith(PREFIX) and PREFIX + letter in letters}
    return [
        piece
        for piece, number in sorted(vocabulary.items(), key=lambda entry: entry[1])
        if piece in special
        or piece in letters
        or (number < len(counts) and counts[number] >= least)
        or not (piece.startswith("[unused") or spelt.issuperset(piece.removeprefix(PREFIX)))
    ]


def smaller_tokenizer(tokenizer: "PreTrainedTokenizerFast", pieces: list[str]) -> "PreTrainedTokenizerFast":
    """The tokenizer with `pieces` alone, numbered from 0 in their order; it splits and normalises as before."""
    from tokenizers import Tokenizer

    numbers = {piece: number for number, piece in enumerate(pieces)}
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["model"]["vocab"] = {piece: numbers[piece] for piece in pieces if piece in content["model"]["vocab"]}
    for token in content["added_tokens"]:
        token["id"] = numbers[token["content"]]
    _renumber(content["post_processor"], numbers)
    settings = {name: value for name, value in tokenizer.init_kwargs.items() if name not in _OWN_NUMBERS}
    new = type(tokenizer)(tokenizer_object=Tokenizer.from_str(json.dumps(content)), **settings)
    if new.get_vocab() != numbers:
        wrong = next(piece for piece in pieces if new.get_vocab().get(piece) != numbers[piece])
        raise InputError(f"text.vocabulary: task can't number '{wrong}' of this tokenizer anew: use full")
    return new


_OWN_NUMBERS = frozenset({"added_tokens_decoder", "tokenizer_object", "tokenizer_file", "vocab_file", "name_or_path"})


def _renumber(part: Any, numbers: Mapping[str, int]) -> None:
    """Gives the tokens that a post-processor adds their new numbers: templates name tokens beside ids, BERT's and
    RoBERTa's hold pairs."""
    if isinstance(part, dict):
        if isinstance(part.get("ids"), list) and isinstance(part.get("tokens"), list):
            part["ids"] = [numbers[token] for token in part["tokens"]]
        for name in ("sep", "cls"):
            if isinstance(part.get(name), list):
                part[name][1] = numbers[part[name][0]]
        for value in part.values():
            _renumber(value, numbers)
    elif isinstance(part, list):
        for value in part:
            _renumber(value, numbers)


def _tokenizer_folder(data: PreparedData) -> Path:
    assert data.tokenizer_folder is not None, "only texts have a tokenizer"
    return data.tokenizer_folder


def _rows(old: "PreTrainedTokenizerFast", new: "PreTrainedTokenizerFast") -> torch.Tensor:
    """int64 [pieces left]: the old number of each."""
    before = old.get_vocab()
    return torch.tensor([before[piece] for piece, _ in sorted(new.get_vocab().items(), key=lambda entry: entry[1])])


def _spell(
    data: PreparedData,
    old: "PreTrainedTokenizerFast",
    new: "PreTrainedTokenizerFast",
    folder: Path,
    key: str,
    meter: Meter,
) -> tuple[PreparedData, int]:
    """The data as the `new` tokenizer spells it, whole in `folder`, and in how many texts it alone finds a word that it
    can't spell."""
    assert data.texts_file is not None, "only texts have texts"
    save_tokenizer(new, folder / "tokenizer")
    places = {field.name: getattr(data, field.name) for field in fields(data) if field.name not in SPELT}
    places = {name: place for name, place in places.items() if isinstance(place, Path)}
    for name, place in places.items():
        places[name] = Path(shutil.copyfile(place, folder / place.name))
    with data.texts_file.open(encoding="utf-8") as lines:
        texts = [str(json.loads(line)) for line in lines]
    length = int(data.inputs.shape[1])
    lengths: list[np.ndarray] = []
    cut, unknown, seen = 0, 0, 0
    before = data.inputs

    def chunks() -> Any:
        nonlocal cut, unknown, seen
        for ids, real, over in piece_chunks(texts, new, length):
            had = (before[seen : seen + len(ids)] == old.unk_token_id).sum(1)
            unknown += int(((ids == new.unk_token_id).sum(1) > had).sum())
            seen += len(ids)
            cut += over
            lengths.append(real)
            yield ids
            meter.advance(len(ids))

    write_npy(folder / "inputs.npy", before.shape, np.int32, chunks())
    write_npy(folder / "lengths.npy", (len(texts),), np.int32, lengths)
    smaller = replace(
        data,
        fingerprint=key,
        truncated_texts=cut,
        inputs_file=folder / "inputs.npy",
        lengths_file=folder / "lengths.npy",
        tokenizer_folder=folder / "tokenizer",
        **places,
    )
    return smaller, unknown


def _shrink(
    student: NetworkResult,
    data: PreparedData,
    rows: torch.Tensor,
    pad: int,
    folder: Path,
    key: str,
    meter: Meter,
    context: RunContext,
) -> NetworkResult:
    """The student with the embeddings `rows`, judged on `data`."""
    device = prepare_torch(context)
    network: Any = load_network(student)
    table = network.get_input_embeddings().weight
    (name,) = (name for name, parameter in network.named_parameters() if parameter is table)
    if int(rows.max()) >= len(table):
        raise InputError(
            f"text.vocabulary: task: the tokenizer's numbers go up to {int(rows.max())}, {student.name} knows "
            f"{len(table)} pieces: use full"
        )
    weights = {**network.state_dict(), name: table.detach()[rows]}
    given = student.architecture["config"]
    assert isinstance(given, dict)
    architecture = {**student.architecture, "config": {**given, "vocab_size": len(rows), "pad_token_id": pad}}
    smaller = build_network(architecture)
    smaller.load_state_dict(weights)
    smaller.to(device)
    validation = data.rows("validation")
    judged = accuracy(predict(smaller, data, validation, meter=meter), data.targets[validation]).value
    return network_result(
        smaller, data, Fit((), None, judged), folder=folder, key=key, role="trimmed",
        name=f"{student.name}, {len(rows):,} word pieces", architecture=architecture, meter=meter,
    )  # fmt: skip


def _note(before: NetworkResult, after: NetworkResult) -> str:
    return (
        f"word pieces {vocabulary_size(before):,} -> {vocabulary_size(after):,}, parameters {before.parameters:,} -> "
        f"{after.parameters:,}, accuracy {100 * before.accuracy.value:.2f}% -> {100 * after.accuracy.value:.2f}%"
    )


def _warnings(unknown: int, texts: int) -> tuple[str, ...]:
    if not unknown:
        return ()
    return (f"{unknown:,} of {texts:,} texts hold a word that the smaller vocabulary can't spell, the full one could",)
