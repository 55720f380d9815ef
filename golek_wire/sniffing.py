"""Which format does an image have, and how large is it?

By its first bytes alone: nothing is decoded, so that a small file of a huge picture costs nothing. What an encoder says
of its file in the header is what decoders make room for.
"""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

_NO_FRAME: Final = frozenset((0xC4, 0xC8, 0xCC))
"""JPEG's markers among those of frames that begin none."""
_ALONE: Final = frozenset((0x01, *range(0xD0, 0xD9)))
"""JPEG's markers behind which no length stands."""
_STEPS: Final = 4096
"""Markers and filling bytes of a JPEG file before its size: real ones have some dozens."""
_CORE_HEADER: Final = 12
"""Bytes of the header of BMP's first version, whose numbers are shorter."""


class Picture(NamedTuple):
    """What the first bytes of an image say."""

    type: str
    """As MIME calls it, such as `image/png`."""
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


FORMATS: Final = "PNG, JPEG, WebP, GIF or BMP"


def sniff(data: bytes) -> Picture | None:
    """What `data` is an image of; None for what is none of FORMATS, or ends before it says how large it is."""
    read = next((read for begins, read in _READ.items() if data.startswith(begins)), None)
    try:
        return read(data) if read is not None else None
    except struct.error:  # it ends too early
        return None


def _png(data: bytes) -> Picture | None:
    """Its header comes first; where another chunk does, decoders may find a larger one behind it."""
    return Picture("image/png", *struct.unpack_from(">II", data, 16)) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> Picture | None:
    return Picture("image/gif", *struct.unpack_from("<HH", data, 6))


def _jpeg(data: bytes) -> Picture | None:
    """Its size stands behind the first marker of a frame."""
    at = 2
    for _ in range(_STEPS):
        if data[at : at + 1] != b"\xff":
            return None
        marker = data[at + 1] if at + 1 < len(data) else 0
        if marker == 0xFF:  # a byte that only fills
            at += 1
        elif marker in _ALONE:
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Picture("image/jpeg", width, height)
        else:
            at += 2 + max(2, *struct.unpack_from(">H", data, at + 2))
    return None


def _bmp(data: bytes) -> Picture | None:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == _CORE_HEADER else "<ii", data, 18)
    return Picture("image/bmp", abs(width), abs(height))  # a negative height: the first row is the top one


def _webp(data: bytes) -> Picture | None:
    match data[8:16]:
        case b"WEBPVP8 " if data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return Picture("image/webp", width & 0x3FFF, height & 0x3FFF)
        case b"WEBPVP8L" if data[20:21] == b"\x2f":
            (bits,) = struct.unpack_from("<I", data, 21)
            return Picture("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"WEBPVP8X":
            low, middle, high = struct.unpack_from("<HHH", data, 24)
            return Picture("image/webp", (low | (middle & 0xFF) << 16) + 1, (middle >> 8 | high << 8) + 1)
    return None


_READ: Final[dict[bytes, Callable[[bytes], Picture | None]]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"BM": _bmp,
    b"RIFF": _webp,
}
"""By how a file of each format begins."""
