"""What the stages hand on: frozen, plain, stored as JSON. Nothing hidden: paths of files written, figures measured.

Every result carries its `fingerprint`; paths lie in the result's own folder of the store.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.emulated.results import EmulatedFile, PredictedLatency
from pipeline.quantize.mixed_results import MixedCosts, MixedResult, SensitivityResult
from targets.latency import Summary
from targets.profile import IoType, RuntimeName, Scheme, Source, Task
from targets.runners.quiet import Quiet
from targets.runtimes.coverage import Coverage, OperatorTimes, TableCoverage

Format = Literal["onnx", "tflite", "ort", "pte", "mlpackage"]
MADE_OF: dict[str, Format] = {"ort": "onnx"}  # formats whose files are made of a file of another
SplitName = Literal["train", "validation", "test", "transfer"]
UNLABELLED = -1  # in place of the class of a sample that has none
Role = Literal["teacher", "assistant", "naive", "student", "pruned", "trimmed", "int8"]


@dataclass(frozen=True)
class Accuracy:
    """Top-1 in [0, 1] of `correct` out of `total`, with the 95% Wilson interval."""

    correct: int
    total: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PreparedData:
    """Samples ready to train on, memory-mapped.

    `inputs_file`: images uint8 [N, size, size, 3] RGB; texts int32 [N, sequence_length] word-piece ids, padded.
    `labels_file`: int64 [N]. `lengths_file` (text): int32 [N] real tokens, mask = position < length.
    `split_file`: .npz with int64 row numbers under train, validation, test; ids are the row numbers. Where there is a
    transfer set its rows stand under transfer, behind all others, with label -1; `counts` and `groups_file` leave it
    out.
    `texts_file`: one JSON string a line, the N texts as read. `tokenizer_folder`: a transformers fast tokenizer.
    `groups_file`: .npz with the name of the column that groups the samples, the groups' names, int64 [N] into them.
    """

    fingerprint: str
    task: Task
    source: str
    licence: str | None
    content_sha256: str
    labels: tuple[str, ...]
    counts: dict[str, dict[str, int]]  # split -> label -> samples
    duplicates_removed: int
    truncated_texts: int
    inputs_file: Path
    labels_file: Path
    split_file: Path
    lengths_file: Path | None = None
    texts_file: Path | None = None
    tokenizer_folder: Path | None = None
    groups_file: Path | None = None

    @property
    def inputs(self) -> np.ndarray:
        return np.load(self.inputs_file, mmap_mode="r")

    @property
    def targets(self) -> np.ndarray:
        """int64 [N], the class of each row, `UNLABELLED` of a transfer set's."""
        return np.load(self.labels_file)

    @property
    def lengths(self) -> np.ndarray:
        assert self.lengths_file is not None, "only texts have lengths"
        return np.load(self.lengths_file)

    def rows(self, split: SplitName) -> np.ndarray:
        """int64, sorted row numbers of a split; none of a transfer set that is not there."""
        with np.load(self.split_file) as splits:
            return splits[split] if split != "transfer" or split in splits else np.empty(0, np.int64)

    @property
    def taught_rows(self) -> np.ndarray:
        """int64, sorted: the rows that a student hears its teacher about, the train split and the transfer set."""
        return np.concatenate([self.rows("train"), self.rows("transfer")])


@dataclass(frozen=True)
class EpochRecord:
    epoch: int
    train_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class NetworkResult:
    """A trained network: a teacher, a student, or a student: naive, pruned, INT8-aware or with fewer word pieces.

    `checkpoint_file` is safetensors; `architecture` is all that `pipeline.networks.load_network` needs besides it.
    `test_logits_file`: float32 [T, classes] for the test split, in its row order. `macs` is for one sample.
    """

    fingerprint: str
    role: Role
    name: str
    checkpoint_file: Path
    architecture: dict[str, object]
    parameters: int
    macs: int | None
    accuracy: Accuracy
    test_logits_file: Path
    validation_accuracy: float
    curve: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None
    notes: tuple[str, ...] = ()  # what a reader of the report must know
    ranges_file: Path | None = None  # of activations, learned with the weights (`pipeline.aware`)
    inference_file: Path | None = None  # from which a teacher answers (`pipeline.teachers.inference`)

    @property
    def test_logits(self) -> np.ndarray:
        return np.load(self.test_logits_file)


def vocabulary_size(network: NetworkResult) -> int | None:
    """Word pieces that a text network has embeddings of; None for images."""
    config = network.architecture.get("config")
    return int(config["vocab_size"]) if isinstance(config, dict) else None


@dataclass(frozen=True)
class InferenceGraph:
    """A teacher as a file for its answers alone; no `file` where it answers in PyTorch."""

    fingerprint: str
    file: Path | None
    bytes: int


@dataclass(frozen=True)
class TrimmedResult:
    """A student that knows fewer word pieces, and the data as it reads them. `new_unknown`: texts of all splits that
    hold a word which only the smaller vocabulary can't spell."""

    fingerprint: str
    data: PreparedData
    student: NetworkResult
    new_unknown: int


@dataclass(frozen=True)
class ExportedFile:
    """A model file with static shapes. `scheme` float32 as exported; the others by `pipeline.quantize`."""

    fingerprint: str
    file: Path
    format: Format
    scheme: Scheme
    io_dtype: IoType
    bytes: int
    sha256: str
    sequence_length: int | None = None
    calibration_manifest: Path | None = None
    notes: tuple[str, ...] = ()
    operators_file: Path | None = None  # of .ort files: the operators that a reduced build of ONNX Runtime must have

    @property
    def label(self) -> str:
        return self.scheme + ("-io8" if self.io_dtype != "float32" else "")


@dataclass(frozen=True)
class Calibration:
    """Ranges of a student's activations. `model_file`: its float32 ONNX file as quantizers want it. `activations_file`:
    JSON by tensor name: `range`, lowest and highest, and `signature`, by which other files' tensors are compared."""

    fingerprint: str
    model_file: Path
    activations_file: Path
    manifest_file: Path

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        return {name: tuple(told["range"]) for name, told in self._activations.items()}

    @property
    def signatures(self) -> dict[str, tuple[int, list[list[float]]]]:
        return {name: tuple(told["signature"]) for name, told in self._activations.items() if told["signature"]}

    @property
    def _activations(self) -> dict[str, Any]:
        return dict(json.loads(self.activations_file.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class FileAccuracy:
    """One exported file judged by the runtime that will run it, on the whole test set.

    `scores_file`: float32 [T, classes] as the app sees them, dequantized. Agreement is the share of test samples
    with the same top-1 label as the student in PyTorch.
    """

    fingerprint: str
    accuracy: Accuracy
    agreement_with_student: float
    scores_file: Path
    runtime: RuntimeName
    runtime_version: str

    @property
    def scores(self) -> np.ndarray:
        return np.load(self.scores_file)


@dataclass(frozen=True)
class LatencyFigures:
    """Milliseconds of single inferences (batch of one). `samples_file`: float64 [n], in the order measured.

    `looks`: at how many moments the runs could have been stopped by a verdict; the early-stopping rule needs it.
    `at_pace`: what they would have been had the machine's pace been even; `energy_mj`: millijoules of one inference.
    `cold_start_ms`, `peak_mem_mb` and these are None where the place that measured does not tell them.
    """

    fingerprint: str
    source: Source
    machine: str
    threads: int
    runs: int
    p50: float
    p90: float
    p99: float
    mean: float
    cold_start_ms: float | None
    peak_mem_mb: float | None
    samples_file: Path
    looks: int = 1
    notes: tuple[str, ...] = ()
    quiet: Quiet | None = None
    at_pace: Summary | None = None
    energy_mj: float | None = None

    @property
    def samples(self) -> np.ndarray:
        return np.load(self.samples_file)


@dataclass(frozen=True)
class PruningChoice:
    """How far a student is pruned for a goal that only files tell, in the worst file of a target: `size_mb`, or
    `latency` as a share of the unpruned student's.

    `rung`: of the student's ladder (`pipeline.pruning.ladder`), `macs_left` its share of the multiply-accumulates.
    `predicted`: what files of that architecture have; `tried`: what those of other rungs had, measured on `machine`
    (None for sizes).
    """

    fingerprint: str
    goal: Literal["size_mb", "latency"]
    asked: float
    predicted: float
    rung: int
    macs_left: float
    tried: tuple[tuple[int, float], ...]
    machine: str | None


@dataclass(frozen=True)
class PrunedPace:
    """A pruned student's file beside the unpruned student's, measured in turns: the median `share` of its latency with
    its 95% interval, and both medians in milliseconds."""

    fingerprint: str
    share: float
    pruned_ms: float
    whole_ms: float
    rounds: int
    machine: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class TargetFile:
    """All that is known of one file of one target. `shipped` files go into the bundle; the others (float32 beside
    a quantized file) stand in the report. `pace`: of files that ship, where a share of latency was asked for.
    `by_table`: what the target's own delegate takes, where there is a table of it. `emulated`, `predicted`: of files
    that ship, where they are run on the target's emulated cores."""

    export: ExportedFile
    accuracy: FileAccuracy
    latency: LatencyFigures | None
    shipped: bool
    coverage: Coverage | None = None
    operator_times: OperatorTimes | None = None
    by_table: TableCoverage | None = None
    pace: PrunedPace | None = None
    emulated: EmulatedFile | None = None
    predicted: PredictedLatency | None = None


@dataclass(frozen=True)
class AgreementFigures:
    """One measure of how far two networks' attributions agree, over the samples of which it is defined, beside what it
    is by chance: between the teacher's of one sample and the student's of another. `chance_high` is 95% of those;
    `above_chance` the share of samples above it."""

    mean: float
    median: float
    undefined: int
    chance_mean: float
    chance_high: float
    above_chance: float


@dataclass(frozen=True)
class ExplainResult:
    """Attributions of teacher and student, the one that is exported, compared on samples of the test split.

    `samples_file`: .npz with, for N samples of at most U parts, int64 [N] `rows` of the data, `explained` (the class
    that the student predicts) and `teacher_class`; float64 [N] `correlation` and `overlap`, NaN where undefined;
    float32 [N, U] `teacher` and `student`; bool [N, U] `used`, the parts that are compared; of texts int32 [N, U, 2]
    `spans`, from and to which letter a part goes. Parts are cells of `grid` x `grid`, row by row, or word pieces.
    `missed`: by network the median share by which integrated gradients miss the sum they should have.
    """

    fingerprint: str
    method: str
    samples: int
    top: float
    grid: int | None
    same_class: float
    correlation: AgreementFigures | None  # None where it is undefined for every sample
    overlap: AgreementFigures | None
    missed: dict[str, float]
    samples_file: Path


@dataclass(frozen=True)
class RunResult:
    """One target's release, before the gate. `students` in the order they were made: student, pruned, trimmed.
    `data` is what the last of them reads."""

    target: str
    data: PreparedData
    teacher: NetworkResult
    teacher_onnx_bytes: int
    naive: NetworkResult | None
    students: tuple[NetworkResult, ...]
    files: tuple[TargetFile, ...]
    notes: tuple[str, ...] = field(default=())
    explanation: ExplainResult | None = None
    int8: NetworkResult | None = None  # what static INT8 files were made of, where it is not the last of `students`
    sensitivity: SensitivityResult | None = None  # of the layers in 8 bits, where the recipe asks
    mixed: MixedResult | None = None  # which of them stayed in float
    mixed_costs: tuple[MixedCosts, ...] = ()
    start: NetworkResult | None = None  # what was pruned where that was not the student, but what it started from
    pruning: PruningChoice | None = None  # where the goal was measured on files
    unvalidated: tuple[ExportedFile, ...] = ()  # files that ship and that nothing here can run
