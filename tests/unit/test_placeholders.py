"""Where the placeholders of images stand in a prompt for vLLM."""

import pytest

from golek_worker.engine.vllm import placeholders
from golek_worker.image_marks import IMAGE_MARK, places

NAMES = ("<i1>", "<i2>", "<i3>")


@pytest.mark.parametrize(
    ("prompt", "cuts", "text", "found"),
    [
        ("no image", [3], "no image", [3]),
        (f"a{IMAGE_MARK}b", [], "a<i1>b", [1, 5]),
        (IMAGE_MARK, [], "<i1>", []),
        (f"{IMAGE_MARK}{IMAGE_MARK}", [], "<i1><i2>", [4]),
        (f"ab{IMAGE_MARK}cd{IMAGE_MARK}", [1, 14], "ab<i1>cd<i2>", [1, 2, 6, 7, 8]),
        (f"ab{IMAGE_MARK}cd", [2], "ab<i1>cd", [2, 6]),
        (f"{IMAGE_MARK} {IMAGE_MARK}", [1], f"{IMAGE_MARK} <i1>", [1, 12]),
    ],
)
def test_a_placeholder_stands_where_the_mark_stood(prompt: str, cuts: list[int], text: str, found: list[int]) -> None:
    """Cut off from the texts around it, whose own cuts move along; a mark with a cut in it is text."""
    assert placeholders.put(prompt, cuts, places(prompt, cuts), NAMES) == (text, found)


@pytest.mark.parametrize(
    ("found", "ranges", "is_so"),
    [
        ([1, 2, 90, 90, 3], [(2, 4)], True),
        ([90, 90, 1, 2, 90, 3], [(4, 5), (0, 2)], True),
        ([1, 90, 3], [(1, 2)], True),  # a part of the placeholder was taken along
        ([1, 7, 90, 3], [(2, 3)], False),
        ([2, 1, 90, 3], [(2, 3)], False),
        ([1, 2, 90, 3, 3], [(2, 3)], False),
    ],
)
def test_texts_are_left_alone(found: list[int], ranges: list[tuple[int, int]], is_so: bool) -> None:
    """Around images there is nothing that was not asked for."""
    assert placeholders.are_all([1, 2, 50, 3], found, ranges) is is_so
