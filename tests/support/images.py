"""Image files of one colour, for tests of what images show."""

import io
from typing import Any

from PIL import Image

Colour = str | tuple[int, ...]


def image(colour: Colour, size: tuple[int, int] = (20, 12), form: str = "PNG", mode: str = "RGB", **how: Any) -> bytes:
    """A file of this form, all of one colour."""
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form, **how)
    return file.getvalue()
