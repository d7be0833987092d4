"""Texts cut into sentences, by a plain rule that knows no language."""

import re

LEAST_WORDS = 3

# After . ! or ? with or without closing quotes and brackets, where white space follows; at line breaks, HTML's too.
_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"')\]”’])\s+|\s*(?:<br\s*/?>|\n)\s*", re.IGNORECASE)


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, white space around them gone.

    One of fewer than `LEAST_WORDS` words, such as "Mr." or "10/10.", joins the one after it, the last the one before.
    """
    sentences: list[str] = []
    short = ""
    for piece in filter(None, _END.split(text.strip())):
        short = f"{short} {piece}".strip()
        if len(short.split()) >= LEAST_WORDS:
            sentences.append(short)
            short = ""
    if short:
        sentences.append(f"{sentences.pop()} {short}" if sentences else short)
    return sentences
