"""How does a text become short enough for a model, with nothing cut off?

A fast model writes it shorter, told what to preserve and what to drop. Its result is counted by the reader's own
tokenizer; while it is too long it is written shorter once more. What did not become short enough is an error, never a
text without its end.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final

from golek_wire.errors import CompressionFailedError
from golek_worker.orchestration.counting import most_tokens

ITERATIONS: Final = 3
MARGIN: Final = 0.9
"""So much of the room is aimed at: 10 % are left."""
LOWER: Final = 0.75
"""After a try that came to nothing so much of that: who is asked the same would say the same."""
PRESERVE: Final = ("decisions made", "constraints discovered", "open questions", "key evidence refs", "error summaries")
DROP: Final = (
    "raw reasoning chains", "verbose explanations", "stack traces", "intermediate outputs", "resolved error details",
)  # fmt: skip
WORDS_PER_TOKEN: Final = 0.7
_ENDS: Final = ("\n\n", "\n", ". ", " ")
"""Where a text may be divided, the best place first."""

Counted = Callable[[str], Awaitable[int]]
"""Tokens of a text, by the reader's tokenizer."""
Compress = Callable[[str, int], Awaitable[str]]
"""Writes a text in about so many tokens; an empty one where that came to nothing."""


async def fit_to_budget(
    content: str, max_tokens: int, count: Counted, compress: Compress, iterations: int = ITERATIONS
) -> str:
    """`content`, or what it was compressed to, of at most `max_tokens`. Raises CompressionFailedError.

    A result that is empty, or not shorter than what it was made of, is as good as none: the next try has the best one
    so far, and aims lower.
    """
    if most_tokens(content) <= max_tokens:
        return content
    best, tokens = content, await count(content)
    whole, failed = tokens, 0
    for _ in range(iterations):
        if tokens <= max_tokens:
            return best
        made = (await compress(best, max(1, math.floor(target(max_tokens, tokens) * LOWER**failed)))).strip()
        if made and (found := await count(made)) < tokens:
            best, tokens = made, found
        else:
            failed += 1
    if tokens <= max_tokens:
        return best
    raise CompressionFailedError(
        f"Could not compress to {max_tokens} tokens after {iterations} iterations: of {whole} tokens {tokens} are left",
        current_tokens=tokens,
        budget=max_tokens,
        iterations=iterations,
    )


def ratio(max_tokens: int, current: int) -> float:
    """To which part a text must be compressed, with a margin."""
    return max_tokens / current * MARGIN


def target(max_tokens: int, current: int) -> int:
    """The tokens to aim at."""
    return max(1, math.floor(current * ratio(max_tokens, current)))


def task(tokens: int) -> str:
    """What the compressing model is told beside its prompt."""
    return (
        f"Use at most {max(1, math.floor(tokens * WORDS_PER_TOKEN))} words.\n"
        f"Preserve: {', '.join(PRESERVE)}.\n"
        f"Drop: {', '.join(DROP)}."
    )


def halves(text: str) -> tuple[str, str]:
    """A text in two parts of about the same size, divided between paragraphs, lines, sentences or words, as near to the
    middle as there is one; joined they are the text.
    """
    middle = len(text) // 2
    for end in _ENDS:
        left = text.rfind(end, len(text) // 4, middle + len(end) - 1)
        right = text.find(end, middle, len(text) * 3 // 4)
        places = [at + len(end) for at in (left, right) if at >= 0]
        if places:
            at = min(places, key=lambda place: abs(place - middle))
            return text[:at], text[at:]
    return text[:middle], text[middle:]
