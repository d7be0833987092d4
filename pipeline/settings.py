"""The parts of a recipe: what each stage may be told. Strict: an unknown key is an error that names the nearest one."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from pipeline.cache_settings import CacheSettings
from targets.strict import Strict

FileFormat = Literal["onnx", "keras"]
FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
STORED = "cache"  # a teacher of which only answers are there: cache:FOLDER


class Split(Strict):
    """Shares of the samples, stratified by class and drawn once with `seed`. Where the source brings its own
    test set, that one is kept and only the validation share is drawn."""

    test: float = Field(default=0.2, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _leaves_training_samples(self) -> "Split":
        if self.test + self.validation > 0.9:
            raise ValueError(f"test {self.test} + validation {self.validation} leave under 10% to train on")
        return self


class DataSettings(Strict):
    """Where samples come from. `source` is a name in `pipeline.data.sources`; the other keys are its arguments."""

    source: str
    path: Path | None = None  # a folder or file, relative to the recipe
    test_path: Path | None = None  # the source's own test set
    name: str | None = None  # a data set's name on the Hugging Face hub
    config: str | None = None
    text_column: str = "text"
    image_column: str = "image"
    label_column: str | None = "label"  # None: samples without labels, which only a transfer set may be
    where: dict[str, str] = Field(default_factory=dict)  # keep only rows whose column has this value
    group_column: str | None = None  # of the groups that are audited; None: bins of text length, brightness, contrast
    limit: int | None = Field(default=None, ge=20)  # a stratified sample of this many
    split: Split = Split()

    @model_validator(mode="after")
    def _groups_are_not_the_classes(self) -> "DataSettings":
        if self.group_column is not None and self.group_column == self.label_column:
            raise ValueError(f"group_column '{self.group_column}' holds the labels, and classes are audited anyway")
        return self


class TransferSettings(Strict):
    """Samples that only the teacher judges: a source as under `data`, whose labels, if it has any, are not read.

    Of a source with a test set the training part is taken; an image folder needs no folders for classes.
    `split_sentences`: long texts are cut by `pipeline.data.sentences`. `limit`: so many samples, or sentences, drawn
    with `seed`.
    """

    source: str
    path: Path | None = None
    name: str | None = None
    config: str | None = None
    text_column: str = "text"
    image_column: str = "image"
    where: dict[str, str] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    split_sentences: bool = False


class ImageInput(Strict):
    """The student's input: RGB pixels, square."""

    size: int = Field(default=64, ge=16, le=1024, multiple_of=8)


class TextInput(Strict):
    """The student's input, in word pieces; longer texts are cut, and how many were is reported.

    `vocabulary: task` leaves the trained student only the word pieces that its training texts hold at least
    `least_count` times, special tokens, and the whole alphabet, from which other words are spelt; nothing is trained
    again.
    """

    sequence_length: int = Field(default=64, ge=8, le=512)
    vocabulary: Literal["full", "task"] = "full"
    least_count: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _counts_for_a_task(self) -> "TextInput":
        if self.least_count > 1 and self.vocabulary == "full":
            raise ValueError(f"least_count {self.least_count} is for vocabulary: task; the full one keeps every piece")
        return self


class RandAugment(Strict):
    """Cubuk et al. 2020: so many operations, drawn for each image from rotation, shear, shift, colour, contrast and
    the like, at a common magnitude (of torchvision's 31 steps)."""

    operations: int = Field(default=0, ge=0, le=8)
    magnitude: int = Field(default=9, ge=0, le=30)


class Augmentation(Strict):
    """Image views: through RandAugment, shifted by up to `shift` of the side, mirrored. View v of sample i is the same
    for everyone who asks, so the student sees exactly what the teacher judged."""

    shift: float = Field(default=0.0, ge=0, le=0.5)
    mirror: bool = False
    randaugment: RandAugment = RandAugment()

    @property
    def varies(self) -> bool:
        return self.shift > 0 or self.mirror or self.randaugment.operations > 0


class Regularization(Strict):
    """What keeps a training from learning its samples by heart, and from running on or away.

    `ema`: the decay of a moving average of the weights, which is what is judged and kept. `patience`: epochs without
    a better validation accuracy after which training stops. `clip_norm`: the largest norm of all gradients together.
    `mixup`, `cutmix`: parameter of the Beta distribution that the share of the mixed images is drawn from; 0 mixes
    none, and with both set each batch takes one of them.
    """

    ema: float | None = Field(default=None, gt=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    clip_norm: float | None = Field(default=None, gt=0)
    mixup: float = Field(default=0.0, ge=0, le=10)
    cutmix: float = Field(default=0.0, ge=0, le=10)

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


class TeacherSettings(Strict):
    """Any timm image model, any transformers sequence classifier by folder or name, or a file of another framework.

    `weights` is `hub` (the library's own download), `none`, a file or folder, or `package:NAME/GLOB`: a file inside
    an installed package. `epochs: 0` uses the teacher as it is.

    `model: onnx:FILE` or `keras:FILE` (.keras, .h5, or a SavedModel's folder) is used as it is: `epochs: 0` must be
    said. Its inputs are pixels 0..255, less `mean` and by `std` where given; a text one needs its `tokenizer`. Its
    `outputs` are logits or probabilities, by `auto` what its answers look like.

    `model: cache:FOLDER` is what `edgepress cache export` wrote of a teacher that is elsewhere: its answers, in
    mode cached; `epochs: 0` must be said.

    `data`: labelled samples of another domain, of the same classes, on which it is fine-tuned instead.
    """

    model: str
    weights: str = "hub"
    input_size: int | None = Field(default=None, ge=16, le=1024)  # images are resized to it before the teacher
    epochs: int = Field(default=3, ge=0, le=1000)
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0, lt=1)
    batch_size: int = Field(default=64, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    freeze: Literal["none", "embeddings", "backbone"] = "none"
    augmentation: Augmentation = Augmentation()  # of images; each epoch sees another view
    regularization: Regularization = Regularization()
    mean: tuple[float, float, float] | None = None  # of red, green and blue, in pixels 0..255
    std: tuple[float, float, float] | None = None
    tokenizer: str | None = None  # a folder, a name on the hub, or package:NAME/FOLDER
    outputs: Literal["auto", "logits", "probabilities"] = "auto"
    weight: float = Field(default=1.0, gt=0, le=1000)  # its say among the teachers of an ensemble
    data: DataSettings | None = None

    @model_validator(mode="after")
    def _own_data_is_learnt_from(self) -> "TeacherSettings":
        if self.data is None:
            return self
        if self.epochs == 0:
            raise ValueError("data is what the teacher is fine-tuned on, with epochs: 0 it is used as it is: remove it")
        if self.data.label_column is None:
            raise ValueError("data.label_column: a teacher learns from labels; name their column")
        if self.data.group_column is not None:
            raise ValueError("data.group_column: groups are audited on the recipe's own data; remove it here")
        return self

    @property
    def file_format(self) -> FileFormat | None:
        """Of a teacher that is a file of another framework; None for PyTorch's."""
        return next((form for form in FILE_FORMATS if self.model.startswith(f"{form}:")), None)

    @property
    def stored(self) -> bool:
        """Whether only its answers are there."""
        return self.model.startswith(f"{STORED}:")

    @model_validator(mode="after")
    def _stored_answers_stay(self) -> "TeacherSettings":
        if self.stored:
            if self.epochs:
                raise ValueError(f"epochs is {self.epochs}: {STORED}: teachers are answers alone, give epochs: 0")
            if self.weights != "hub" or self.input_size is not None or self.freeze != "none":
                raise ValueError(f"{STORED}: teachers are answers alone: remove weights, input_size and freeze")
        return self

    @model_validator(mode="after")
    def _file_settings_are_for_files(self) -> "TeacherSettings":
        form = self.file_format
        if form is None:
            given = [name for name in ("mean", "std", "tokenizer") if getattr(self, name) is not None]
            given += ["outputs"] if self.outputs != "auto" else []
            if given:
                raise ValueError(f"{given[0]} is for onnx: and keras: teachers; {self.model} brings its own")
            return self
        if self.epochs:
            raise ValueError(f"epochs is {self.epochs}: {form}: teachers are used as they are, give epochs: 0")
        if self.weights != "hub":
            raise ValueError(f"weights is {self.weights}: {form}: teachers hold their own, remove it")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both or none")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std is {list(self.std)}, expected numbers above 0")
        return self


class EnsembleSettings(Strict):
    """`teachers` besides the recipe's `teacher`: together they are the one that the student learns from.

    Its answer is the mean of theirs as probabilities softened at `temperature` (None: the distillation's). By
    `combine` a teacher counts with its `weight` (`weighted`), with its weight times how sure it is of the sample
    (`confidence`), or with a weight fitted on the validation split (`learned`).
    """

    teachers: tuple[TeacherSettings, ...] = Field(min_length=1)
    combine: Literal["weighted", "confidence", "learned"] = "weighted"
    temperature: float | None = Field(default=None, ge=1e-3, le=100)


class StudentSettings(Strict):
    """A student by name; `width` scales MobileNets, the four counts shape a TinyBERT."""

    family: str
    width: float = Field(default=1.0, gt=0.1, le=2.0)
    weights: str = "none"  # as the teacher's
    layers: int = Field(default=4, ge=1, le=24)
    hidden: int | None = Field(default=None, ge=32, le=1024)  # None: the teacher's
    heads: int | None = Field(default=None, ge=1, le=16)
    feed_forward: int | None = Field(default=None, ge=32, le=4096)
    start: Literal["random", "embeddings", "layers"] = "random"  # what a TinyBERT takes from its teacher
    from_layers: tuple[int, ...] | None = None  # the teacher's, from 1, that it starts from; None: evenly spread
    dropout: float | None = Field(default=None, ge=0, lt=1)  # before the classifier; of texts in the layers too

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> "StudentSettings":
        if self.hidden and self.heads and self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self

    @model_validator(mode="after")
    def _layers_to_start_from(self) -> "StudentSettings":
        chosen = self.from_layers
        if chosen is None:
            return self
        if self.start != "layers":
            raise ValueError(f"from_layers is for start: layers, found start: {self.start}")
        if len(chosen) != self.layers:
            raise ValueError(f"from_layers names {len(chosen)} layers, the student has {self.layers}: give layers too")
        if chosen[0] < 1 or sorted(set(chosen)) != list(chosen):
            raise ValueError(f"from_layers {list(chosen)}: expected rising numbers from 1")
        return self


class Ramp(Strict):
    """A figure that goes from `start` to `end` over the training, in a straight line or by half a cosine."""

    start: float = Field(ge=0, le=100)
    end: float = Field(ge=0, le=100)
    shape: Literal["linear", "cosine"] = "linear"


def _written_as(value: object) -> str:
    return "(ramp)" if isinstance(value, (dict, Ramp)) else "(number)"


# One kind of error, not one for each of the two.
Figure = Annotated[Annotated[float, Tag("(number)")] | Annotated[Ramp, Tag("(ramp)")], Discriminator(_written_as)]


class FeatureMatch(Strict):
    """One layer of the student learns from one of the teacher's, by the modules' names in timm's or transformers'
    network (`blocks.3`, `bert.encoder.layer.1`). `weight` times its loss is added to that of the answers.

    `hint`: mean squared error after a learned projection (FitNets); `attention`: where the activation is large
    (attention transfer)."""

    student: str = Field(min_length=1)
    teacher: str = Field(min_length=1)
    loss: Literal["hint", "attention"] = "hint"
    weight: float = Field(default=1.0, gt=0)


class LayerLosses(Strict):
    """What a text student learns from its teacher's layers.

    `tinybert`: embeddings, hidden states and attention scores layer by layer, students of another width through
    learned projections; as many heads as the teacher. `minilm`: relations between queries, keys and values of one
    teacher layer and the student's last, in `relation_heads` parts that both widths are multiples of (None: the most
    there can be), whatever their heads. `layer_map`: the teacher's layers that the student's learn from, from 1;
    `uniform` spreads them evenly, `last` takes the teacher's last ones; minilm takes the last or a list of one.
    The first `epochs` of the training, on top of `distill.epochs`, learn from layers alone (TinyBERT's first phase);
    then `weight` times their loss joins that of the answers.
    """

    method: Literal["tinybert", "minilm"] = "tinybert"
    layer_map: Literal["uniform", "last"] | tuple[int, ...] = "uniform"
    epochs: int = Field(default=0, ge=0, le=10000)
    weight: float = Field(default=0.0, ge=0)
    learning_rate: float | None = Field(default=None, gt=0, lt=1)  # of the first phase; None: the training's
    relation_heads: int | None = Field(default=None, ge=1, le=1024)

    @model_validator(mode="after")
    def _has_an_effect(self) -> "LayerLosses":
        if self.epochs == 0 and self.weight == 0:
            raise ValueError("layers: give epochs (a first phase), weight (beside the answers), or both")
        if self.method == "tinybert" and self.relation_heads is not None:
            raise ValueError("layers.relation_heads is for method: minilm; remove it")
        if isinstance(self.layer_map, tuple) and min(self.layer_map, default=0) < 1:
            raise ValueError(f"layers.layer_map {list(self.layer_map)}: list the teacher's layers, the first is 1")
        if self.method == "minilm" and isinstance(self.layer_map, tuple) and len(self.layer_map) != 1:
            raise ValueError("layers.layer_map: minilm learns from one layer of the teacher; list one")
        return self


class Refresh(Strict):
    """What the teacher judges anew in mode `mixed`: each epoch after the first `fraction` of the samples, those whose
    views are oldest, or those on which the student disagrees most with the teacher."""

    fraction: float = Field(default=0.2, gt=0, le=1)
    by: Literal["age", "disagreement"] = "age"


class DistillSettings(Strict):
    """Hinton et al. 2015: loss = alpha * soft target loss + (1 - alpha) * cross-entropy with labels.

    `loss` of the soft targets: `kl` (T^2 * KL of the softened answers), `mse` on logits, or `dist` (correlations).
    After the `epochs`, `hard_label_epochs` more learn from labels alone. `assistants`, of sizes between teacher and
    student, stand between the two: the first learns from the teacher, each next one and the student from the one
    before (Mirzadeh et al. 2020).

    `ahead`: how many batches a teacher that is asked may be ahead of the student, in a process or on a device of its
    own; 0 asks it in turn.

    `transfer`: one set or several of samples without labels. They join the student's epochs, all of them or
    `transfer_per_epoch` in turn; what the teacher says about them counts like the rest, and the labels' loss is the
    mean over the labelled samples of a batch.
    """

    mode: Literal["cached", "online", "mixed"] = "cached"
    refresh: Refresh = Refresh()  # of mode mixed
    cache: CacheSettings = CacheSettings()  # of modes cached and mixed
    ahead: int = Field(default=0, ge=0, le=64)
    loss: Literal["kl", "mse", "dist"] = "kl"
    temperature: Figure = 4.0
    alpha: Figure = 0.7
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    epochs: int = Field(default=10, ge=1, le=10000)
    hard_label_epochs: int = Field(default=0, ge=0, le=10000)
    learning_rate: float = Field(default=2e-3, gt=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0, lt=1)
    batch_size: int = Field(default=64, ge=1)
    views: int = Field(default=1, ge=1, le=64)  # augmented views of each sample; epoch e sees view e mod views
    augmentation: Augmentation = Augmentation()
    regularization: Regularization = Regularization()
    features: tuple[FeatureMatch, ...] = ()
    layers: LayerLosses | None = None
    assistants: tuple[StudentSettings, ...] = ()
    transfer: tuple[TransferSettings, ...] = ()
    transfer_per_epoch: int | None = Field(default=None, ge=1)
    compare_naive: bool = False

    @field_validator("transfer", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, (dict, TransferSettings)) else value

    @model_validator(mode="after")
    def _transfer_has_an_effect(self) -> "DistillSettings":
        if self.transfer_per_epoch is not None and not self.transfer:
            raise ValueError("transfer_per_epoch is for a transfer set: give transfer, or remove it")
        if self.transfer and self.alpha == 0 and not self.features and self.layers is None:
            raise ValueError("transfer samples have no labels, and alpha: 0 learns from labels alone: raise alpha")
        return self

    @model_validator(mode="after")
    def _ahead_of_questions(self) -> "DistillSettings":
        if self.ahead and self.mode == "cached":
            raise ValueError("ahead: in mode cached the teacher has answered already; remove it, or use mode online")
        if self.ahead and (self.features or (self.layers is not None and self.layers.weight > 0)):
            raise ValueError("ahead: the teacher hands over its answers alone: remove it, or features and layers")
        return self

    @model_validator(mode="after")
    def _figures_in_range(self) -> "DistillSettings":
        if self.mode == "mixed" and not self.augmentation.varies:
            raise ValueError("mode mixed shows new views: give an augmentation, or use mode cached")
        if self.mode == "mixed" and self.views != 1:
            raise ValueError(f"mode mixed makes its views as it goes: remove views (it is {self.views})")
        if self.assistants and self.features:
            raise ValueError("features name one teacher's layers: remove them, or the assistants")
        for name, low, high in (("temperature", 1e-3, 100.0), ("alpha", 0.0, 1.0)):
            value = getattr(self, name)
            ends = (value.start, value.end) if isinstance(value, Ramp) else (value,)
            if not all(low <= end <= high for end in ends):
                raise ValueError(f"{name} is {' to '.join(f'{end:g}' for end in ends)}, expected {low:g} to {high:g}")
        return self

    @model_validator(mode="after")
    def _cache_serves(self) -> "DistillSettings":
        self.cache.refuse_unless_it_serves(
            mode=self.mode,
            loss=self.loss,
            one_temperature=not isinstance(self.temperature, Ramp),
            looks_inside=bool(self.features) or self.layers is not None,
            mixes_images=self.regularization.mixes,
        )
        return self


class PruneSettings(Strict):
    """Structured pruning: `macs` is the share of multiply-accumulates that is left. For a BERT, the heads and
    feed-forward units of each layer are thinned to that share."""

    macs: float = Field(default=1.0, gt=0.05, le=1.0)  # 1.0: no pruning
    round_to: int = Field(default=8, ge=1, le=64)
    recovery_epochs: int = Field(default=2, ge=0)
    learning_rate: float = Field(default=5e-4, gt=0, lt=1)


class ComputeSettings(Strict):
    """How trainings compute. `precision`: of convolutions and matrix products (bf16 and fp16 by autocast; weights stay
    float32), the student's and those of a teacher that is asked as it goes; fp16 needs a CUDA device. `compile`: the
    trained network by torch.compile, which must not be looked into."""

    precision: Literal["float32", "bf16", "fp16"] = "float32"
    compile: bool = False


class Hyperparameter(Strict):
    """What the trials of a search may give one setting: a number from `low` to `high`, both included, drawn evenly or,
    with `log`, evenly by its logarithm; or one of `choices`, of any kind."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = Field(default=None, min_length=2)

    @model_validator(mode="after")
    def _range_or_choices(self) -> "Hyperparameter":
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices stand alone: remove low, high and log, or the choices")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not under high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true needs a low above 0, found {self.low:g}")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Of a range."""
        assert self.low is not None, "choices have no ends"
        assert self.high is not None, "choices have no ends"
        return self.low, self.high


class SearchSettings(Strict):
    """Of `edgepress search`. It ends after so many `trials`, begins none after so many `minutes`, and has 30 trials
    where neither is given. `space`: what is searched, by dotted keys of the recipe; None: what
    `pipeline.search.space` finds worth it in the recipe."""

    trials: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    space: dict[str, Hyperparameter] | None = Field(default=None, min_length=1)

    @property
    def total(self) -> int | None:
        """Trials of all; None where the minutes alone end them."""
        return self.trials if self.trials or self.minutes else 30


class CalibrationSettings(Strict):
    """Training samples for static INT8."""

    samples: int = Field(default=256, ge=1, le=100_000)
    method: Literal["minmax", "percentile", "entropy"] = "minmax"  # of onnxruntime; LiteRT's quantizer uses min-max
    seed: int = Field(default=0, ge=0)


class ExplainSettings(Strict):
    """Whether teacher and student decide for the same reasons: their attributions of `samples` test samples, drawn with
    `seed` and stratified by class, compared (`pipeline.explain`).

    `integrated_gradients` adds up gradients in `steps` steps from nothing to the input; `occlusion` takes away a square
    of `window` cells, or `window` word pieces, at a time and needs no gradients. Attributions of images are summed over
    `grid` x `grid` cells. `top` is the share of the input that counts as what decided most.
    """

    samples: int = Field(default=64, ge=10, le=100_000)
    method: Literal["integrated_gradients", "occlusion"] = "integrated_gradients"
    steps: int = Field(default=64, ge=8, le=1000)
    window: int = Field(default=1, ge=1, le=64)
    grid: int = Field(default=8, ge=2, le=64)
    top: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _settings_of_the_method(self) -> "ExplainSettings":
        other = {"integrated_gradients": "window", "occlusion": "steps"}[self.method]
        if other in self.model_fields_set and getattr(self, other) != type(self).model_fields[other].default:
            raise ValueError(f"{other} is no setting of method {self.method}; remove it")
        if self.window > self.grid:
            raise ValueError(f"window {self.window} is wider than the grid of {self.grid} cells")
        return self
