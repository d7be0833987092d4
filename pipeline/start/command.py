"""From data to a recipe that can be planned: looked at, chosen for, written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.plan import describe_plan, make_plan
from pipeline.progress import Reporter
from pipeline.recipe import load_recipe
from pipeline.start.choices import choose_for_pictures, choose_for_texts
from pipeline.start.look import Finding, judging_finding
from pipeline.start.pictures import Pictures, count_pictures, look_at_pictures
from pipeline.start.recipe import recipe_for_pictures, recipe_for_texts
from pipeline.start.tables import Texts, guess_columns, look_at_texts

TABLES = (".csv", ".tsv", ".parquet")
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
TARGETS = ("pixel8", "iphone15")  # a phone of each kind


@dataclass(frozen=True)
class Wishes:
    """What the user says of the recipe; None and empty are left to the data."""

    name: str | None = None
    targets: tuple[str, ...] = ()
    test: Path | None = None
    text_column: str | None = None
    label_column: str | None = None
    mirror: bool = False
    hub: bool | None = None
    min_accuracy: float | None = None


@dataclass(frozen=True)
class Started:
    """`plan`: rows of stage, what it will do, for which targets."""

    recipe: Path
    task: str
    classes: dict[str, int]
    findings: tuple[Finding, ...]
    plan: tuple[tuple[str, str, str], ...]

    @property
    def ready(self) -> bool:
        """Whether a run takes the data as they are."""
        return not any(finding.stops for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": str(self.recipe),
            "task": self.task,
            "classes": self.classes,
            "ready": self.ready,
            "findings": [{"text": finding.text, "stops": finding.stops} for finding in self.findings],
            "plan": [{"stage": stage, "what": what, "targets": ids.split(", ")} for stage, what, ids in self.plan],
        }


def is_table(data: Path) -> bool:
    """Whether `data` are texts in a table, else pictures in folders. Raises InputError if they are neither."""
    if data.is_file():
        if data.suffix.lower() in TABLES:
            return True
        raise InputError(
            f"{data}: found a file that ends in '{data.suffix}', expected a folder of pictures or {', '.join(TABLES)}"
        )
    if not data.is_dir():
        raise InputError(f"{data}: no such file or folder; expected a folder of pictures, or {', '.join(TABLES)}")
    return any(data.glob("*.parquet"))


def recipe_name(data: Path) -> str:
    """A name that a recipe may have, made from the data's."""
    name = re.sub(r"[^a-z0-9]+", "-", data.resolve().with_suffix("").name.lower()).strip("-")
    return name or "my-data"


def check_name(name: str) -> str:
    """`name` itself. Raises InputError where a recipe can't have it."""
    if not NAME.fullmatch(name):
        raise InputError(f"name {name!r}: expected small letters, digits and dashes, such as {recipe_name(Path(name))}")
    return name


def start_recipe(data: Path, recipe: Path | None, wishes: Wishes, overwrite: bool, reporter: Reporter) -> Started:
    """Looks at `data` and writes a recipe for it (`recipe`, or its name beside the working folder's files).

    Raises InputError and TargetError for data of which there can be no recipe, wishes that do not fit, and a recipe
    that stands there already without `overwrite`; nothing is then written.
    """
    if wishes.name is not None:
        check_name(wishes.name)
    name = wishes.name or (recipe_name(recipe) if recipe else recipe_name(data))
    place = recipe or Path(f"{name}.yaml")
    table = is_table(data)
    _refuse_unfit(wishes, table)
    if place.exists() and not overwrite:
        raise InputError(f"{place}: there already; name another recipe, or overwrite it with --overwrite")
    if place.suffix not in (".yaml", ".yml"):
        raise InputError(f"{place}: found a name that ends in '{place.suffix}', expected .yaml")
    targets = wishes.targets or TARGETS
    found: Pictures | Texts
    if table:
        found = look_at_texts(data, *columns(data, wishes), wishes.test)
        text_choices = choose_for_texts(found, wishes.hub)
        split, task = text_choices.split, "text-classification"
        text = recipe_for_texts(
            found, text_choices, name=name, targets=targets, least=wishes.min_accuracy, folder=place.parent
        )
    else:
        with reporter.stage("looking", count_pictures(data, wishes.test), "pictures") as meter:
            found = look_at_pictures(data, wishes.test, meter.advance)
        choices = choose_for_pictures(found, wishes.hub)
        split, task = choices.split, "image-classification"
        text = recipe_for_pictures(
            found, choices, name=name, targets=targets, mirror=wishes.mirror, least=wishes.min_accuracy,
            folder=place.parent,
        )  # fmt: skip
    judging = sum(found.test.values()) if found.test is not None else max(1, round(found.samples * split.test))
    return Started(
        place, task, found.train, (*found.findings, judging_finding(judging)), _written(text, place)
    )  # fmt: skip


def columns(data: Path, wishes: Wishes) -> tuple[str, str]:
    """The columns of texts and labels, as wished or as the data tell. Raises InputError where they do not."""
    text, label, every = guess_columns(data)
    text, label = wishes.text_column or text, wishes.label_column or label
    for found, what, option in ((text, "texts", "--text-column"), (label, "labels", "--label-column")):
        if found is None:
            raise InputError(f"{data}: which column holds the {what} is not clear; name it with {option}: {_of(every)}")
    assert text is not None
    assert label is not None
    if text == label:
        raise InputError(f"{data}: column '{text}' can't hold both texts and labels; it has {_of(every)}")
    return text, label


def _of(columns: Sequence[str]) -> str:
    return ", ".join(f"'{column}'" for column in columns)


def _refuse_unfit(wishes: Wishes, table: bool) -> None:
    if table and wishes.mirror:
        raise InputError("--mirror is for pictures; remove it")
    if not table and (wishes.text_column or wishes.label_column):
        raise InputError("--text-column and --label-column are for tables of texts; remove them")
    if wishes.test is not None and not wishes.test.exists():
        raise InputError(f"{wishes.test}: no such file or folder; expected a test set like the data")
    if wishes.test is not None and is_table(wishes.test) != table:
        raise InputError(f"{wishes.test}: the test set must be of the same kind as the data")


def _written(text: str, place: Path) -> tuple[tuple[str, str, str], ...]:
    """Writes the recipe once it has been planned from a file beside, and returns its plan."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.stem}.part.yaml")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        plan = describe_plan(make_plan(load_recipe(beside), ()))
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)
    return tuple(plan)
