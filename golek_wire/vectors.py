"""How does a vector travel as text?

As OpenAI's API has it with `encoding_format: base64`: its numbers as little-endian float32, in base64. That is half of
what the same numbers take in decimals.
"""

import base64
import sys
from array import array
from collections.abc import Sequence


def packed(vector: Sequence[float]) -> str:
    """`vector` as text."""
    return base64.b64encode(_little_endian(array("f", vector)).tobytes()).decode()


def unpacked(text: str) -> list[float]:
    """The vector in `text`. Raises ValueError when it is not base64 of float32."""
    numbers = array("f")
    numbers.frombytes(base64.b64decode(text, validate=True))
    return _little_endian(numbers).tolist()


def _little_endian(numbers: "array[float]") -> "array[float]":
    """Between this machine's byte order and the one on the wire."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
