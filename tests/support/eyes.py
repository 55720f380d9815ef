"""golek-tiny with eyes: a red image reads to it as "What is NATS?", a green and a blue one as other questions."""

import atexit
import base64
import shutil
import struct
import zlib
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from scripts.make_vision_model import COLOURS, PATCH, WORDS, write

MODEL = Path("data/models/golek-tiny/model.gguf")
RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
ASKS = {colour: "".join(words) for colour, words in zip(COLOURS, WORDS, strict=True)}
"""What an image of each colour asks."""
SIDE = 2
TOKENS = SIDE * SIDE
"""Of an image."""


@cache
def projector(side: int = SIDE) -> Path:
    """Its file; an image has `side` times `side` tokens."""
    folder = Path(mkdtemp(prefix="golek-eyes-"))
    atexit.register(shutil.rmtree, folder)
    write(folder / "mmproj.gguf", side)
    return folder / "mmproj.gguf"


def png(colour: str, width: int = PATCH * SIDE, height: int = PATCH * SIDE) -> bytes:
    """An image of one colour."""
    rows = (b"\0" + bytes(RGB[colour]) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def part(colour: str) -> dict[str, Any]:
    """An image as a part of a turn."""
    data = base64.b64encode(png(colour)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
