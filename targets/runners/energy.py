"""Energy that the processor says it has used: RAPL's counters, where the kernel shows them."""

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def read_microjoules(root: Path = POWERCAP) -> dict[str, tuple[int, int]]:
    """(counter, its largest value) of each processor package, by the name of its zone; empty where they can't be read.
    See the kernel's Documentation/power/powercap."""
    found = {}
    for zone in sorted(root.glob("intel-rapl:*")):
        if zone.name.count(":") > 1:  # a part of a package
            continue
        try:
            counter = int((zone / "energy_uj").read_text())
            found[zone.name] = (counter, int((zone / "max_energy_range_uj").read_text()))
        except (OSError, ValueError):
            return {}
    return found


def used_millijoules(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> float | None:
    """Of all packages, between two readings; a counter that began anew meanwhile is followed once round. None where
    nothing could be read."""
    if not before or before.keys() != after.keys():
        return None
    steps = [(after[zone][0] - start) % (largest + 1) for zone, (start, largest) in before.items()]
    return sum(steps) / 1e3
