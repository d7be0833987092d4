"""What is said of a machine, from the real one and from the texts of others' /proc/cpuinfo."""

import platform

import pytest

from targets.machine import ISA_FLAGS, available_cores, describe_machine, read_cpuinfo

XEON = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Gold 6430
flags\t\t: fpu sse2 avx avx2 avx512f avx512_vnni amx_int8 avx_vnni

processor\t: 1
model name\t: Intel(R) Xeon(R) Gold 6430
flags\t\t: fpu sse2 avx avx2 avx512f avx512_vnni amx_int8 avx_vnni
"""


def arm(parts: list[str], features: str, implementer: str = "0x41", board: str = "") -> str:
    cores = [
        f"processor\t: {n}\nFeatures\t: {features}\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n"
        for n, part in enumerate(parts)
    ]
    return "\n".join(cores) + (f"\nModel\t\t: {board}\n" if board else "")


@pytest.mark.parametrize(
    ("text", "cpu", "isa"),
    [
        (XEON, "Intel Xeon Gold 6430", ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")),
        (
            arm(["0xd08"] * 4, "fp asimd evtstrm crc32 cpuid", board="Raspberry Pi 4 Model B Rev 1.4"),
            "Raspberry Pi 4 Model B Rev 1.4 (4x Cortex-A72)",
            ("neon",),
        ),
        (
            arm(["0xd05"] * 2 + ["0xd0b"] * 2, "fp asimd fphp asimdhp asimddp i8mm"),
            "2x Cortex-A55 + 2x Cortex-A76",
            ("neon", "fp16", "dotprod", "i8mm"),
        ),
        (arm(["0xd03"] * 4, "half thumb fastmult vfp edsp neon vfpv3"), "4x Cortex-A53", ("neon",)),
        (arm(["0x123"], "asimd", implementer="0x61"), "1x core 0x61/0x123", ("neon",)),
        ("", "", ()),
    ],
)
def test_processors_are_recognised(text: str, cpu: str, isa: tuple[str, ...]) -> None:
    assert read_cpuinfo(text) == (cpu, isa)


def test_this_machine_is_described_without_its_name() -> None:
    machine = describe_machine()
    assert machine.cpu
    assert machine.cores == available_cores() >= 1
    assert set(machine.isa) <= set(ISA_FLAGS.values())
    assert machine.memory_mb > 100
    assert machine.python == platform.python_version()
    assert machine.cpu in machine.label
    assert f"{machine.cores} cores" in machine.label
    assert platform.node() not in repr(machine)
