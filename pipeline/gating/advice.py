"""What to try next for a budget that was missed: settings of the recipe or of the target's profile, chosen by the stage
that lost most and by what the recipe says already."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.gating.verdict import Check

IMAGE = "image-classification"
WIDTHS = 2.0  # student.width can't be above
COSTS = ("size_mb", "latency_ms.", "cold_start_ms", "peak_mem_mb")
OPERATORS = ("runtimes.", "export.max_transposes")
FILES = ("onnx:", "keras:", "cache:")  # teachers that can't be trained further
GOALS = ("macs", "params", "latency")
LITTLE = 0.05  # of a file's operators, outside the delegate: a softmax at the end is not to blame


@dataclass(frozen=True)
class Advice:
    """One setting to change, by its dotted name."""

    place: Literal["recipe", "profile"]
    setting: str
    text: str


@dataclass(frozen=True)
class Settings:
    """What a report tells of the recipe and the profile that it was made with."""

    recipe: dict[str, Any]
    profile: dict[str, Any]

    @property
    def image(self) -> bool:
        return bool(self.recipe["task"] == IMAGE)

    @property
    def quantization(self) -> dict[str, Any]:
        return dict(self.profile["quantization"]["image" if self.image else "text"] or {})

    def of(self, name: str, default: Any = None) -> Any:
        """A setting of the recipe; `default` for one that a recipe of its time had not."""
        place: Any = self.recipe
        for part in name.split("."):
            place = place.get(part) if isinstance(place, dict) else None
        return default if place is None else place


def settings_of(report: dict[str, Any]) -> Settings:
    return Settings(report["provenance"]["recipe"], report["provenance"]["profile"])


def advise(check: Check, report: dict[str, Any], file: dict[str, Any] | None) -> tuple[Advice, ...]:
    """Settings that may mend a missed `check` of `file` (None: of none that ships), the likeliest first."""
    settings = settings_of(report)
    if check.name.startswith("baseline.") and check.stage is None:
        return ()
    if check.passed is None:
        return tuple(_undecided(check, settings))
    if check.name == "size_mb":
        return (*_smaller_file(check, settings, file), *_smaller_student(settings))
    if check.name.startswith(OPERATORS):
        return tuple(_other_operators(settings))
    if check.name.startswith(COSTS):
        mended = _other_scheme(settings, file) if check.stage == "quantize" else []
        return (*mended, *_other_operators(settings, file), *_smaller_student(settings), *_thinner(settings))
    return tuple(_by_stage(check.stage, settings, file))


def _by_stage(stage: str | None, settings: Settings, file: dict[str, Any] | None) -> list[Advice]:
    if stage == "teacher":
        return _better_teacher(settings)
    if stage == "distill":
        return _better_student(settings)
    if stage == "prune":
        return _gentler_pruning(settings)
    if stage == "trim":
        least = settings.of("text.least_count", 1)
        kept = [_recipe("text.least_count", f"below the {least} that it is now keeps rarer words")] if least > 1 else []
        return [*kept, _recipe("text.vocabulary", "full keeps every word piece of the teacher's")]
    if stage == "export":
        return _longer_texts(settings)
    return _gentler_quantization(settings, file) if stage in ("quantize", "export and quantize") else []


def _better_teacher(settings: Settings) -> list[Advice]:
    epochs, model = settings.of("teacher.epochs", 0), str(settings.of("teacher.model"))
    found = []
    if not model.startswith(FILES):
        now = f"more than the {epochs} of now" if epochs else "above 0: it is used as it is, fine-tune it on your data"
        found.append(_recipe("teacher.epochs", now))
    found.append(_recipe("teacher.model", f"a stronger one than {model}"))
    if settings.of("ensemble") is None:
        found.append(_recipe("ensemble.teachers", "several teachers as one"))
    return found


def _better_student(settings: Settings) -> list[Advice]:
    found = [_recipe("distill.epochs", f"more than the {settings.of('distill.epochs')} of now")]
    if settings.image:
        augmentation = settings.of("distill.augmentation", {})
        if not augmentation.get("shift") and not augmentation.get("mirror"):
            found.append(_recipe("distill.augmentation.shift", "0.1 and several distill.views show it more"))
        if settings.of("student.weights") == "none":
            found.append(_recipe("student.weights", "pretrained ones to start from: hub, a file or package:NAME/GLOB"))
        width = settings.of("student.width", 1.0)
        if width < WIDTHS:
            found.append(_recipe("student.width", f"above the {width:g} of now, if size and latency have room"))
    else:
        if settings.of("student.start") == "random":
            found.append(_recipe("student.start", "layers or embeddings, where the student's family takes them"))
        layers = settings.of("student.layers")
        found.append(_recipe("student.layers", f"more than the {layers} of now, if size and latency have room"))
    if not settings.of("distill.transfer", ()):
        found.append(_recipe("distill.transfer", "samples without labels that only the teacher judges"))
    return found


def _gentler_pruning(settings: Settings) -> list[Advice]:
    found = []
    for goal in GOALS:
        share = settings.of(f"prune.{goal}", 1.0)
        if share < 1:
            found.append(_recipe(f"prune.{goal}", f"nearer to 1 than the {share:g} of now: less is cut"))
    if settings.of("prune.size_mb") is not None:
        found.append(_recipe("prune.size_mb", f"above the {settings.of('prune.size_mb'):g} of now: less is cut"))
    if settings.of("prune.layers") is not None:
        found.append(_recipe("prune.layers", f"more than the {settings.of('prune.layers')} of now"))
    if settings.of("prune.when") == "after":
        epochs = settings.of("prune.recovery_epochs", 0)
        found.append(_recipe("prune.recovery_epochs", f"more than the {epochs} of now"))
        if settings.of("prune.schedule") == "one_shot":
            found.append(_recipe("prune.schedule", "gradual cuts in steps with training between them"))
    return found


def _longer_texts(settings: Settings) -> list[Advice]:
    longest = settings.profile["export"]["max_sequence_length"]
    if not settings.image and longest is not None and longest < settings.of("text.sequence_length", 0):
        return [_profile("export.max_sequence_length", f"above the {longest} of now: texts are cut there")]
    return []


def _gentler_quantization(settings: Settings, file: dict[str, Any] | None) -> list[Advice]:
    quantization, scheme = settings.quantization, str(file["scheme"] if file else "")
    if not scheme.startswith("int8-static"):
        return _other_scheme(settings, file)
    found = []
    aware = settings.of("quantize.aware")
    if settings.image and aware is not None:
        found.append(_recipe("quantize.aware.epochs", f"more than the {aware.get('epochs')} of now"))
    elif settings.image:
        if not settings.of("quantize.correct_biases", False):
            found.append(_recipe("quantize.correct_biases", "true takes back what rounding shifts; no training"))
        if not settings.of("quantize.equalize", False):
            found.append(_recipe("quantize.equalize", "true evens out the ranges of channels; no training"))
        found.append(_recipe("quantize.aware.epochs", "2 epochs of training in 8 bits, without repairs beside it"))
    used = settings.of("calibration.method")
    found.append(_recipe("calibration.method", f"another than {used}: percentile, entropy or mse cut outliers off"))
    found.append(_recipe("calibration.samples", f"more than the {settings.of('calibration.samples')} of now"))
    if quantization.get("granularity") == "tensor":
        found.append(_profile(f"quantization.{_kind(settings)}.granularity", "channel, if the device runs it"))
    fallback = quantization.get("allow_float_fallback", False)
    if settings.image and fallback and scheme == "int8-static" and settings.of("quantize.max_drop") is None:
        found.append(_recipe("quantize.max_drop", "keeps as few layers in float as that many points take"))
    return found + _other_scheme(settings, file)


def _other_scheme(settings: Settings, file: dict[str, Any] | None) -> list[Advice]:
    """Another one than the file's, where the target runs others."""
    if not settings.quantization.get("allow_float_fallback", False) or file is None:
        return []
    now = str(file["scheme"])
    others = [name for name in ("int8-static", "int8-dynamic", "float16") if name != now]
    if settings.image:
        others = [name for name in others if name != "int8-dynamic"]
    return [_recipe("quantize.scheme", f"{' or '.join(others)} instead of {now}")]


def _smaller_file(check: Check, settings: Settings, file: dict[str, Any] | None) -> list[Advice]:
    found = []
    if not settings.image and settings.of("text.vocabulary") == "full":
        found.append(_recipe("text.vocabulary", "task leaves out the word pieces that your texts never use"))
    if file is not None and str(file["scheme"]).startswith("float"):
        found += _other_scheme(settings, file)
    if not any(settings.of(f"prune.{goal}", 1.0) < 1 for goal in GOALS):
        found.append(_recipe("prune.size_mb", f"{check.limit:g} prunes until the file has that size"))
    return found


def _smaller_student(settings: Settings) -> list[Advice]:
    if settings.image:
        width = settings.of("student.width", 1.0)
        return [_recipe("student.width", f"below the {width:g} of now")]
    found = [_recipe("student.layers", f"fewer than the {settings.of('student.layers')} of now")]
    if settings.of("student.start") != "layers":  # which are as wide as the teacher's
        now = settings.of("student.hidden")
        found.append(
            _recipe("student.hidden", f"below {'that of the teacher' if now is None else f'the {now} of now'}")
        )
    return found


def _thinner(settings: Settings) -> list[Advice]:
    """Less to compute."""
    found = []
    if settings.of("prune.size_mb") is None:
        goal = next((name for name in GOALS if settings.of(f"prune.{name}", 1.0) < 1), "macs")
        share = settings.of(f"prune.{goal}", 1.0)
        found.append(_recipe(f"prune.{goal}", f"below the {share:g} of now, with prune.recovery_epochs"))
    if settings.image:
        found.append(_recipe("image.size", f"below the {settings.of('image.size')} of now"))
    else:
        found.append(_recipe("text.sequence_length", f"below the {settings.of('text.sequence_length')} of now"))
    return found


def _other_operators(settings: Settings, file: dict[str, Any] | None = None) -> list[Advice]:
    """Where operators run outside the delegate; of a `file` in which few do, nothing."""
    if file is not None and _outside(file) <= LITTLE:
        return []
    found = []
    if settings.image and not settings.of("student.adapt", ()):
        found.append(_recipe("student.adapt", "auto trains the student with operators that the target takes"))
    return [*found, _recipe("student.family", f"another than {settings.of('student.family')}")]


def _outside(file: dict[str, Any]) -> float:
    """The share of operators that the delegate leaves out or computes in float."""
    found = file.get("operators")
    if not found:
        return 0.0
    return sum(kind["count"] for key in ("left_out", "in_float") for kind in found[key]) / found["count"]["value"]


def _undecided(check: Check, settings: Settings) -> list[Advice]:
    if check.name.startswith("latency_ms.") and check.value is not None:
        runs = settings.profile["measure"]["max_runs"]
        return [_profile("measure.max_runs", f"more than the {runs} of now, until the verdict is sure")]
    if check.name == "accuracy.max_group_drop":
        least = settings.of("budgets.accuracy.min_group_size")
        now = f"below the {least} of now" if least else "below that of the target"
        return [
            _recipe("data.split.test", "a larger share, so that a group's loss can be told from noise"),
            _recipe("budgets.accuracy.min_group_size", f"{now}, if smaller groups are to be judged"),
        ]
    return []


def _kind(settings: Settings) -> str:
    return "image" if settings.image else "text"


def _recipe(setting: str, text: str) -> Advice:
    return Advice("recipe", setting, text)


def _profile(setting: str, text: str) -> Advice:
    return Advice("profile", setting, text)
