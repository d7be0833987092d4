"""Keeps libraries' chatter off the screen: Python's warnings and prints, and what C++ writes to the descriptors."""

import ctypes
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

# What of the captured output is shown with an error: the last lines are the ones that tell.
KEPT_LINES = 40
LINE_WIDTH = 200


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing that runs in the block writes to the process's stdout and stderr, whether Python or C++ writes it.

    An error that leaves the block carries the end of what was kept back as a note. The two descriptors belong to
    the whole process, so other threads are silenced too; a stream from `lasting` goes on.
    """
    streams = sys.stdout, sys.stderr
    _flush()
    with tempfile.TemporaryFile() as kept, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _redirected(kept):
            # Python's own streams on the descriptors: a handler that keeps one of them stays usable afterwards.
            sys.stdout, sys.stderr = sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr
            try:
                yield
            except Exception as error:
                _flush()
                note = _end_of(kept)
                if note:
                    error.add_note(note)
                raise
            finally:
                _flush()
                sys.stdout, sys.stderr = streams


def lasting(stream: Any) -> Any:
    """A text stream to where `stream` goes now, which `quiet` doesn't silence: for a progress line that lives
    through the block. `stream` itself if it has no descriptor of its own."""
    try:
        copy = os.dup(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return stream
    return os.fdopen(copy, "w", encoding=stream.encoding, errors=stream.errors, buffering=1)


@contextmanager
def _redirected(kept: IO[bytes]) -> Iterator[None]:
    saved: dict[int, int] = {}
    for descriptor in (1, 2):
        with suppress(OSError):  # a process may have been started without them
            saved[descriptor] = os.dup(descriptor)
            os.dup2(kept.fileno(), descriptor)
    try:
        yield
    finally:
        for descriptor, copy in saved.items():
            os.dup2(copy, descriptor)
            os.close(copy)


def _flush() -> None:
    """Empties Python's buffers and C's, so that each text goes where it was meant to."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)


def _end_of(kept: IO[bytes]) -> str:
    kept.seek(0)
    lines = kept.read().decode(errors="replace").splitlines()
    return "\n".join(line[:LINE_WIDTH] for line in lines[-KEPT_LINES:])
