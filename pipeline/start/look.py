"""What is to be known of labelled data before a run: of its classes here, of pictures and texts beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from pipeline.errors import InputError

TINY = 50  # samples of a class; of fewer, a fifth is too few to tell its accuracy
UNEVEN = 5  # times the smallest class that the largest may have
LISTED = 5  # of what is wrong in many places


@dataclass(frozen=True)
class Finding:
    """Something of the data that its owner should know. `stops`: a run refuses the data until it is mended."""

    text: str
    stops: bool = False


def class_findings(train: Mapping[str, int], test: Mapping[str, int] | None) -> list[Finding]:
    """Of the number of samples by class; `test` is the data's own test set. Raises InputError for a single class."""
    if len(train) < 2:
        only = ", ".join(f"'{name}'" for name in train) or "none"
        raise InputError(f"found one class, {only}: a classifier needs two classes or more")
    return [*_misfits(train, test), *_sizes(train)]


def judging_finding(samples: int) -> Finding:
    """How well so many test samples tell an accuracy: half the 95% interval of a share of 90%, in points."""
    points = 100 * 1.96 * sqrt(0.9 * 0.1 / samples)
    return Finding(f"{samples:,} samples will judge: an accuracy of 90% is then known to about {points:.1f} points")


def some(items: Sequence[str], most: int = LISTED) -> str:
    """The first of `items`, and how many more there are."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _misfits(train: Mapping[str, int], test: Mapping[str, int] | None) -> list[Finding]:
    """What the split refuses (`pipeline.data.split`)."""
    needed = 3 if test is None else 2
    parts = "train, validation and test" if test is None else "train and validation"
    few = [f"'{name}' ({count})" for name, count in train.items() if count < needed]
    found = []
    if few:
        found.append(Finding(f"too few samples for {parts}: class {some(few)}; add some, or remove the class", True))
    if test is not None:
        for names, where, other in (
            ([name for name in train if not test.get(name)], "training", "test"),
            ([name for name in test if name not in train], "test", "training"),
        ):
            if names:
                shown = some([f"'{name}'" for name in names])
                found.append(Finding(f"in the {where} set alone, not in the {other} set: class {shown}", True))
    return found


def _sizes(train: Mapping[str, int]) -> list[Finding]:
    found = []
    tiny = [f"'{name}' ({count})" for name, count in train.items() if count < TINY]
    if tiny:
        found.append(
            Finding(f"fewer than {TINY} samples: class {some(tiny)}; little is learnt of it, and less is known")
        )
    least, most = min(train, key=lambda name: train[name]), max(train, key=lambda name: train[name])
    if train[least] and train[most] >= UNEVEN * train[least]:
        times = train[most] / train[least]
        found.append(
            Finding(
                f"uneven: class '{most}' has {times:.0f} times the samples of '{least}', whose accuracy the whole one "
                "hides: read the table of classes, or set budgets.accuracy.max_group_drop"
            )
        )
    return found
