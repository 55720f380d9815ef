"""What would a model's KV cache have of a prompt, if the echo engine had one?

A simulation, for tests and measurements of who asks which replica: prompts and answers are kept in blocks of BLOCK
tokens, each known by all that comes before it, and the least recently used ones give way. It says how many tokens of a
new prompt are there already, as llama.cpp's slots would; nothing is computed with it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

BLOCK = 16
"""Tokens. A part of a block is not kept."""


class EchoCache:
    """The beginnings of texts, up to so many tokens."""

    def __init__(self, tokens: int) -> None:
        self._room = tokens // BLOCK
        self._blocks: OrderedDict[int, None] = OrderedDict()
        """By the hash of a beginning, the least recently used first."""

    def find(self, words: Sequence[str]) -> int:
        """How many tokens at the beginning of `words` are there; never the last one, whose successor is to be found."""
        found = 0
        for beginning in _beginnings(words[:-1]):
            if beginning not in self._blocks:
                break
            found += BLOCK
        return found

    def keep(self, words: Sequence[str]) -> None:
        """Have all whole blocks of `words`; the end of a text gives way before its beginning."""
        for beginning in reversed(_beginnings(words)[: self._room]):
            self._blocks[beginning] = None
            self._blocks.move_to_end(beginning)
        while len(self._blocks) > self._room:
            self._blocks.popitem(last=False)


def _beginnings(words: Sequence[str]) -> list[int]:
    """A number for each beginning of whole blocks, the shortest first."""
    numbers, before = [], 0
    for start, end in pairwise(range(0, len(words) + 1, BLOCK)):
        before = hash((before, *words[start:end]))
        numbers.append(before)
    return numbers
