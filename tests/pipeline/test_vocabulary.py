"""A smaller vocabulary: what is kept is spelt and judged as before, and every later stage reads the new one."""

import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    PreTrainedTokenizerFast,
)

import pipeline.vocabulary
from pipeline.context import RunContext
from pipeline.data.texts import load_tokenizer
from pipeline.errors import InputError
from pipeline.evaluate import predict
from pipeline.feeds import special_ids
from pipeline.integrity import read_json
from pipeline.networks import load_network
from pipeline.plan import make_plan
from pipeline.progress import SILENT
from pipeline.recipe import load_recipe
from pipeline.results import NetworkResult, PreparedData
from pipeline.run import run
from pipeline.settings.data import TextInput
from pipeline.store import Store
from pipeline.vocabulary import kept_pieces, piece_counts, smaller_tokenizer, trim_vocabulary
from targets.profile import PROFILES
from tests.networks import untrained

TASK = TextInput(sequence_length=32, vocabulary="task")
Trimmed = tuple[PreparedData, NetworkResult]


@pytest.fixture(scope="module")
def trimmed(reviews: PreparedData, text_student: NetworkResult, session_context: RunContext) -> Trimmed:
    return trim_vocabulary(reviews, text_student, TASK, session_context)


def tokenizer_of(data: PreparedData) -> PreTrainedTokenizerFast:
    assert data.tokenizer_folder is not None
    return loaded(data.tokenizer_folder)


@cache
def loaded(folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(folder)


def texts_of(data: PreparedData) -> list[str]:
    assert data.texts_file is not None
    return [json.loads(line) for line in data.texts_file.read_text().splitlines()]


def pieces_of(data: PreparedData, row: int) -> list[str]:
    return tokenizer_of(data).convert_ids_to_tokens(data.inputs[row, : data.lengths[row]].tolist())


# ---- what is kept


def test_training_texts_keep_their_pieces(reviews: PreparedData, trimmed: Trimmed) -> None:
    data, _ = trimmed
    old, new = tokenizer_of(reviews), tokenizer_of(data)
    for row in reviews.rows("train").tolist():
        length = reviews.lengths[row]
        assert data.lengths[row] == length
        assert new.convert_ids_to_tokens(data.inputs[row].tolist()) == old.convert_ids_to_tokens(
            reviews.inputs[row].tolist()
        )


def test_the_vocabulary_is_what_the_task_needs_and_no_more(reviews: PreparedData, trimmed: Trimmed) -> None:
    old, new = tokenizer_of(reviews), tokenizer_of(trimmed[0])
    used = {piece for row in reviews.rows("train").tolist() for piece in pieces_of(reviews, row)}
    letters = {piece for piece in old.get_vocab() if len(piece.removeprefix("##")) == 1}
    assert len(letters) > 100
    assert set(new.get_vocab()) == used | letters | set(old.all_special_tokens)
    assert not any(piece.startswith("[unused") for piece in new.get_vocab())


def test_rarer_pieces_are_spelt_by_others_if_asked(
    reviews: PreparedData, trimmed: Trimmed, text_student: NetworkResult, session_context: RunContext
) -> None:
    settings = TASK.model_copy(update={"least_count": 3})
    data, student = trim_vocabulary(reviews, text_student, settings, session_context)
    fewer, more = tokenizer_of(data).get_vocab(), tokenizer_of(trimmed[0]).get_vocab()
    assert set(fewer) < set(more)
    counts = piece_counts(reviews)
    numbers = tokenizer_of(reviews).get_vocab()
    gone = {numbers[piece] for piece in set(more) - set(fewer)}
    assert {counts[number] for number in gone} == {1, 2}
    assert (data.lengths >= reviews.lengths).all()
    assert data.lengths.sum() > reviews.lengths.sum()
    unknown = tokenizer_of(data).unk_token_id
    assert (data.inputs == unknown).sum() <= (reviews.inputs == tokenizer_of(reviews).unk_token_id).sum()
    assert student.parameters < trimmed[1].parameters


@settings(max_examples=60)
@given(picked=st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), min_size=1, max_size=5))
def test_no_word_of_the_alphabet_becomes_unknown(
    reviews: PreparedData, trimmed: Trimmed, picked: list[list[int]]
) -> None:
    old, new = tokenizer_of(reviews), tokenizer_of(trimmed[0])
    letters = sorted(piece for piece in old.get_vocab() if len(piece) == 1)
    text = " ".join("".join(letters[number % len(letters)] for number in word) for word in picked)
    before, after = old.tokenize(text), new.tokenize(text)
    assert before.count(old.unk_token) >= after.count(new.unk_token)
    assert spelling(before) == spelling(after)


def spelling(pieces: list[str]) -> str:
    return "".join(piece.removeprefix("##") for piece in pieces)


def test_no_text_finds_a_new_unknown_word(reviews: PreparedData, trimmed: Trimmed) -> None:
    data, student = trimmed
    old, new = tokenizer_of(reviews), tokenizer_of(data)
    for text in texts_of(reviews):
        assert new.tokenize(text).count(new.unk_token) == old.tokenize(text).count(old.unk_token)
    assert not any("can't spell" in note for note in student.notes)


# ---- the tokenizer's files


def test_every_file_of_the_tokenizer_says_the_same_numbers(trimmed: Trimmed) -> None:
    data, _ = trimmed
    folder = data.tokenizer_folder
    assert folder is not None
    content = read_json(folder / "tokenizer.json")
    vocabulary = content["model"]["vocab"]
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert {piece: number for number, piece in enumerate(lines)} == vocabulary
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert {token["content"]: token["id"] for token in content["added_tokens"]}.items() <= vocabulary.items()
    written = read_json(folder / "tokenizer_config.json")["added_tokens_decoder"]
    assert {token["content"]: int(number) for number, token in written.items()}.items() <= vocabulary.items()
    assert all(vocabulary[piece] == number for piece, number in special_ids(data).values())
    for file in folder.iterdir():
        assert str(folder.parent.parent) not in file.read_text(encoding="utf-8")


def test_transformers_reads_the_new_tokenizer(reviews: PreparedData, trimmed: Trimmed) -> None:
    data, _ = trimmed
    fast = AutoTokenizer.from_pretrained(data.tokenizer_folder)
    slow = BertTokenizer(str(data.tokenizer_folder / "vocab.txt"))  # as an app does that has the words alone
    for row, text in list(enumerate(texts_of(data)))[:40]:
        expected = data.inputs[row, : data.lengths[row]].tolist()
        for tokenizer in (fast, slow):
            assert tokenizer(text, truncation=True, max_length=32)["input_ids"] == expected
    assert (fast.cls_token, fast.pad_token_id) == ("[CLS]", 0)


def hand_made(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    """Special tokens are not where BERT has them, and its post-processor is of another kind."""
    backend = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    numbers = backend.get_vocab()
    backend.post_processor = processors.BertProcessing(("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )


def test_special_tokens_anywhere_keep_their_part_under_new_numbers() -> None:
    old = hand_made(["ab", "abc", "a", "##bc", "##a", "[PAD]", "b", "##b", "[CLS]", "c", "##c", "[SEP]", "[UNK]"])
    old.add_tokens(["<name>"])
    counts = np.bincount(old("abc ab", add_special_tokens=False)["input_ids"])
    new = smaller_tokenizer(old, kept_pieces(old, counts))
    assert set(old.get_vocab()) - set(new.get_vocab()) == {"##bc"}
    assert sorted(new.get_vocab().values()) == list(range(13))
    found = new("abcab <name> x")
    assert new.convert_ids_to_tokens(found["input_ids"]) == [
        "[CLS]", "abc", "##a", "##b", "<name>", "[UNK]", "[SEP]",
    ]  # fmt: skip
    assert new.pad_token_id == new.get_vocab()["[PAD]"] == 4


def test_a_piece_that_its_letters_can_not_spell_is_kept() -> None:
    old = hand_made(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##a", "ab", "aa", "##ya", "y"])
    kept = kept_pieces(old, np.zeros(10, dtype=np.int64))
    assert kept == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##a", "ab", "##ya", "y"]  # b and y: not within a word


def test_a_tokenizer_of_no_word_pieces_is_refused(
    reviews: PreparedData, text_student: NetworkResult, context: RunContext, tmp_path: Path
) -> None:
    backend = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "<pad>": 3}, [("a", "b")]))
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>").save_pretrained(tmp_path / "bpe")
    with pytest.raises(InputError, match=r"text\.vocabulary: task needs a tokenizer of word pieces.*is BPE: use"):
        trim_vocabulary(replace(reviews, tokenizer_folder=tmp_path / "bpe"), text_student, TASK, context)


# ---- the student


def unchanged_rows(reviews: PreparedData, data: PreparedData) -> np.ndarray:
    """Positions in the test split whose texts have the pieces that they had."""
    rows = reviews.rows("test")
    return np.array([p for p, row in enumerate(rows.tolist()) if pieces_of(reviews, row) == pieces_of(data, row)])


def test_texts_whose_pieces_are_all_kept_get_the_same_logits(
    reviews: PreparedData, trimmed: Trimmed, text_student: NetworkResult
) -> None:
    data, student = trimmed
    same = reviews.rows("train")
    before, after = (predict(load_network(n), d, same) for n, d in ((text_student, reviews), (student, data)))
    np.testing.assert_allclose(after, before, atol=1e-6)
    kept = unchanged_rows(reviews, data)
    np.testing.assert_allclose(student.test_logits[kept], text_student.test_logits[kept], atol=1e-6)
    assert len(kept) < len(reviews.rows("test"))
    assert not np.allclose(student.test_logits, text_student.test_logits, atol=1e-6)


def test_embeddings_alone_get_smaller_and_the_note_says_by_how_much(
    trimmed: Trimmed, text_student: NetworkResult
) -> None:
    _, student = trimmed
    config: Any = student.architecture["config"]
    assert student.role == "trimmed"
    assert text_student.parameters - student.parameters == 64 * (30522 - config["vocab_size"])
    before, after = (load_network(network).state_dict() for network in (text_student, student))
    (changed,) = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed.endswith("word_embeddings.weight")
    assert student.notes[-1].startswith(f"word pieces 30,522 -> {config['vocab_size']:,}, parameters ")
    assert f"-> {100 * student.accuracy.value:.2f}%" in student.notes[-1]
    assert student.name == f"{text_student.name}, {config['vocab_size']:,} word pieces"


def test_the_data_is_the_same_but_for_the_spelling(reviews: PreparedData, trimmed: Trimmed) -> None:
    data, student = trimmed
    assert data.fingerprint != reviews.fingerprint
    assert (data.labels, data.counts, data.content_sha256) == (reviews.labels, reviews.counts, reviews.content_sha256)
    assert np.array_equal(data.targets, reviews.targets)
    for split in ("train", "validation", "test"):
        assert np.array_equal(data.rows(split), reviews.rows(split))
    assert texts_of(data) == texts_of(reviews)
    assert data.inputs.shape == reviews.inputs.shape
    folder = student.checkpoint_file.parent
    files = (data.inputs_file, data.labels_file, data.split_file, data.lengths_file, data.texts_file)
    assert {file.parent for file in (*files, data.tokenizer_folder) if file} == {folder}


def test_a_pruned_student_is_trimmed_as_well(reviews: PreparedData, context: RunContext, tmp_path: Path) -> None:
    config = {
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 40, "max_position_embeddings": 32, "type_vocab_size": 2,
        "pruned_heads": {"0": [1, 2], "1": [0]},
    }  # fmt: skip
    architecture = {"kind": "transformers", "config": config, "labels": list(reviews.labels)}
    pruned = replace(untrained(reviews, architecture, tmp_path / "pruned"), role="pruned")
    data, student = trim_vocabulary(reviews, pruned, TASK, context)
    kept = unchanged_rows(reviews, data)
    np.testing.assert_allclose(student.test_logits[kept], pruned.test_logits[kept], atol=1e-6)


def test_a_killed_stage_goes_on_to_the_same_bytes(
    reviews: PreparedData,
    text_student: NetworkResult,
    trimmed: Trimmed,
    session_context: RunContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = RunContext(Store(tmp_path), seed=session_context.seed)
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(pipeline.vocabulary, "network_result", killed)
        with pytest.raises(KeyboardInterrupt):
            trim_vocabulary(reviews, text_student, TASK, context)
    assert list((tmp_path / "trim").glob("*.partial/tokenizer"))
    data, student = trim_vocabulary(reviews, text_student, TASK, context)
    assert student.fingerprint == trimmed[1].fingerprint
    first, second = trimmed[1].checkpoint_file.parent, student.checkpoint_file.parent
    names = {str(file.relative_to(first)) for file in first.rglob("*") if file.is_file()}
    assert names == {str(file.relative_to(second)) for file in second.rglob("*") if file.is_file()}
    for name in sorted(names):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert data.inputs_file.parent == second


# ---- the whole way


def small_teacher(folder: Path, texts: list[str]) -> None:
    """A BERT with its tokenizer: letters, and the words of `texts`."""
    letters = [chr(n) for n in range(33, 127) if not chr(n).isupper()]
    words = sorted({word for text in texts for word in text.lower().split() if word.isalpha()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    folder.mkdir()
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=32,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)


def test_what_ships_reads_the_smaller_vocabulary(reviews: PreparedData, tmp_path: Path) -> None:
    """A pruned and trimmed student from recipe to bundle, on a target with one runtime."""
    texts = texts_of(reviews)
    small_teacher(tmp_path / "teacher", texts)
    with (tmp_path / "texts.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *zip(texts, reviews.targets.tolist(), strict=True)])
    recipe = {
        "schema": 1, "name": "small", "task": "text-classification", "data": {"source": "csv", "path": "texts.csv"},
        "text": {"sequence_length": 24, "vocabulary": "task"}, "teacher": {"model": "./teacher", "epochs": 1},
        "student": {"family": "tinybert", "layers": 1, "start": "layers"}, "distill": {"epochs": 1},
        "prune": {"macs": 0.5, "recovery_epochs": 1}, "budgets": {"accuracy": {"max_drop": 100}},
    }  # fmt: skip
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe))
    profile = yaml.safe_load((PROFILES / "host.yaml").read_text())
    profile["runtimes"] = [runtime for runtime in profile["runtimes"] if runtime["name"] == "onnxruntime"]
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(profile | {"id": "one"}))
    plan = make_plan(load_recipe(tmp_path / "small.yaml"), (str(tmp_path / "one.yaml"),))
    (made,) = run(plan, tmp_path / "out", SILENT, latency=False)
    networks, pieces = made.report["networks"], made.report["vocabulary"]["pieces"]
    assert networks["pruned"]["parameters"]["value"] > networks["trimmed"]["parameters"]["value"]
    assert pieces["before"]["value"] > pieces["after"]["value"]
    lines = (made.bundle / "vocab.txt").read_text().splitlines()
    assert len(lines) == pieces["after"]["value"]
    (file,) = (file for file in made.report["files"] if file["shipped"])
    stages = [step["stage"] for step in file["attribution"]["steps"]]
    assert stages == ["distill", "prune", "trim", "export", "quantize"]
    assert file["agreement_with_student"]["value"] > 0.9
    tokenizer = AutoTokenizer.from_pretrained(made.bundle)
    for sample in read_json(made.bundle / "golden/samples.json")["samples"]:
        assert tokenizer(sample["text"], truncation=True, max_length=24)["input_ids"] == sample["input_ids"]
        assert max(sample["input_ids"]) < len(lines)
