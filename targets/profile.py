"""A target's profile: what the device is, what it runs well, and what a release for it must keep to.

A figure without a source stays null. Profiles are YAML files in `targets/profiles/`; a user's own is a path.
"""

import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from targets.budgets import Budgets, BudgetsByTask
from targets.errors import TargetError
from targets.measuring import Measure
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
