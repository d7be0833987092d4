"""Golden ids in a bundle: those of its own tokenizer, readable with plain JSON."""

import json
from pathlib import Path

from pipeline.golden_tokens import GOLDEN_TOKENS, HARD_TEXTS, golden_tokens, write_golden_tokens
from pipeline.results import PreparedData


def test_golden_ids_are_those_that_transformers_gives(reviews: PreparedData) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(reviews.tokenizer_folder)
    found = golden_tokens(reviews)
    assert found["length"] == 32
    assert [entry["name"] for entry in found["texts"]] == list(HARD_TEXTS)
    for entry in found["texts"]:
        assert entry["text"] == HARD_TEXTS[entry["name"]]
        assert entry["ids"] == tokenizer(entry["text"], truncation=True, max_length=32)["input_ids"], entry["name"]


def test_what_is_known_by_heart_is_there(reviews: PreparedData) -> None:
    ids = {entry["name"]: entry["ids"] for entry in golden_tokens(reviews)["texts"]}
    cls, sep, unk, mask = 101, 102, 100, 103  # of BERT's vocabulary
    assert ids["empty"] == ids["white space alone"] == [cls, sep]
    assert ids["word of 101 letters"] == ids["very long word"] == [cls, unk, sep]
    assert unk not in ids["word of 100 letters"]
    assert len(ids["long text"]) == 32
    assert ids["long text"][-1] == sep
    assert mask in ids["special tokens as text"]


def test_the_file_is_ascii_and_the_same_each_time(reviews: PreparedData, tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        (folder / "golden").mkdir(parents=True)
        write_golden_tokens(reviews, folder)
    written = (tmp_path / "a" / GOLDEN_TOKENS).read_bytes()
    assert written.isascii()
    assert written == (tmp_path / "b" / GOLDEN_TOKENS).read_bytes()
    assert json.loads(written) == golden_tokens(reviews)
