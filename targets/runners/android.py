"""What an Android device says of itself: what it is, and how hot, charged and fast it is now."""

import re
from typing import Any

from targets.errors import TargetError
from targets.runners.bridge import Device

PROPERTIES = (
    "ro.product.manufacturer", "ro.product.model", "ro.soc.model", "ro.build.version.release",
    "ro.product.cpu.abilist", "ro.build.fingerprint",
)  # fmt: skip
THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")  # of Android's PowerManager
STATE = (
    "dumpsys battery || true; dumpsys thermalservice || true; "
    "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor | sort -u | sed 's/^/governor: /'"
)


def properties(device: Device) -> dict[str, str]:
    """`PROPERTIES` by name, empty where the device has none. Raises TargetError if it does not tell its ABIs."""
    told = device.shell_text("; ".join(f"getprop {name}" for name in PROPERTIES), "getprop")
    lines = [line.strip() for line in told.splitlines()]
    if len(lines) != len(PROPERTIES) or not lines[PROPERTIES.index("ro.product.cpu.abilist")]:
        raise TargetError(f"{device.serial}: the device does not tell what it is: getprop gave {told.strip()[:80]!r}")
    return dict(zip(PROPERTIES, lines, strict=True))


def abis(told: dict[str, str]) -> list[str]:
    """The ABIs that the device runs, its own first."""
    return told["ro.product.cpu.abilist"].split(",")


def label(told: dict[str, str]) -> str:
    """One line, as it stands in reports: no serial number."""
    soc = f" ({told['ro.soc.model']})" if told["ro.soc.model"] else ""
    device = f"{told['ro.product.manufacturer']} {told['ro.product.model']}".strip()
    return f"{device}{soc}, Android {told['ro.build.version.release']}, {abis(told)[0]}"


def state(device: Device) -> dict[str, Any]:
    """Battery (percent, and its degrees Celsius), thermal status and governors, as far as the device tells them."""
    text = device.shell_text(STATE, "dumpsys")
    level, warmth = re.search(r"^\s*level: (\d+)", text, re.M), re.search(r"^\s*temperature: (\d+)", text, re.M)
    thermal = re.search(r"Thermal Status: (\d+)", text)
    return {
        "battery": int(level[1]) if level else None,
        "celsius": int(warmth[1]) / 10 if warmth else None,  # told in tenths
        "plugged": bool(re.search(r"^\s*(AC|USB|Wireless) powered: true", text, re.M)),
        "thermal": int(thermal[1]) if thermal else None,
        "governors": sorted(set(re.findall(r"^governor: (\S+)$", text, re.M))),
    }


def state_notes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Two states in words."""
    notes = []
    if after["battery"] is not None:
        warmth = f", {after['celsius']:.1f} °C" if after["celsius"] is not None else ""
        notes.append(f"battery {after['battery']}%{warmth}, {'plugged in' if after['plugged'] else 'not plugged in'}")
    if before["thermal"] is not None and after["thermal"] is not None:
        words = [THERMAL[min(state["thermal"], len(THERMAL) - 1)] for state in (before, after)]
        notes.append(f"Android's thermal status: {words[0]} before, {words[1]} after")
        if max(before["thermal"], after["thermal"]) >= THERMAL.index("moderate"):
            notes.append("the device throttled: let it cool and measure again")
    if after["governors"]:
        notes.append(f"cpufreq governor: {', '.join(after['governors'])}")
    return notes
