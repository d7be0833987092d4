"""A target's profile: what the device is, what it runs well, and what a release for it must keep to.

A figure without a source stays null. Profiles are YAML files in `targets/profiles/`; a user's own is a path.
"""

import datetime
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from targets.errors import TargetError
from targets.schemes import FOUR_BIT, FOUR_BIT_OPSET, STATIC, Scheme, contradiction, unfit
from targets.strict import Strict, parse, read_yaml

Task = Literal["image-classification", "text-classification"]
IoType = Literal["float32", "int8", "uint8"]
RuntimeName = Literal["onnxruntime", "litert", "executorch"]
Source = Literal["device", "emulated", "predicted", "host"]
ExtraFormat = Literal["ort", "executorch", "coreml"]  # of files beside those of the runtimes

SCHEMA = 1


class Provenance(Strict):
    """Where the profile's figures come from."""

    kind: Literal["measured", "published", "vendor", "estimate"]
    source: str = Field(min_length=1)
    date: datetime.date


class Core(Strict):
    """A group of equal cores; `ghz` is the highest clock."""

    uarch: str
    count: int = Field(ge=1)
    ghz: float | None = Field(default=None, gt=0)
    big: bool = False


class OperatingSystem(Strict):
    type: Literal["android", "ios", "linux", "wearos", "web"]
    min_version: str | None = None
    abi: str | None = None


class Runtime(Strict):
    """A runtime that ships on the device. Its `format` follows: onnxruntime reads .onnx, litert .tflite."""

    name: RuntimeName
    min_version: str | None = None
    delegate: str | None = None  # xnnpack, coreml, edgetpu, cpu ...
    threads: int = Field(default=1, ge=1, le=64)
    min_delegated: float | None = Field(default=None, ge=0, le=1)  # share of a file's operators
    allow_fallback: bool = True  # False: no operator of a file may run outside the delegate

    @model_validator(mode="after")
    def _fallback_can_be_told(self) -> "Runtime":
        if self.allow_fallback:
            return self
        from targets.delegates.tables import CPU_DELEGATES, delegate_table, delegates_with_tables

        if self.delegate not in CPU_DELEGATES and delegate_table(self.name, self.delegate) is None:
            known = ", ".join(delegates_with_tables(self.name))
            raise ValueError(
                f"allow_fallback: false can't be judged for {self.name} with delegate '{self.delegate}': no host runs "
                f"it and there is no table of its operators; tables of {self.name}: {known}"
            )
        return self

    @property
    def format(self) -> Literal["onnx", "tflite"]:
        return "onnx" if self.name == "onnxruntime" else "tflite"


class Quantization(Strict):
    """How one task's models are quantized for this target."""

    scheme: Scheme
    granularity: Literal["per-channel", "per-tensor", "per-block"] = "per-channel"
    activations: Literal["asymmetric", "symmetric"] | None = None  # None: 8 bits asymmetric, 16 bits symmetric
    io_dtype: IoType = "float32"
    onnx_format: Literal["qdq", "qoperator"] = "qdq"
    onnx_activations: Literal["uint8", "int8"] = "uint8"
    onnx_weights: Literal["uint8", "int8"] = "int8"
    reduce_range: bool = False
    allow_float_fallback: bool = True

    @model_validator(mode="after")
    def _is_consistent(self) -> "Quantization":
        if reason := contradiction(self):
            raise ValueError(reason)
        return self

    @property
    def static(self) -> bool:
        """Whether activations have ranges, found by calibration."""
        return self.scheme in STATIC

    @property
    def symmetric(self) -> bool:
        """Whether the ranges of activations lie evenly about zero."""
        return (self.activations or ("symmetric" if self.scheme == "int8-static-a16" else "asymmetric")) == "symmetric"

    @property
    def label(self) -> str:
        """The scheme as it stands in file names: exact, with `-io8` where inputs and outputs are 8-bit."""
        return self.scheme + ("-io8" if self.io_dtype != "float32" else "")


class QuantizationByTask(Strict):
    """Null for a task means that the target takes no such model."""

    image: Quantization | None
    text: Quantization | None


class ExportSettings(Strict):
    opset: int = Field(default=20, ge=13, le=23)
    static_shapes: bool = True
    max_sequence_length: int | None = Field(default=None, ge=8, le=512)
    banned_ops: tuple[str, ...] = ()  # the field's names in lower case with dashes: hard-swish, gelu ...
    banned_reason: str | None = None
    max_transposes: int | None = Field(default=None, ge=0)
    extra_formats: tuple[ExtraFormat, ...] = ()

    @field_validator("extra_formats")
    @classmethod
    def _each_once(cls, formats: tuple[ExtraFormat, ...]) -> tuple[ExtraFormat, ...]:
        if len(set(formats)) != len(formats):
            raise ValueError(f"a format is listed twice: {list(formats)}")
        return formats


# Test samples that a group needs to be judged. With 100, of which 5 come out otherwise than the teacher's, the 95%
# interval of a drop reaches 5 points to either side; with 20 it would be 12, which tells nothing.
GROUP_SIZE = 100


class LatencyBudget(Strict):
    """Milliseconds of one inference, batch of one."""

    p50: float | None = Field(default=None, gt=0)
    p90: float | None = Field(default=None, gt=0)
    p99: float | None = Field(default=None, gt=0)


class AccuracyBudget(Strict):
    """`min` is top-1 in [0, 1]; `max_drop` is in points (percent) below the teacher; `min_agreement` is the
    share of test samples on which the ONNX and TFLite files give the same label, in [0, 1]. `max_group_drop` is
    what any class or subgroup of at least `min_group_size` test samples may lose, in points below the teacher."""

    min: float | None = Field(default=None, ge=0, le=1)
    max_drop: float | None = Field(default=None, ge=0, le=100)
    min_agreement: float | None = Field(default=None, ge=0, le=1)
    max_group_drop: float | None = Field(default=None, ge=0, le=100)
    min_group_size: int | None = Field(default=None, ge=10)  # None with a max_group_drop: GROUP_SIZE

    @model_validator(mode="before")
    @classmethod
    def _groups_have_a_size(cls, content: Any) -> Any:
        if isinstance(content, dict) and content.get("min_group_size") is None:
            size = None if content.get("max_group_drop") is None else GROUP_SIZE
            return {**content, "min_group_size": size}
        return content

    @model_validator(mode="after")
    def _a_size_has_its_budget(self) -> "AccuracyBudget":
        if self.min_group_size is not None and self.max_group_drop is None:
            raise ValueError("min_group_size says which groups max_group_drop judges: give both, or neither")
        return self


class Budgets(Strict):
    """What a release must keep to; null is no budget. Sizes are megabytes (10**6 bytes)."""

    latency_ms: LatencyBudget = LatencyBudget()
    cold_start_ms: float | None = Field(default=None, gt=0)
    size_mb: float | None = Field(default=None, gt=0)
    peak_mem_mb: float | None = Field(default=None, gt=0)
    accuracy: AccuracyBudget = AccuracyBudget()
    confidence: float = Field(default=0.99, gt=0.5, lt=1)

    def tightened_by(self, other: "Budgets") -> "Budgets":
        """The stricter of both, budget by budget: a recipe may tighten a target's, never loosen them."""

        def least(a: float | None, b: float | None) -> float | None:
            return min((v for v in (a, b) if v is not None), default=None)

        def most(a: float | None, b: float | None) -> float | None:
            return max((v for v in (a, b) if v is not None), default=None)

        def least_size(a: int | None, b: int | None) -> int | None:
            return min((v for v in (a, b) if v is not None), default=None)

        mine, theirs = self.latency_ms, other.latency_ms
        return Budgets(
            latency_ms=LatencyBudget(
                p50=least(mine.p50, theirs.p50), p90=least(mine.p90, theirs.p90), p99=least(mine.p99, theirs.p99)
            ),
            cold_start_ms=least(self.cold_start_ms, other.cold_start_ms),
            size_mb=least(self.size_mb, other.size_mb),
            peak_mem_mb=least(self.peak_mem_mb, other.peak_mem_mb),
            accuracy=AccuracyBudget(
                min=most(self.accuracy.min, other.accuracy.min),
                max_drop=least(self.accuracy.max_drop, other.accuracy.max_drop),
                min_agreement=most(self.accuracy.min_agreement, other.accuracy.min_agreement),
                max_group_drop=least(self.accuracy.max_group_drop, other.accuracy.max_group_drop),
                min_group_size=least_size(self.accuracy.min_group_size, other.accuracy.min_group_size),
            ),
            confidence=max(self.confidence, other.confidence),
        )


class BudgetsByTask(Strict):
    image: Budgets = Budgets()
    text: Budgets = Budgets()


# What an address may hold: enough for serial numbers, user@host, IPv6 with a zone; nothing that a program takes as an
# option or a shell acts on.
_ADDRESS = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9_.:@%+\[\]-]*")


class Tools(Strict):
    """Paths of what measures on a device: for adb, files here that are pushed; `python`, for ssh, is a path there;
    `browser` is a Chromium or Chrome here."""

    litert: str | None = None  # benchmark_model
    onnxruntime: str | None = None  # onnxruntime_perf_test
    python: str | None = None
    browser: str | None = None

    @field_validator("litert", "onnxruntime", "python", "browser")
    @classmethod
    def _is_a_path(cls, path: str | None) -> str | None:
        if path is not None and (path.startswith("-") or not path.isprintable() or not path.strip()):
            raise ValueError("expected a path of printable characters that does not begin with a dash")
        return path


# Where each mode of measuring can be had; logs hold what others measured.
MODES = {
    "warm": ("host", "adb", "ssh", "emulated", "browser", "log"),
    "paced": ("host", "ssh", "browser", "log"),
    "cold": ("host", "log"),
}
# What a profile with mode cold need not say: each of its runs starts a process.
COLD = {"warmup": 0, "min_runs": 5, "max_runs": 50, "min_seconds": 0.0}


class Measure(Strict):
    """How latency is measured. Runs go on until both `min_runs` and `min_seconds` are reached.

    `mode`: `warm`, one inference after the other once they have settled; `paced`, one every `pace_ms`, as an app with a
    camera does; `cold`, each of them the first in a fresh process, its opening of the file included.
    """

    mode: Literal["warm", "cold", "paced"] = "warm"
    pace_ms: float | None = Field(default=None, gt=0, le=60_000)
    where: Literal["host", "adb", "ssh", "emulated", "browser", "log"] = "host"
    device: str | None = None  # adb: a serial number; ssh: a host as OpenSSH's configuration knows it
    tools: Tools = Tools()
    warmup: int = Field(default=10, ge=0)
    min_runs: int = Field(default=100, ge=1)
    max_runs: int = Field(default=2000, ge=1)
    min_seconds: float = Field(default=1.0, ge=0)
    pin_cores: tuple[int, ...] | None = None
    allow_prediction: bool = False  # a verdict may rest on a predicted latency's upper end

    @model_validator(mode="before")
    @classmethod
    def _cold_starts_are_few(cls, content: Any) -> Any:
        return {**COLD, **content} if isinstance(content, dict) and content.get("mode") == "cold" else content

    @model_validator(mode="after")
    def _mode_has_what_it_needs(self) -> "Measure":
        if self.mode == "paced" and self.pace_ms is None:
            raise ValueError("mode paced needs pace_ms: the milliseconds from one inference to the next")
        if self.mode != "paced" and self.pace_ms is not None:
            raise ValueError(
                f"pace_ms is for mode paced, found mode {self.mode}: set mode to paced, or leave pace_ms out"
            )
        if self.mode == "cold" and self.warmup:
            raise ValueError(f"mode cold has no warm-up, found warmup {self.warmup}: leave it out")
        if self.where not in MODES[self.mode]:
            places = " or ".join(place for place in MODES[self.mode] if place != "log")
            raise ValueError(f"mode {self.mode} is measured where {places}, found where {self.where}")
        return self

    @model_validator(mode="after")
    def _max_is_not_less(self) -> "Measure":
        if self.max_runs < self.min_runs:
            raise ValueError(f"max_runs {self.max_runs} is less than min_runs {self.min_runs}")
        return self

    @field_validator("device")
    @classmethod
    def _is_an_address(cls, device: str | None) -> str | None:
        if device is not None and not _ADDRESS.fullmatch(device):
            raise ValueError(
                "expected a serial number, or a host as ssh takes it: letters, digits and any of . _ : @ % + - [ ], "
                "not beginning with a dash"
            )
        return device


class Baseline(Strict):
    """A published latency, to hold figures against, and to predict others from where its `threads` are known."""

    model: str
    dtype: str
    ms: float = Field(gt=0)
    threads: int | None = Field(default=None, ge=1, le=64)
    source: str = Field(min_length=1)


class Profile(Strict):
    schema_version: int = Field(default=SCHEMA, alias="schema")
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    name: str
    vendor: str | None = None
    form_factor: Literal["phone", "tablet", "watch", "board", "browser", "computer"]
    provenance: Provenance
    soc: str | None = None
    cores: tuple[Core, ...] = ()
    isa: tuple[str, ...] = ()
    ram_mb: int | None = None
    app_ram_budget_mb: int | None = None
    os: OperatingSystem
    runtimes: tuple[Runtime, ...] = Field(min_length=1)
    quantization: QuantizationByTask
    export: ExportSettings = ExportSettings()
    budgets: BudgetsByTask = BudgetsByTask()
    measure: Measure = Measure()
    baselines: tuple[Baseline, ...] = ()

    @model_validator(mode="after")
    def _known_schema_and_single_runtimes(self) -> "Profile":
        if self.schema_version != SCHEMA:
            raise ValueError(f"schema {self.schema_version} is not known; this edgepress reads {SCHEMA}")
        names = [runtime.name for runtime in self.runtimes]
        if len(set(names)) != len(names):
            raise ValueError(f"a runtime is listed twice: {names}")
        if "executorch" in names:
            raise ValueError("runtimes: ask for ExecuTorch files with export.extra_formats: [executorch]")
        if "ort" in self.export.extra_formats and "onnxruntime" not in names:
            raise ValueError(
                "export.extra_formats: ort is made of the ONNX file: add onnxruntime to runtimes, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _runtimes_have_kernels(self) -> "Profile":
        tasks: tuple[tuple[Task, str], ...] = (("image-classification", "image"), ("text-classification", "text"))
        for task, key in tasks:
            quantization = self.quantization_for(task)
            if quantization is None:
                continue
            for runtime in self.runtimes:
                reason = unfit(quantization, task, runtime.name) or self._too_old(quantization, runtime)
                if reason:
                    raise ValueError(f"quantization.{key}: {reason}")
        return self

    def _too_old(self, quantization: Quantization, runtime: Runtime) -> str | None:
        old = self.export.opset < FOUR_BIT_OPSET and runtime.name == "onnxruntime"
        if quantization.scheme not in FOUR_BIT or not old:
            return None
        return (
            f"ONNX stores numbers of 4 bits since operator set {FOUR_BIT_OPSET}, export.opset is {self.export.opset}: "
            f"set it to {FOUR_BIT_OPSET} if the device's runtime reads it"
        )

    def quantization_for(self, task: Task) -> Quantization | None:
        return self.quantization.image if task == "image-classification" else self.quantization.text

    def runtime_for(self, name: RuntimeName) -> Runtime:
        """The runtime of that name; ExecuTorch's where the profile asks for its files."""
        extra = [Runtime(name="executorch", delegate="xnnpack")] if "executorch" in self.export.extra_formats else []
        return next(runtime for runtime in (*self.runtimes, *extra) if runtime.name == name)

    def budgets_for(self, task: Task) -> Budgets:
        return self.budgets.image if task == "image-classification" else self.budgets.text

    def for_reports(self) -> dict[str, Any]:
        """This profile in JSON's plain types, without what names a device or a file of whoever measured: reports are
        handed round."""
        return self.model_dump(mode="json", by_alias=True, exclude={"measure": {"device", "tools"}})

    def with_scheme(self, task: Task, scheme: Scheme) -> "Profile":
        """This profile as if it asked for `scheme`. Raises TargetError if the target can't take it."""
        own = self.quantization_for(task)
        if own is None:
            raise TargetError(f"target {self.id} takes no models for {task}: its profile says so")
        if own.scheme == scheme:
            return self
        if not own.allow_float_fallback:
            raise TargetError(
                f"scheme {scheme}: target {self.id} runs graphs of {own.scheme} alone (allow_float_fallback: false); "
                f"remove it, or use {own.scheme}"
            )
        content = self.model_dump(mode="json", by_alias=True, exclude_unset=True)  # what it does not say stays unsaid
        content["quantization"]["image" if task == "image-classification" else "text"]["scheme"] = scheme
        return parse(Profile, content, f"target {self.id} with scheme {scheme}")


PROFILES = Path(__file__).parent / "profiles"


def profile_names() -> list[str]:
    """The ready profiles' ids, sorted."""
    return sorted(file.stem for file in PROFILES.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """A ready profile by id, or a profile file by path (it ends in .yaml or .yml).

    Raises TargetError for an unknown name (the nearest is named) and for a wrong file.
    """
    if name.endswith((".yaml", ".yml")):
        file = Path(name)
    elif name in profile_names():
        file = PROFILES / f"{name}.yaml"
    else:
        import difflib

        near = difflib.get_close_matches(name, profile_names(), n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        known = ", ".join(profile_names())
        raise TargetError(f"unknown target '{name}': {hint}known: {known}; or give the path of a .yaml profile")
    return parse(Profile, read_yaml(file), str(file) if file.parent != PROFILES else f"profile {name}")
