"""What a Linux board says of itself. Its source is sent to the board's own Python: standard library, any Python 3.

Prints one JSON object. Given names of packages: with their versions, null for what is not installed.
"""

import glob
import json
import os
import platform
import sys


def look(packages):  # type: ignore[no-untyped-def]  # for any Python 3
    """What this machine is, what is installed, and how hot and fast it is now."""
    return {
        "python": platform.python_version(),
        "cpuinfo": _read("/proc/cpuinfo"),
        "machine_id": _read("/etc/machine-id").strip(),
        "architecture": platform.machine(),
        "system": _system(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: _version(name) for name in packages},
        "governors": sorted({text.strip() for text in _all("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")}),
        "celsius": _hottest(),
        "throttled": _throttled(),
    }


def _read(file):  # type: ignore[no-untyped-def]
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _all(pattern):  # type: ignore[no-untyped-def]
    return [text for text in map(_read, sorted(glob.glob(pattern))) if text.strip()]


def _system():  # type: ignore[no-untyped-def]
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return platform.system()


def _version(name):  # type: ignore[no-untyped-def]
    try:
        from importlib.metadata import version

        return version(name)
    except Exception:  # not installed, or a Python without importlib.metadata
        return None


def _hottest():  # type: ignore[no-untyped-def]
    """Degrees Celsius of the hottest zone; null where none is told. The kernel tells thousandths."""
    found = []
    for text in _all("/sys/class/thermal/thermal_zone*/temp"):
        try:
            found.append(int(text) / 1e3)
        except ValueError:
            continue
    return max(found) if found else None


def _throttled():  # type: ignore[no-untyped-def]
    """Whether the processor is held back now; null where nothing tells. A Raspberry Pi tells bits (0: under-voltage,
    1: frequency capped, 2: throttled, 3: soft temperature limit); others how far their cooling devices are engaged,
    of which those of the processor slow it down."""
    bits = _read("/sys/devices/platform/soc/soc:firmware/get_throttled").strip()
    if bits:
        return bool(int(bits, 16) & 0xF)
    states = []
    for place in sorted(glob.glob("/sys/class/thermal/cooling_device*")):
        if "cpu" in _read(place + "/type").lower():
            states.append(_read(place + "/cur_state").strip() not in ("", "0"))
    return any(states) if states else None


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1:])))
