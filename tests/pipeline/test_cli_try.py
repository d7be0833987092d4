"""`edgepress try` as a person starts it."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from pipeline.context import RunContext
from pipeline.results import ExportedFile, NetworkResult, PreparedData
from tests.browser_pages import needs_browser
from tests.bundles import small_bundle

ROOT = Path(__file__).parents[2]


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "try", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts,
    )  # fmt: skip


def heed_interrupts() -> None:
    """Tests that a script runs behind itself inherit that interrupts are ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@needs_browser
def test_it_serves_the_page_to_this_computer_until_it_is_ended(
    digits: PreparedData,
    image_student: NetworkResult,
    image_onnx: ExportedFile,
    session_context: RunContext,
    tmp_path: Path,
) -> None:
    bundle = small_bundle(tmp_path / "bundle", digits, image_student, (image_onnx,), session_context)
    process = start(str(bundle))
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/[\w-]{20,}/", line)
        assert found is not None, line
        with build_opener(ProxyHandler({})).open(found[0]) as answer:
            assert b"Drop a picture here" in answer.read()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((own_address(), int(found[1])), timeout=5)
        other = start(str(bundle), "--port", found[1])
        assert other.wait(60) == 2
        assert other.stderr is not None
        told = other.stderr.read()
        assert f"port {found[1]} of this computer can't be listened on" in told
        assert "Traceback" not in told
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def own_address() -> str:
    """An address of this computer that is not the loopback's, or one that no program listens on."""
    return next(
        (address[4][0] for address in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
         if not str(address[4][0]).startswith("127.")),
        "127.0.0.2",
    )  # fmt: skip


def test_what_is_no_bundle_is_told_in_one_message(tmp_path: Path) -> None:
    process = start(str(tmp_path / "nowhere"))
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert told.startswith("edgepress: ")
    assert "no such folder; expected a bundle" in told
    assert len(told.splitlines()) == 1
