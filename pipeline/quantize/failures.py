"""Quantizers are silenced, and tell their failures as what they are: a file that this scheme does not suit."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import USER_ERRORS, InputError
from pipeline.quiet import quiet
from pipeline.results import Format


@contextmanager
def quantizing(format_name: Format, label: str) -> Iterator[None]:
    """Runs a quantizer's code quietly. Raises InputError for what it fails with; the machine's own failures (no
    space, no memory) and errors that are told already pass as they are."""
    try:
        with quiet():
            yield
    except (*USER_ERRORS, OSError, MemoryError):
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        raise InputError(
            f"the {format_name} file can't be quantized to {label}: {type(error).__name__}: {reason[:300]}; choose "
            "another quantization.scheme for the target, or another student"
        ) from error
