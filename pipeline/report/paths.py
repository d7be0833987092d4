"""What a report may tell of where files lay on the machine that made it: nothing."""

from pathlib import Path
from typing import Any

from pipeline.settings.teacher import FILE_FORMATS, STORED


def without_folders(value: Any) -> Any:
    """Absolute paths cut to their last part: where a file lay on the machine that made it is nobody's business."""
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_folders(item) for item in value]
    if not isinstance(value, str):
        return value
    start, colon, path = value.partition(":")  # as in onnx:/folder/file
    if start not in (*FILE_FORMATS, STORED):
        start, colon, path = "", "", value
    return f"{start}{colon}{Path(path).name}" if Path(path).is_absolute() else value
