"""The groups that the test samples fall into, for the audit: classes, then the values of a column of the data or, where
the recipe names none, bins of text length or of images' brightness and contrast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.results import PreparedData

BINS = 4  # quarters of the test split: enough samples in each to tell a loss from noise
CHUNK = 64  # images in memory at once
LUMA = (299, 587, 114)  # of red, green, blue, in thousandths (ITU-R BT.601)


@dataclass(frozen=True)
class Grouping:
    """One way to divide the test rows: by `by`, into groups of these `names`, none of them empty.

    `members`: int64 [T], the group of each test row. `edges`: where one bin of `unit` ends and the next begins, in the
    order of the names; a sample on an edge is in the lower bin. None where groups are no bins.
    """

    by: str
    names: tuple[str, ...]
    members: np.ndarray
    edges: tuple[float, ...] | None = None
    unit: str | None = None


def groupings(data: PreparedData) -> tuple[Grouping, ...]:
    """Classes first. Ways that put all test samples into one group are left out: they tell nothing."""
    rows = data.rows("test")
    found = [_present("class", data.labels, data.targets[rows])]
    if data.groups_file is not None:
        column, names, groups = read_groups(data.groups_file)
        found.append(_present(f"column {column}", names, groups[rows]))
    elif data.task == "text-classification":
        found.append(binned("length", data.lengths[rows], "word pieces", 0))
    else:
        brightness, contrast = light(data.inputs, rows)
        found.append(binned("brightness", brightness, "of 255", 1))
        found.append(binned("contrast", contrast, "of 255", 1))
    return tuple(grouping for grouping in found if len(grouping.names) > 1)


def binned(by: str, values: np.ndarray, unit: str, digits: int) -> Grouping:
    """Bins of about equally many `values` [T]: cut at quantiles, rounded to `digits` so that names say what is in them.
    Where many values are equal there are fewer bins."""
    quantiles = np.quantile(values, np.arange(1, BINS) / BINS)
    below = values[values < values.max()].max(initial=values.min())  # most texts may be cut to one length
    edges = np.unique(np.round(np.where(quantiles < values.max(), quantiles, below), digits))
    edges = edges[(edges >= values.min()) & (edges < values.max())]
    members = np.searchsorted(edges, values, side="left").astype(np.int64)
    kept = np.unique(members)
    edges = edges[kept[1:] - 1]  # an empty bin joins the one above it
    members = np.searchsorted(kept, members)
    ends = [f"{edge:.{digits}f}" for edge in edges]
    starts = [f"{edge + 1:.0f}" for edge in edges] if digits == 0 else ends  # whole numbers: 1 to 5, 6 to 9
    between = [end if start == end else f"{start} to {end}" for start, end in zip(starts, ends[1:], strict=False)]
    names = (f"up to {ends[0]}", *between, f"over {ends[-1]}") if ends else ("all",)
    return Grouping(by, names, members.astype(np.int64), tuple(float(edge) for edge in edges), unit)


def light(images: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and contrast, float64 [T], of the `rows` of `images` uint8 [N, H, W, 3]: mean and standard deviation
    of the luma over an image's pixels, 0 to 255. Summed in whole numbers, so the same on every machine."""
    brightness, contrast = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), CHUNK):
        pixels = images[rows[start : start + CHUNK]].astype(np.int64)
        luma = (pixels @ np.array(LUMA)).reshape(len(pixels), -1)
        count = luma.shape[1]
        total, squares = luma.sum(1), (luma**2).sum(1)
        brightness[start : start + CHUNK] = total / count / 1000
        spread = np.maximum(squares / count - (total / count) ** 2, 0)
        contrast[start : start + CHUNK] = np.sqrt(spread) / 1000
    return brightness, contrast


def write_groups(file: Path, column: str, groups: Sequence[str]) -> None:
    """`groups`: of each row, by name."""
    names, indices = np.unique(np.array(groups, dtype=np.str_), return_inverse=True)
    np.savez(file, column=np.array(column), names=names, groups=indices.astype(np.int64))


def read_groups(file: Path) -> tuple[str, tuple[str, ...], np.ndarray]:
    """The column's name, the groups' names, and int64 [N] the group of each row."""
    with np.load(file) as stored:
        return str(stored["column"]), tuple(stored["names"].tolist()), stored["groups"]


def _present(by: str, names: Sequence[str], members: np.ndarray) -> Grouping:
    """Groups that have test samples, in the order of `names`."""
    present, members = np.unique(members, return_inverse=True)
    return Grouping(by, tuple(names[index] for index in present), members.astype(np.int64))
