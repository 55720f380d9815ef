"""Small images of one colour, in the formats that can be written in a few lines; and the beginnings of the others."""

import base64
import struct
import zlib

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
Colour = tuple[int, int, int]


def png(colour: Colour = RED, width: int = 8, height: int = 8) -> bytes:
    """A whole PNG."""
    rows = (b"\0" + bytes(colour) * width) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def bmp(colour: Colour = RED, width: int = 8, height: int = 8) -> bytes:
    """A whole BMP."""
    row = bytes(reversed(colour)) * width
    rows = (row + b"\0" * (-len(row) % 4)) * abs(height)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + head + rows


def gif_head(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0"


def jpeg_head(width: int, height: int) -> bytes:
    """Up to the marker of its frame, behind two others and a byte that fills."""
    other = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF" + b"\0" * 10
    table = b"\xff\xdb" + struct.pack(">H", 4) + b"\0\0"
    frame = b"\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\0" * 9
    return b"\xff\xd8" + other + table + frame


def webp_heads(width: int, height: int) -> list[bytes]:
    """Of each of its three kinds: lossy, lossless, extended."""
    lossy = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    lossless = b"\x2f" + struct.pack("<I", width - 1 | (height - 1) << 14)
    extended = b"\0\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    parts = ((b"VP8 ", lossy), (b"VP8L", lossless), (b"VP8X", extended))
    return [b"RIFF\0\0\0\0WEBP" + name + struct.pack("<I", len(data)) + data for name, data in parts]


def url(data: bytes, declared: str = "image/png") -> str:
    """As data in a URL."""
    return f"data:{declared};base64,{base64.b64encode(data).decode()}"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
