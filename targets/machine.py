"""What this machine is, as far as it matters to a latency: processor, cores, instruction sets, memory, system.

No host name, no serial number: reports are handed round.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

# The kernel's flag -> our word, for the instruction sets of quantized and half-precision kernels.
ISA_FLAGS = {
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "amx_int8": "amx_int8",
    "neon": "neon",  # 32-bit ARM
    "asimd": "neon",  # 64-bit ARM
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}

# MIDR part numbers of ARM Ltd.'s cores (implementer 0x41), as in the Linux kernel's cputype.h.
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}


@dataclass(frozen=True)
class Machine:
    """`cores`: those this process may use. `isa`: words of `ISA_FLAGS`. `memory_mb`: MB are 10**6 bytes."""

    cpu: str
    cores: int
    isa: tuple[str, ...]
    os: str
    memory_mb: int
    python: str

    @property
    def label(self) -> str:
        """One line, as it stands in reports."""
        isa = f" ({', '.join(self.isa)})" if self.isa else ""
        return f"{self.cpu}{isa}, {self.cores} cores, {self.memory_mb / 1000:.0f} GB, {self.os}"


def describe_machine() -> Machine:
    """The machine that this process runs on."""
    import psutil

    cpu, isa = "", tuple[str, ...]()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        cpu, isa = read_cpuinfo(cpuinfo.read_text(encoding="utf-8", errors="replace"))
    return Machine(
        cpu=cpu or platform.processor() or platform.machine() or "unknown processor",
        cores=available_cores(),
        isa=isa,
        os=_system(),
        memory_mb=psutil.virtual_memory().total // 10**6,
        python=platform.python_version(),
    )


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """(processor, instruction sets) from the text of Linux's /proc/cpuinfo, x86 or ARM."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), []).append(value.strip())
    flags = set(" ".join(fields.get("flags", []) + fields.get("Features", [])).split())
    isa = tuple(dict.fromkeys(word for flag, word in ISA_FLAGS.items() if flag in flags))
    return _processor(fields), isa


def _processor(fields: dict[str, list[str]]) -> str:
    if "model name" in fields:
        return " ".join(fields["model name"][0].replace("(R)", "").replace("(TM)", "").split())
    makers, parts = fields.get("CPU implementer", []), fields.get("CPU part", [])
    cores = [_arm_core(maker, part) for maker, part in zip(makers, parts, strict=False)]
    counted = " + ".join(f"{cores.count(core)}x {core}" for core in dict.fromkeys(cores))
    board = fields.get("Model", [""])[0]  # Raspberry Pi OS puts the board here
    return f"{board} ({counted})" if board and counted else board or counted


def _arm_core(implementer: str, part: str) -> str:
    unknown = f"core {implementer}/{part}"
    return _ARM_PARTS.get(part, unknown) if implementer == "0x41" else unknown


def _system() -> str:
    name = f"{platform.system()} {platform.release()}"
    if platform.system() == "Linux":
        try:
            name = platform.freedesktop_os_release()["PRETTY_NAME"]
        except (OSError, KeyError):
            name = "Linux"  # the kernel's release often names the host's provider
    elif platform.system() == "Darwin":
        name = f"macOS {platform.mac_ver()[0]}"
    return f"{name}, {platform.machine()}"
