"""Data of a user's own, as `edgepress init` meets it: folders of pictures and tables of texts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

SENTENCES = ("a fine film about {}, well told", "nothing but {} and noise", "we left before {} came back, twice")


def pictures(root: Path, counts: Mapping[str, int], size: tuple[int, int] = (40, 30), seed: int = 0) -> Path:
    """`root/<class>/<n>.png`, so many of each class; no two are the same."""
    random = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for place in range(count):
            pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{place}.png")
    return root


def sentences(count: int, start: int = 0) -> list[str]:
    """As many different ones."""
    return [SENTENCES[n % len(SENTENCES)].format(f"number {n}") for n in range(start, start + count)]
