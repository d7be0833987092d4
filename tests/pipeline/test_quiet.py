import ctypes
import logging
import os
import sys
import warnings

import pytest

from pipeline.quiet import KEPT_LINES, lasting, quiet


def chatter() -> None:
    """All the ways in which a library writes to the screen."""
    print("python stdout")
    print("python stderr", file=sys.stderr)
    warnings.warn("a warning", stacklevel=1)
    logging.getLogger("chatty").error("a log line")
    os.write(1, b"descriptor 1\n")
    os.write(2, b"descriptor 2\n")
    ctypes.CDLL(None).puts(b"C's stdout")


def test_nothing_that_python_or_c_writes_in_the_block_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        chatter()
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr() == ("", "")


def test_what_is_written_before_and_after_the_block_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with quiet():
        chatter()
        with quiet():
            chatter()
        chatter()
    print("after")
    sys.stdout.flush()
    assert capfd.readouterr() == ("before\nafter\n", "")


def test_an_error_carries_the_last_lines_that_were_kept_back(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        for number in range(3 * KEPT_LINES):
            os.write(2, f"line {number}\n".encode())
        raise ValueError("went wrong")

    with pytest.raises(ValueError, match="went wrong") as caught, quiet():
        fail()
    (note,) = caught.value.__notes__
    assert note.splitlines()[-1] == f"line {3 * KEPT_LINES - 1}"
    assert len(note.splitlines()) == KEPT_LINES
    os.write(1, b"heard again\n")
    assert capfd.readouterr() == ("heard again\n", "")


def test_an_interrupt_leaves_the_streams_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr

    def interrupted() -> None:
        print("unheard")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), quiet():
        interrupted()
    assert (sys.stdout, sys.stderr) == before
    assert capfd.readouterr() == ("", "")


def test_a_log_handler_made_in_the_block_can_write_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        handler = logging.StreamHandler()
    logger = logging.getLogger("made in the block")
    logger.addHandler(handler)
    logger.error("heard")
    logger.removeHandler(handler)
    assert capfd.readouterr().err == "heard\n"


def test_a_lasting_stream_is_heard_through_the_block(capfd: pytest.CaptureFixture[str]) -> None:
    with os.fdopen(os.dup(1), "w") as terminal, lasting(terminal) as stream:
        with quiet():
            print("unheard")
            print("50%", file=stream)
        assert capfd.readouterr().out == "50%\n"


def test_lasting_gives_back_a_stream_without_a_descriptor() -> None:
    import io

    stream = io.StringIO()
    assert lasting(stream) is stream
