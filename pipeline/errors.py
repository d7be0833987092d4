"""Errors that are the input's fault: one clear message and exit code 2, never a traceback."""

from calibration.errors import CalibrationError
from targets.errors import TargetError


class InputError(Exception):
    """Recipe, data, checkpoint, bundle or file is not usable as given. The text is for the user:
    what was found, what was expected, what to do."""


USER_ERRORS = (InputError, TargetError, CalibrationError)
