"""Format and size of an image, by its first bytes."""

import struct

import pytest

from golek_wire.sniffing import Picture, sniff
from tests.support import pictures

SIZE = (40, 30)
HEADS = {
    "png": pictures.png(width=40, height=30),
    "bmp": pictures.bmp(width=40, height=30),
    "bmp from the top": pictures.bmp(width=40, height=-30),
    "bmp of its first version": b"BM" + b"\0" * 12 + (12).to_bytes(4, "little") + b"\x28\0\x1e\0",
    "gif": pictures.gif_head(*SIZE),
    "jpeg": pictures.jpeg_head(*SIZE),
} | {f"webp {number}": head for number, head in enumerate(pictures.webp_heads(*SIZE))}


@pytest.mark.parametrize("name", HEADS)
def test_format_and_size_stand_in_the_first_bytes(name: str) -> None:
    """Of each format, and of each kind of it."""
    assert sniff(HEADS[name]) == Picture(f"image/{name.split(maxsplit=1)[0]}", *SIZE)


@pytest.mark.parametrize("name", HEADS)
def test_what_ends_too_early_is_no_image(name: str) -> None:
    """At every length before its size is told, without an error."""
    head = HEADS[name]
    lengths = [length for length in range(len(head)) if sniff(head[:length]) is None]
    assert lengths == list(range(len(lengths)))
    assert len(lengths) >= 8


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"%PDF-1.7", b"<svg xmlns=''/>", b"RIFF\0\0\0\0WAVEfmt ", b"\xff\xd8\xff\x00\x00", b"BM"]
)
def test_anything_else_is_none(data: bytes) -> None:
    """Also what begins like one."""
    assert sniff(data) is None


def test_a_jpeg_without_a_frame_ends() -> None:
    """Lengths of 0 and markers without end lead nowhere, and the search stops."""
    assert sniff(b"\xff\xd8" + b"\xff\xe0\0\0" * 100_000) is None
    assert sniff(b"\xff\xd8" + b"\xff" * 100_000) is None


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xd0", b"\xff\xe0\0\2"])
def test_a_jpeg_of_filling_is_not_read_to_its_end(filler: bytes) -> None:
    """It would take seconds of a loop that answers others, too: the size behind it is not looked for."""
    assert sniff(b"\xff\xd8" + filler * 5000 + jpeg_tail()) is None
    assert sniff(b"\xff\xd8" + filler * 500 + jpeg_tail()) == Picture("image/jpeg", *SIZE)


def jpeg_tail() -> bytes:
    return pictures.jpeg_head(*SIZE)[2:]


def test_a_png_begins_with_its_header() -> None:
    """Else decoders find another one behind it, of a size that nobody looked at."""
    whole = pictures.png(width=10_000, height=1)
    before = struct.pack(">I", 4) + b"CgBI" + struct.pack(">I", 1) + struct.pack(">I", 1)
    assert sniff(whole[:8] + before + whole[8:]) is None


def test_pixels_of_a_huge_picture_are_counted() -> None:
    """A file of a few bytes may claim any size."""
    found = sniff(pictures.png(width=1)[:16] + b"\x7f\xff\xff\xff" * 2)
    assert found is not None
    assert found.pixels == 0x7FFFFFFF**2
