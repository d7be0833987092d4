"""The cores that can be emulated, and what Linux says of each in /proc/cpuinfo.

Both runtimes choose their kernels by that file. Where it names another core than the one emulated they may use
instructions that this one lacks, and where it names none they crash.
"""

from dataclasses import dataclass

from targets.errors import TargetError
from targets.profile import Profile

PROCESSORS = 4  # cores that the emulated machine tells of

_V8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_V8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class EmulatedCore:
    """`name`: QEMU's `-cpu`. `part`, `variant`, `revision`: fields of MIDR_EL1, as in the Arm technical reference
    manual of the core and in QEMU's own model of it. `features`: the kernel's words for its instruction sets.
    `stand_in`: a core of the same instruction sets, for a QEMU that does not have this one."""

    name: str
    part: int
    variant: int
    revision: int
    features: str
    stand_in: str | None = None

    @property
    def cpuinfo(self) -> str:
        """The text of /proc/cpuinfo, for `PROCESSORS` equal cores."""
        return "".join(
            f"processor\t: {number}\n"
            "BogoMIPS\t: 108.00\n"
            f"Features\t: {self.features}\n"
            "CPU implementer\t: 0x41\n"
            "CPU architecture: 8\n"
            f"CPU variant\t: {self.variant:#x}\n"
            f"CPU part\t: {self.part:#x}\n"
            f"CPU revision\t: {self.revision}\n\n"
            for number in range(PROCESSORS)
        )


CORES = {
    core.name: core
    for core in (
        EmulatedCore("cortex-a53", 0xD03, 0, 4, _V8_0),
        EmulatedCore("cortex-a55", 0xD05, 2, 0, _V8_2, stand_in="cortex-a76"),
        EmulatedCore("cortex-a72", 0xD08, 0, 3, _V8_0),
        EmulatedCore("cortex-a76", 0xD0B, 4, 1, _V8_2),
    )
}


def emulated_core(uarch: str) -> EmulatedCore:
    """The core called `uarch`, in any case: Cortex-A53. Raises TargetError for one that can't be emulated."""
    core = CORES.get(uarch.strip().lower())
    if core is None:
        raise TargetError(f"core {uarch} can't be emulated: expected one of {', '.join(CORES)}")
    return core


def profile_cores(profile: Profile) -> tuple[EmulatedCore, ...]:
    """A profile's kinds of cores, each once. Raises TargetError if it names none, or one that can't be emulated: what
    holds on a sibling need not hold on the core itself."""
    names = list({core.uarch.lower(): core.uarch for core in profile.cores}.values())
    if not names:
        raise TargetError(
            f"target {profile.id} names no cores, so there is nothing to emulate: add cores to the profile, or name "
            f"a core instead of a target: {', '.join(CORES)}"
        )
    missing = [name for name in names if name.lower() not in CORES]
    if missing:
        raise TargetError(
            f"target {profile.id}: {', '.join(missing)} can't be emulated; QEMU's cores here are {', '.join(CORES)}. "
            "Name one of them instead of the target to see what it does, which tells nothing sure of the device"
        )
    return tuple(emulated_core(name) for name in names)


def named_cores(name: str) -> tuple[EmulatedCore, ...]:
    """The cores of a target, or the one core that `name` is. Raises TargetError for neither, and as above."""
    from targets.profile import load_profile

    if name.strip().lower() in CORES:
        return (emulated_core(name),)
    return profile_cores(load_profile(name))
