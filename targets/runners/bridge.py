"""One Android device at the other end of the system's `adb`: commands, files, and what is wrong with it in words."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from targets.errors import TargetError

SECONDS = 600  # after which a command on a device is given up
_EXIT = "edgepress-exit:"  # old devices do not tell a command's exit code, so the shell prints it


class DeviceLost(TargetError):
    """The device was there, and then it was not."""


class CommandFailed(TargetError):
    """A command ended on the device with `code`, having written `text`."""

    def __init__(self, command: str, code: int, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        super().__init__(f"{command}: exit code {code}: {lines[-1] if lines else 'it said nothing'}")
        self.code, self.text = code, text


@dataclass(frozen=True)
class Device:
    """A device that adb can speak to, by its serial number."""

    serial: str

    def shell(self, command: Sequence[str]) -> str:
        """What `command` writes there, stderr included. Raises CommandFailed, or DeviceLost."""
        return self.shell_text(shlex.join(command), command[0])

    def shell_text(self, text: str, name: str) -> str:
        """As `shell`, of a text for the device's shell that is made of constants and quoted parts."""
        code, told = _adb("-s", self.serial, "shell", f"{{ {text}; }} 2>&1; echo {_EXIT}$?")
        output, mark, ending = told.rpartition(_EXIT)
        if not mark or not ending.strip().isdigit():
            self._lost(told, code)
        if int(ending) != 0:
            raise CommandFailed(name, int(ending), output)
        return output

    def push(self, file: Path, place: str) -> None:
        """Copies a file of this computer to the device. Raises TargetError if there is no space, or DeviceLost."""
        code, told = _adb("-s", self.serial, "push", str(file), place)
        if code == 0:
            return
        if "No space left" in told:
            size = file.stat().st_size / 1e6
            raise TargetError(
                f"{self.serial}: no space left on the device for {file.name} ({size:.1f} MB); make room on it"
            )
        self._lost(told, code)

    def pull(self, place: str, file: Path) -> None:
        """Copies a file of the device to this computer. Raises TargetError if it is not there, or DeviceLost."""
        code, told = _adb("-s", self.serial, "pull", place, str(file))
        if code == 0:
            return
        if "No such file" in told or "does not exist" in told:
            raise TargetError(f"{self.serial}: {place} is not on the device: what should have written it did not")
        self._lost(told, code)

    def _lost(self, told: str, code: int) -> None:
        """Raises why a command of adb failed: DeviceLost if the device is gone."""
        state = dict(_listed()).get(self.serial)
        if state != "device":
            raise DeviceLost(f"{self.serial}: the device was lost ({state or 'adb does not see it any more'})")
        raise DeviceLost(f"{self.serial}: adb failed (exit code {code}): {_last_line(told)}")


def find_device(serial: str | None) -> Device:
    """The device named `serial`, or the only one there is. Raises TargetError, each case with what to do."""
    listed = _listed()
    states = dict(listed)
    if serial is None and not listed:
        raise TargetError(
            "no Android device is connected: plug one in with USB debugging on (Settings, Developer options), or "
            "`adb connect HOST:PORT`, then look with `adb devices`"
        )
    if serial is None and len(listed) > 1:
        raise TargetError(
            f"{len(listed)} Android devices are connected ({', '.join(sorted(states))}): name one with "
            "measure.device in the profile, or --device TARGET=SERIAL"
        )
    if serial is None:
        serial = listed[0][0]
    if serial not in states:
        others = f"; connected: {', '.join(sorted(states))}" if states else ""
        raise TargetError(f"{serial}: no such Android device is connected{others}; look with `adb devices`")
    state = states[serial]
    if state in ("unauthorized", "authorizing"):
        raise TargetError(f"{serial}: the device has not allowed this computer: unlock it and accept USB debugging")
    if state == "offline":
        raise TargetError(f"{serial}: the device is offline: reconnect it, or `adb reconnect offline`")
    if state == "no permissions":
        raise TargetError(
            f"{serial}: no permission to use the USB device: install udev rules (Debian: apt-get install "
            "android-sdk-platform-tools-common), and reconnect it"
        )
    if state != "device":
        raise TargetError(f"{serial}: the device is in state '{state}', expected a started Android")
    return Device(serial)


def _listed() -> list[tuple[str, str]]:
    """(serial, state) of the devices that adb sees."""
    code, told = _adb("devices")
    head, found, lines = told.rpartition("List of devices attached")
    if code != 0 or not found:
        raise TargetError(f"adb can't list devices: {_last_line(head + lines)}")
    rows = [line.split(maxsplit=1) for line in lines.splitlines() if line.strip() and not line.startswith("*")]
    return [(row[0], "no permissions" if row[1].startswith("no permissions") else row[1].strip()) for row in rows]


def _adb(*arguments: str) -> tuple[int, str]:
    """(exit code, stdout and stderr) of a command of adb."""
    program = shutil.which("adb")
    if program is None:
        raise TargetError("there is no adb program here; Debian: apt-get install adb, or the SDK's platform-tools")
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeviceLost(f"adb {arguments[0]}: the device did not answer for {SECONDS} s") from None
    return done.returncode, done.stdout.decode(errors="replace").replace("\r\n", "\n")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
