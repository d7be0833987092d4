"""A recipe as commented YAML, for a person to read and to change."""

import math
import os
from pathlib import Path
from typing import Any

import yaml

from pipeline.settings.data import Split
from pipeline.start.choices import IMAGE_WEIGHTS, TEXT_MODEL, ImageChoices, TextChoices, Training, training_samples
from pipeline.start.look import some
from pipeline.start.pictures import Pictures
from pipeline.start.tables import Texts

NAMED = 8  # classes that the description names

HEAD = """\
# Written by `edgepress init` from what it found in {data}. Settings are a start that runs, chosen by rules:
# change what you know better. `edgepress plan` shows what a run will do, `edgepress run` does it.
schema: 1
name: {name}
description: {description}
task: {task}
seed: 0
targets: {targets} # what `edgepress targets list` shows, or profiles of your own
"""

IMAGES = """
data:
  source: image-folder # {counts}
  path: {path} # relative to this file
{test_path}  split: {{test: {split.test:g}, validation: {split.validation:g}, seed: {split.seed}}} # {shares}
image:
  size: {choices.size} # shorter sides: {sides}. \
A larger student input sees more; time grows with its square

teacher: # learns from the data first, then teaches the student
  model: tf_efficientnet_lite0 # any timm model; one that you trained: `weights: ./yours.pth`, `epochs: 0`
  weights: {weights}
{teacher_size}{teacher}{teacher_view}
student:
  family: {choices.family}
  width: {choices.width:g} # of its channels: 0.35 is smaller and faster, 1.0 knows more
{start}

distill:
  mode: cached # the teacher answers once, not in every epoch
  temperature: 4
  alpha: 0.7 # how much the teacher's answers count beside the labels
{student}  views: {views} # shifted views of each picture, which the teacher has judged
{student_view}  compare_naive: false # true trains the same student without the teacher too, and reports both

calibration:
  samples: {choices.calibration} # training samples that show 8 bits their ranges
"""

TEXTS = """
data:
  source: {source} # {counts}
  path: {path} # relative to this file
{test_path}  text_column: {text}
  label_column: {label}
  split: {{test: {split.test:g}, validation: {split.validation:g}, seed: {split.seed}}} # {shares}
text:
  sequence_length: {choices.length} # word pieces: of the texts, half have at most {words[0]} words and marks, \
95% at most {words[1]}; longer ones are cut
  vocabulary: task # the word pieces that the training texts hold; full keeps every one of the teacher's

teacher: # learns from the data first, then teaches the student
  model: {model} # or a folder or hub name of any transformers sequence classifier
{teacher}  freeze: embeddings

student:
  family: tinybert
  layers: 4 # of the teacher's; fewer are faster
  start: layers

distill:
  mode: cached # the teacher answers once, not in every epoch
  temperature: 2
  alpha: 0.5 # how much the teacher's answers count beside the labels
{student}  compare_naive: false # true trains the same student without the teacher too, and reports both
"""

BUDGETS = """
budgets: # tighten those of the targets, which hold in any case
  accuracy: {{min: {least:g}}} # a release below it fails the gate
"""
NO_BUDGETS = """
# The targets' budgets hold. These would tighten them:
# budgets:
#   accuracy: {min: 0.9, max_drop: 1.0, max_group_drop: 5} # share; points below the teacher, of all and of each class
#   size_mb: 1.0
"""


def recipe_for_pictures(
    found: Pictures,
    choices: ImageChoices,
    *,
    name: str,
    targets: tuple[str, ...],
    mirror: bool,
    least: float | None,
    folder: Path,
) -> str:
    """The recipe's text; `folder` is where it will lie. `mirror`: a mirrored picture keeps its class."""
    view = f"  augmentation: {{shift: 0.1, mirror: {'true' if mirror else 'false'}}}"
    body = IMAGES.format(
        found=found,
        choices=choices,
        split=choices.split,
        counts=_counts(found.train, "pictures"),
        sides=f"{_from_to(found.smallest, found.largest)} px, median {found.side}",
        path=_path(found.root, folder),
        test_path=_test_path(found.test_root, folder),
        shares=_shares(found.samples, choices.split, found.test),
        weights="hub # timm's, of ImageNet; needs the internet once" if choices.hub else scalar(IMAGE_WEIGHTS),
        teacher_size=""
        if choices.teacher_size is None
        else f"  input_size: {choices.teacher_size} # as large as the pictures are\n",
        teacher=_training(choices.teacher),
        student=_training(choices.student),
        start="  weights: hub # starts from what timm's has learnt of ImageNet; none starts from nothing"
        if choices.hub and choices.width == 1
        else "  # weights: hub # would start from what timm's has learnt of ImageNet; needs width 1 and the internet",
        views=5,
        teacher_view=f"{view}\n",
        student_view=f"{view} # mirror: where left and right mean the same\n",
    )
    return _whole(body, found.root.name, name, "image-classification", found.train, targets, least)


def recipe_for_texts(
    found: Texts, choices: TextChoices, *, name: str, targets: tuple[str, ...], least: float | None, folder: Path
) -> str:
    """The recipe's text; `folder` is where it will lie."""
    body = TEXTS.format(
        choices=choices,
        split=choices.split,
        source=found.source,
        counts=_counts(found.train, "texts"),
        path=_path(found.file, folder),
        test_path=_test_path(found.test_file, folder),
        text=scalar(found.text_column),
        label=scalar(found.label_column),
        shares=_shares(found.samples, choices.split, found.test),
        words=found.words,
        model=scalar(choices.model) if choices.model == TEXT_MODEL else f"{scalar(choices.model)} # of the hub",
        teacher=_training(choices.teacher),
        student=_training(choices.student),
    )
    return _whole(body, found.file.name, name, "text-classification", found.train, targets, least)


def scalar(value: Any) -> str:
    """`value` as it stands in a line of YAML, quoted where it has to be."""
    line = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=math.inf)
    return line.strip().removeprefix("[").removesuffix("]")


def _whole(
    body: str, data: str, name: str, task: str, train: dict[str, int], targets: tuple[str, ...], least: float | None
) -> str:
    head = HEAD.format(
        data="".join(letter for letter in data if letter.isprintable()),  # YAML takes no others, in comments too
        name=name,
        description=scalar(f"Tells one of {len(train)} classes: {some(list(train), NAMED)}."),
        task=task,
        targets=f"[{', '.join(map(scalar, targets))}]",
    )
    return head + body + (NO_BUDGETS if least is None else BUDGETS.format(least=least))


def _counts(train: dict[str, int], what: str) -> str:
    each = _from_to(min(train.values()), max(train.values()))
    return f"{sum(train.values()):,} {what} of {len(train)} classes, {each} each"


def _from_to(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _shares(samples: int, split: Split, test: dict[str, int] | None) -> str:
    training = training_samples(samples, split, test is not None)
    choosing = round(samples * split.validation)
    judging = samples - training - choosing if test is None else sum(test.values())
    told = f"about {training:,} train, {choosing:,} choose the epoch, {judging:,} judge"
    return told if test is None else f"{told}: the test set's, so that `test` is not drawn"


def _training(chosen: Training) -> str:
    return f"  epochs: {chosen.epochs}\n  learning_rate: {chosen.learning_rate:g}\n  batch_size: {chosen.batch_size}\n"


def _path(data: Path, folder: Path) -> str:
    """Relative to the recipe's folder, so that both can be moved together."""
    relative = os.path.relpath(data.resolve(), folder.resolve())
    return scalar(f"./{relative}" if relative.startswith("~") else relative)


def _test_path(data: Path | None, folder: Path) -> str:
    return "" if data is None else f"  test_path: {_path(data, folder)}\n"
