"""A small Android device on loopback that real `adb` speaks to over TCP: the transport (CNXN, AUTH, OPEN, OKAY, WRTE,
CLSE), the services shell: and sync:, as AOSP's protocol.txt and SYNC.TXT describe them. Its commands are run by this
computer's shell, with `getprop`, `dumpsys` and the like of its own; it can be told to vanish and to authorise nobody.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.targets import benchmark_tools

needs_adb = pytest.mark.skipif(shutil.which("adb") is None, reason="needs adb; Debian: apt-get install adb")

VERSION, MAX_DATA = 0x01000001, 256 * 1024
TOKEN = 1  # of AUTH: a challenge
STDOUT, EXIT = 1, 3  # of the frames of shell v2

PROPERTIES = {
    "ro.product.manufacturer": "Acme", "ro.product.model": "One", "ro.soc.model": "A1",
    "ro.build.version.release": "14", "ro.product.cpu.abilist": "x86_64,x86", "ro.build.fingerprint": "acme/one:14/1",
}  # fmt: skip
STUBS = {
    "getprop": 'cat "$DEVICE/props/$1" 2>/dev/null || echo',
    "dumpsys": 'cat "$DEVICE/dumpsys/$1"',
    "taskset": 'echo "$1" >> "$DEVICE/masks"; shift; exec "$@"',
}
DUMPSYS = {
    "battery": "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  level: 83\n"
    "  temperature: 312\n",
    "thermalservice": "IsStatusOverride: false\nThermalEventListeners:\nThermal Status: 2\n",
}


class Device:
    """`folder` is its disk. `vanish_at`: the number of the run of calls.sh in the middle of which it is lost."""

    def __init__(self, folder: Path, *, authorised: bool = True, shell_v2: bool = True) -> None:
        self.folder, self.authorised, self.shell_v2 = folder, authorised, shell_v2
        self.environment: dict[str, str] = {}
        self.vanish_at: int | None = None
        self.calls = 0
        self.full = False
        self.tmp = folder / "tmp"
        for kind, files in (("props", PROPERTIES), ("dumpsys", DUMPSYS), ("bin", STUBS)):
            (folder / kind).mkdir(parents=True)
            for name, text in files.items():
                start = "#!/bin/sh\n" if kind == "bin" else ""
                (folder / kind / name).write_text(f"{start}{text}\n")
                (folder / kind / name).chmod(0o755)
        self.tmp.mkdir()
        self.port = 0
        self.start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listens (again, on the same port)."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def vanish(self) -> None:
        """Drops every connection, and takes no more."""
        for connection in (self._listening, *self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                self._connections.append(connection)
                threading.Thread(target=_Transport(self, connection).serve, daemon=True).start()

    def run(self, command: str) -> tuple[int, bytes]:
        """(exit code, output) of a command of its shell."""
        if "calls.sh" in command and command.startswith("{ sh "):
            self.calls += 1
            if self.vanish_at == self.calls:
                self.vanish()
                return 1, b""
        environment: Mapping[str, str] = {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "DEVICE": str(self.folder),
            **self.environment,
        }  # fmt: skip
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environment, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode % 256, done.stdout


class _Transport:
    """One connection: messages of 24 bytes and their data, in streams."""

    def __init__(self, device: Device, connection: socket.socket) -> None:
        self.device, self.connection = device, connection
        self.streams: dict[int, _Sync] = {}  # by the host's number, which is ours too

    def serve(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                kind, first, second, size, _, _ = struct.unpack("<4s5I", self._read(24))
                self._answer(kind, first, second, self._read(size))

    def _answer(self, kind: bytes, host: int, _ours: int, data: bytes) -> None:
        if kind in (b"CNXN", b"AUTH"):
            if self.device.authorised:
                features = "features=shell_v2" if self.device.shell_v2 else "features="
                self._send(b"CNXN", VERSION, MAX_DATA, f"device::ro.product.name=one;{features}".encode())
            else:
                self._send(b"AUTH", TOKEN, 0, bytes(range(20)))
        elif kind == b"OPEN":
            self._open(host, data.rstrip(b"\0").decode())
        elif kind == b"WRTE":
            self._send(b"OKAY", host, host)
            if host in self.streams:
                answer = self.streams[host].take(data)
                if answer:
                    self._write(host, answer)
                if self.streams[host].over:
                    self._send(b"CLSE", host, host)
                    del self.streams[host]
        elif kind == b"CLSE" and self.streams.pop(host, None):
            self._send(b"CLSE", host, host)

    def _open(self, host: int, service: str) -> None:
        self._send(b"OKAY", host, host)
        if service == "sync:":
            self.streams[host] = _Sync(self.device)
            return
        name, _, command = service.partition(":")
        code, output = self.device.run(command) if name.startswith("shell") else (0, b"")
        if "v2" in name:
            output = struct.pack("<BI", STDOUT, len(output)) + output + struct.pack("<BIB", EXIT, 1, code)
        self._write(host, output)
        self._send(b"CLSE", host, host)

    def _write(self, host: int, data: bytes) -> None:
        """In parts; a device should wait for OKAY after each, but adb takes them as they come."""
        for start in range(0, len(data), 4096):
            self._send(b"WRTE", host, host, data[start : start + 4096])

    def _send(self, kind: bytes, first: int, second: int, data: bytes = b"") -> None:
        number = int.from_bytes(kind, "little")
        head = struct.pack("<4s5I", kind, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        self.connection.sendall(head + data)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.connection.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


class _Sync:
    """Files to and from the device: requests of four letters, a length and as much data."""

    def __init__(self, device: Device) -> None:
        self.device, self.left, self.over = device, b"", False
        self.place: Path | None = None  # of the file that is being received
        self.content = b""

    def take(self, data: bytes) -> bytes:
        self.left += data
        answer = b""
        while len(self.left) >= 8:
            kind, size = struct.unpack("<4sI", self.left[:8])
            own = 0 if kind == b"DONE" else size  # DONE's number is a time
            if len(self.left) < 8 + own:
                break
            body, self.left = self.left[8 : 8 + own], self.left[8 + own :]
            answer += self._answer(kind, body)
        return answer

    def _answer(self, kind: bytes, body: bytes) -> bytes:
        if kind == b"STAT":
            try:
                found = Path(body.decode()).stat()
            except OSError:
                return struct.pack("<4sIII", b"STAT", 0, 0, 0)
            return struct.pack("<4sIII", b"STAT", found.st_mode, found.st_size, int(found.st_mtime))
        if kind == b"QUIT":
            self.over = True
        elif kind == b"SEND":
            self.place, self.content = Path(body.decode().rpartition(",")[0]), b""
        elif kind == b"DATA":
            self.content += body
        elif kind == b"DONE" and self.place is not None:
            if self.device.full:
                return self._fail("couldn't write file: No space left on device")
            self.place.parent.mkdir(parents=True, exist_ok=True)
            self.place.write_bytes(self.content)
            return struct.pack("<4sI", b"OKAY", 0)
        elif kind == b"RECV":
            try:
                content = Path(body.decode()).read_bytes()
            except OSError as error:
                return self._fail(f"{error.strerror}")
            parts = [content[start : start + 65536] for start in range(0, len(content), 65536)]
            sent = b"".join(struct.pack("<4sI", b"DATA", len(part)) + part for part in parts)
            return sent + struct.pack("<4sI", b"DONE", 0)
        return b""

    @staticmethod
    def _fail(text: str) -> bytes:
        return struct.pack("<4sI", b"FAIL", len(text)) + text.encode()


needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="needs a C compiler; Debian: apt-get install gcc"
)

# An ELF program for this computer that hands its arguments to the Python named by TOOL; it can crash.
PROGRAM = """
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **given) {
  char *own[256] = {getenv("TOOL_PYTHON"), "-S", getenv("TOOL"), 0};
  if (getenv("TOOL_CRASHES")) abort();
  for (int i = 1; i < count && i < 250; i++) own[2 + i] = given[i];
  return execv(own[0], own);
}
"""


def compile_tool(folder: Path, name: str) -> Path:
    (folder / "tool.c").write_text(PROGRAM)
    subprocess.run(["cc", "-o", str(folder / name), str(folder / "tool.c")], check=True)
    return folder / name


def environment(tool: str, **more: str) -> dict[str, str]:
    """For a device: which tool its programs are, "litert" or "onnxruntime"."""
    return {"TOOL": str(benchmark_tools.__file__), "TOOL_PYTHON": sys.executable, "TOOL_IS": tool, **more}
