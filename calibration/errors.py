"""What goes wrong because of the samples that were meant to calibrate."""


class CalibrationError(Exception):
    """The samples cannot calibrate a quantizer. The text is for the user."""
