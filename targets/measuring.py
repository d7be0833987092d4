"""How and where a target's latency is measured."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from targets.strict import Strict

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
