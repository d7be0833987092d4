"""Where a target is measured this time: `--device` and `--tool` of a command over what its profile says."""

from collections.abc import Mapping, Sequence
from typing import Any

from targets.errors import TargetError
from targets.profile import Measure, Profile
from targets.strict import parse

REMOTE = ("adb", "ssh")  # places that are reached at an address


def placed(profile: Profile, device: str | None, tools: Mapping[str, str] | None = None) -> Profile:
    """`profile` measured at `device`: an address, or adb:SERIAL or ssh:HOST where the profile names another place.
    `tools` replace those of the profile, name by name. Raises TargetError for what is no address or no tool."""
    try:
        return profile.model_copy(update={"measure": placed_measure(profile.measure, device, tools)})
    except TargetError as error:
        raise TargetError(f"target {profile.id}: {error}") from None


def placed_measure(measure: Measure, device: str | None, tools: Mapping[str, str] | None = None) -> Measure:
    """As `placed`, of a profile's `measure` alone."""
    change: dict[str, Any] = measure.model_dump(exclude_unset=True)
    if device is not None:
        place, colon, rest = device.partition(":")
        if colon and place in REMOTE:
            change["where"], device = place, rest
        elif measure.where not in REMOTE:
            raise TargetError(
                f"--device {device}: nothing is measured at an address where measure.where is '{measure.where}'; say "
                f"adb:{device} or ssh:{device}"
            )
        change["device"] = device or None
    if tools:
        change["tools"] = {**change.get("tools", {}), **tools}
    return parse(Measure, change, "measure")


def by_target(told: Sequence[str], targets: Sequence[str], option: str) -> dict[str, str]:
    """TARGET=VALUE options by target; of a single target its name may be left out. Raises TargetError for a target
    that is none of `targets`."""
    found = {}
    for one in told:
        target, sign, value = one.partition("=")
        if not sign and len(targets) == 1:
            target, value = targets[0], one
        if target not in targets or not value:
            raise TargetError(
                f"{option} {one}: expected TARGET=ADDRESS, TARGET one of {', '.join(targets)}, such as "
                f"{option} {targets[0]}=ssh:raspberrypi"
            )
        found[target] = value
    return found


def named_tools(told: Sequence[str]) -> dict[str, str]:
    """NAME=PATH options by name. Raises TargetError for what is not of that form."""
    found = {}
    for one in told:
        name, sign, path = one.partition("=")
        if not sign or not path:
            raise TargetError(f"--tool {one}: expected NAME=PATH, such as --tool litert=./benchmark_model")
        found[name] = path
    return found
