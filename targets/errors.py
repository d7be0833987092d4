"""What goes wrong because of a profile, a model file or a device, told in one message."""


class TargetError(Exception):
    """The profile, the model file or the device is not usable as given. The text is for the user:
    what was found, what was expected, what to do."""
