"""Texts that tokenizers stumble over, with the ids that the bundle's own gives them: an app's tokenizer must give the
same."""

import json
from pathlib import Path
from typing import Any

from pipeline.data.texts import load_tokenizer, piece_chunks
from pipeline.results import PreparedData

GOLDEN_TOKENS = "golden/tokens.json"

# By what is hard about them.
HARD_TEXTS = {
    "plain": "A gripping film, told well.",
    "empty": "",
    "white space alone": " \t\r\n ",
    "spaces within and around": "  two \t words\nand\r\nlines  ",
    "ASCII control characters": "nul\x00 bell\x07 escape\x1b delete\x7f vertical\x0btab form\x0cfeed",
    "punctuation in a row": "well...!? (really) -- it's 50% \"off\" @home #1 a_b c/d e\\f {g} [h] <i> j|k ~l `m` n^o",
    "numbers": "3.14 1,000,000 2026-11-22 0x1F 1e-5",
    "capitals": "SHOUTED and MiXeD",
    "accents": "café naïve Zürich señor Ångström crème brûlée",
    "accented capitals": "ÉCOLE ÜBER ÇA ÑANDÚ",
    "accents that combine": "cafe\u0301 nai\u0308ve Zu\u0308rich",
    "letters that are no accented ones": "Straße Øre Łódź þorn ŒUVRE ﬁne ĳ",
    "Turkish i": "İstanbul ısı I i",
    "Greek with final sigma": "ΟΔΥΣΣΕΥΣ σοφός",
    "Cyrillic": "Привет мир Ёлка й",
    "Vietnamese": "Việt Nam Đà Nẵng",
    "Hebrew with points": "שָׁלוֹם",
    "Arabic": "مرحبا بالعالم مُحَمَّد",
    "Hindi": "नमस्ते दुनिया",
    "Thai": "สวัสดีชาวโลก",
    "Chinese": "我喜欢这部电影",
    "Chinese among Latin letters": "the电影was好good",
    "rare Chinese": "\U00020000\U0002a700豈",
    "Japanese": "とても良い映画です。ガギグ ﾊﾝｶｸ",
    "Korean": "정말 좋은 영화",
    "full-width letters": "ＡＢＣ１２３！",
    "emoji": "loved it 😀👍 😭",
    "emoji of several characters": "👩‍👩‍👧‍👦 👍🏽 🇨🇭 ❤️",
    "new emoji": "🫠🪿",
    "mathematics": "∑x² ≥ ∫√2 × 10⁻³ 𝐛𝐨𝐥𝐝",
    "typographic punctuation": "“quoted” ‘so’ – dash — long… «guillemets» • ‹a›",
    "currency and symbols": "€5 £6 ¥7 ₿8 © ® ™ § ¶ ° ±",
    "no-break and other spaces": "no\u00a0break\u2003em\u2009thin\u3000wide\u202fnarrow\u2028line\u2029end",
    "characters of no width": "zero\u200bwidth\u200cjoin\u200der\ufeffmark soft\u00adhyphen word\u2060joiner",
    "writing directions": "left \u202eright\u202c \u2066isolated\u2069",
    "replacement and private use": "bro\ufffdken \ue000private \U000f0000",
    "C1 control characters": "next\u0085line a\u009fb",
    "word of 100 letters": "a" * 100,
    "word of 101 letters": "a" * 101,
    "very long word": "supercalifragilistic" * 40,
    "100 letters that are more bytes": "é" * 60,
    "long text": "one of the best films of the year and " * 40,
    "special tokens as text": "before [SEP] after [MASK] [CLS] [PAD] [UNK]",
    "special tokens in lower case": "[sep] [ SEP ] [SEP",
    "markup": "<br />good<br/>film &amp; more http://example.org/a?b=c&d#e",
    "repeated letters": "sooooooo gooooooood!!!!!!!!",
    "word pieces as text": "##ing un##able ##",
}  # fmt: skip


def golden_tokens(data: PreparedData) -> dict[str, Any]:
    """The content of golden/tokens.json: `length`, and for each of `texts` its `name`, `text` and `ids`, special tokens
    included, cut to `length` as preprocess.json says, not padded."""
    assert data.tokenizer_folder is not None, "only texts have a tokenizer"
    length = int(data.inputs.shape[1])
    tokenizer = load_tokenizer(data.tokenizer_folder)
    texts: list[dict[str, Any]] = []
    names = list(HARD_TEXTS)
    for ids, lengths, _ in piece_chunks(list(HARD_TEXTS.values()), tokenizer, length):
        for row, kept in zip(ids, lengths.tolist(), strict=True):
            name = names[len(texts)]
            texts.append({"name": name, "text": HARD_TEXTS[name], "ids": row[:kept].tolist()})
    return {"schema": 1, "length": length, "texts": texts}


def write_golden_tokens(data: PreparedData, folder: Path) -> None:
    """Writes golden/tokens.json of a bundle. In ASCII: what editors hide, or show out of order, stays escaped."""
    found = golden_tokens(data)
    lines = [json.dumps(entry, sort_keys=True) for entry in found["texts"]]
    head = f'{{"schema": {found["schema"]}, "length": {found["length"]}, "texts": [\n'
    (folder / GOLDEN_TOKENS).write_text(head + ",\n".join(lines) + "\n]}\n", encoding="ascii", newline="\n")
