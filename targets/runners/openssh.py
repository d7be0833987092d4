"""Commands on another machine, by the system's OpenSSH with its configuration, keys and known hosts."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from typing import IO, Any

from targets.errors import TargetError

# The name of an environment variable: a configuration file instead of the user's own, as of `ssh -F`.
CONFIG = "EDGEPRESS_SSH_CONFIG"

OPTIONS = (
    "-T",  # no terminal
    "-o", "BatchMode=yes",  # nobody is there to answer
    "-o", "ConnectTimeout=15",
    "-o", "ServerAliveInterval=5",  # a board without power does not say good-bye
    "-o", "ServerAliveCountMax=3",
)  # fmt: skip

SSH_FAILED = 255  # exit code of ssh itself; otherwise it is the command's

# What ssh says -> what it means and what to do. The first that is found counts.
_REASONS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that is known: the board was set up anew, or another machine answers in its "
        "place. If you know why, remove the old key with `ssh-keygen -R` and connect once by hand",
    ),
    (
        "Host key verification failed",
        "its host key is not known: connect once by hand with `ssh {address}` and compare the fingerprint",
    ),
    (
        "Could not resolve hostname",
        "no such host: check measure.device, or --device; ssh knows names of the network and of its configuration",
    ),
    (
        "Connection refused",
        "it refuses connections: is an ssh server running there (sudo systemctl enable --now ssh), on this port?",
    ),
    (
        "Permission denied",
        "it does not let us in: put a key there with `ssh-copy-id {address}`; a key with a passphrase needs ssh-agent",
    ),
    ("timed out", "it does not answer: is it on, and in this network?"),
    ("No route to host", "it does not answer: is it on, and in this network?"),
    ("Network is unreachable", "it does not answer: is it on, and in this network?"),
)


class ConnectionLost(TargetError):
    """The connection stood, and then it did not."""


def start(address: str, command: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
    """`command` on the machine at `address`, quoted for its shell. Raises TargetError if there is no ssh program."""
    program = shutil.which("ssh")
    if program is None:
        raise TargetError("there is no ssh program here; Debian: apt-get install openssh-client")
    config = os.environ.get(CONFIG)
    own = ("-F", config) if config else ()
    return subprocess.Popen([program, *own, *OPTIONS, "--", address, shlex.join(command)], **streams)


def run(address: str, command: Sequence[str], send: IO[bytes] | int = subprocess.DEVNULL) -> bytes:
    """What `command` prints on the machine at `address`, which reads `send`. Raises TargetError for what ssh says, and
    RemoteFailed for a command that fails there."""
    process = start(address, command, stdin=send, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    told, said = process.communicate()
    check(address, process.returncode, said.decode(errors="replace"))
    return told


class RemoteFailed(TargetError):
    """A command failed on the other machine: `code` is its exit code, `said` what it wrote to stderr."""

    def __init__(self, address: str, code: int, said: str) -> None:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        super().__init__(f"{address}: {lines[-1] if lines else f'exit code {code}, and it said nothing'}")
        self.code, self.said = code, said


def check(address: str, code: int, said: str) -> None:
    """Raises what an exit code of ssh and its stderr mean; nothing for 0."""
    if code == 0:
        return
    if code != SSH_FAILED:
        raise RemoteFailed(address, code, said)
    for phrase, reason in _REASONS:
        if phrase in said and "Timeout, server" not in said:
            raise TargetError(f"{address}: {reason.format(address=address)}")
    last = said.strip().splitlines()[-1] if said.strip() else "ssh said nothing"
    raise ConnectionLost(f"{address}: the connection was lost: {last}")
