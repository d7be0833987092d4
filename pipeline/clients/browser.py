"""A bundle in a browser, as a web app would use it: its own preprocessing and tokenizer in JavaScript, its files run by
onnxruntime-web and LiteRT.js, held against what Python's runtimes say of the golden samples."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from pipeline.clients.local_page import served_bundle
from pipeline.errors import InputError
from pipeline.golden import GOLDEN_FILES
from pipeline.golden_tokens import GOLDEN_TOKENS
from pipeline.integrity import read_json
from targets.browser.chromium import PageLost, find_browser, open_browser
from targets.errors import TargetError

PAGE_SECONDS = 300.0  # the longest that opening all files, or running all samples, may take


@dataclass(frozen=True)
class FileInBrowser:
    """One file on the golden samples: the labels it gave and those that Python's runtime gave, or why it was `refused`
    by `client`."""

    file: str
    client: str  # onnxruntime-web 1.30.0
    labels: tuple[str, ...]
    expected: tuple[str, ...]
    refused: str | None = None

    @property
    def same(self) -> bool:
        return self.refused is None and self.labels == self.expected


@dataclass(frozen=True)
class BundleInBrowser:
    """`tokens`: golden texts by name, whether the page's tokenizer gives the golden ids (none for images). `outside`:
    the hosts that the page asked for, which is none."""

    files: tuple[FileInBrowser, ...]
    tokens: dict[str, bool]
    outside: tuple[str, ...]


def run_in_browser(bundle: Path, program: str | None = None) -> BundleInBrowser:
    """Opens the page of `edgepress try` in Chromium, `program` or the system's, and asks every file for the labels of
    the golden samples.

    Raises InputError for what is no whole bundle, TargetError if there is no Chromium or it can't run the page.
    """
    browser = find_browser(program)
    with served_bundle(bundle) as served:
        try:
            with open_browser(browser, served.proxy) as page:
                page.go_to(served.address)
                page.evaluate("edgepress.ready", PAGE_SECONDS)
                answers = page.evaluate("edgepress.golden()", PAGE_SECONDS)
                tokens = _golden_tokens(bundle)
                texts = [entry["text"] for entry in tokens["texts"]]
                ids = page.evaluate(f"edgepress.tokens({json.dumps([texts, tokens['length']])[1:-1]})", PAGE_SECONDS)
                asked = {urlsplit(url).netloc for url in page.asked if not url.startswith(("blob:", "data:"))}
        except PageLost as lost:
            raise TargetError(f"{bundle}: {browser.name} can't run it: {lost}") from None
    return BundleInBrowser(
        files=tuple(_held_against_python(bundle, answer) for answer in answers),
        tokens={entry["name"]: entry["ids"] == found for entry, found in zip(tokens["texts"], ids, strict=True)},
        outside=tuple(sorted(asked - {served.proxy})),
    )


def golden_labels(bundle: Path, name: str) -> tuple[str, ...]:
    """The labels that Python's runtime gave the golden samples with the file `name`.

    Raises InputError for an incomplete bundle.
    """
    try:
        labels = (bundle / "labels.txt").read_text(encoding="utf-8").splitlines()
        ((_, place),) = read_json(bundle / GOLDEN_FILES)["files"][name]["outputs"].items()
        scores = np.load(bundle / place, allow_pickle=False).reshape(-1, len(labels))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{bundle / GOLDEN_FILES}: incomplete ({error!r}); make the bundle again") from None
    return tuple(labels[place] for place in scores.argmax(axis=1))


def _golden_tokens(bundle: Path) -> dict[str, Any]:
    """Golden texts and their ids; of images, and in bundles from before there were any, none."""
    if not (bundle / GOLDEN_TOKENS).exists():
        return {"length": 0, "texts": []}
    return read_json(bundle / GOLDEN_TOKENS)


def _held_against_python(bundle: Path, answer: dict[str, Any]) -> FileInBrowser:
    name, client = answer["name"], answer["client"]
    if "refused" in answer:
        return FileInBrowser(name, client, (), golden_labels(bundle, name), answer["refused"])
    return FileInBrowser(name, client, tuple(answer["labels"]), golden_labels(bundle, name))
