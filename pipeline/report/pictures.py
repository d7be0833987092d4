"""Samples as pictures that lie inside a report."""

import base64
import io
import re

import numpy as np
from PIL import Image

LARGEST = 96  # pixels of a shown image's side


def png(pixels: np.ndarray) -> str:
    """An image uint8 [S, S, 3] as PNG in base64, no larger than a page needs."""
    image = Image.fromarray(pixels)
    if max(image.size) > LARGEST:
        image = image.resize((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def data_address(base64_png: str) -> str:
    """Where a page finds a PNG in itself: nothing but base64 gets into the address, whatever a report holds."""
    return f"data:image/png;base64,{re.sub(r'[^A-Za-z0-9+/=]', '', base64_png)}"
