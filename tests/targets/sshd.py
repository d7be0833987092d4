"""A real sshd on loopback, with keys, known hosts and a client configuration of its own: nothing of the user's is
touched. It accepts the user that runs the tests."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")

needs_sshd = pytest.mark.skipif(
    not (SSHD and shutil.which("ssh") and shutil.which("ssh-keygen")),
    reason="needs sshd and ssh; Debian: apt-get install openssh-server openssh-client",
)


@dataclass
class Board:
    """`name`: the host of the client's configuration `config`; `folder` holds keys, known hosts and `tmp`."""

    folder: Path
    process: subprocess.Popen
    port: int
    name: str = "board"

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def left_behind(self) -> list[Path]:
        """What `mktemp` made on the board. Runtimes may keep files of their own beside."""
        return sorted((self.folder / "tmp").glob("tmp.*"))

    def sessions(self) -> list[psutil.Process]:
        """The processes that serve connections, and what they started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def vanish(self) -> None:
        """As if the power were cut: every connection ends and none is accepted any more."""
        sessions = self.sessions()
        self.process.send_signal(signal.SIGKILL)
        for session in sessions:
            session.kill()
        self.process.wait()

    def accept(self) -> None:
        """Starts to accept connections (again), with no temporary files, as after a start."""
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir()
        log = self.folder / "log"
        self.process = subprocess.Popen(
            [str(SSHD), "-D", "-f", str(self.folder / "sshd_config"), "-E", str(log)],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"sshd does not accept connections: {log.read_text()}")


def start_board(folder: Path) -> Board:
    """An sshd whose sessions put temporary files into a folder of the board. The caller ends it with `vanish`."""
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        new_key(folder / key)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where a privileged sshd confines itself
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "PidFile": "none", "UsePAM": "no",
        "AuthorizedKeysFile": folder / "authorized", "StrictModes": "no", "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "SetEnv": f"TMPDIR={folder / 'tmp'}",
    }  # fmt: skip
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    write_known_hosts(folder, port)
    write_config(folder, port)
    board = Board(folder, None, port)  # type: ignore[arg-type]
    board.accept()
    return board


def new_key(file: Path) -> None:
    for old in (file, file.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(file)], check=True)


def write_known_hosts(folder: Path, port: int, key: str = "host") -> None:
    kind, public, _ = (folder / f"{key}.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {kind} {public}\n")


def write_config(folder: Path, port: int, *, identity: str = "user", host: str = "127.0.0.1") -> None:
    (folder / "config").write_text(
        f"Host board\n  HostName {host}\n  Port {port}\n  User {pwd.getpwuid(os.geteuid()).pw_name}\n"
        f"  IdentityFile {folder / identity}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {folder / 'known'}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
    )
