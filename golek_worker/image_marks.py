"""Where in a prompt do its images belong?

At each mark. A text of a caller's that spells a mark has a cut in it, as the names of control tokens have, and is none.
"""

from collections.abc import Sequence
from typing import Final

IMAGE_MARK: Final = "<__media__>"
"""Stands in a prompt where an image belongs; llama.cpp's own mark (mtmd_default_marker)."""


def places(prompt: str, cuts: Sequence[int] = ()) -> list[int]:
    """Where the marks of `prompt` begin; `cuts` ascend."""
    found = []
    at = prompt.find(IMAGE_MARK)
    while at >= 0:
        end = at + len(IMAGE_MARK)
        if any(at < cut < end for cut in cuts):
            end = at + 1
        else:
            found.append(at)
        at = prompt.find(IMAGE_MARK, end)
    return found
