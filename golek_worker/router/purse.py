"""Who pays for the calls of clouds, and what did an answer cost?

`Purse` is what whoever asks targets needs of the ledger: before each target `reserve`, after it `paid` or `failed`. A
request that makes several calls, one after the other or at once, has one purse for all of them, so that its cost is
their sum.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from golek_wire.replies import EmbeddingReply, InferenceReply, Reply, RerankReply
from golek_wire.requests import Request
from golek_wire.vision import VisionReply
from golek_worker.router.targets import Target

UNPAID: Final = "unpaid"
"""Among the details of an error: the target that was not called, because there is no money for it."""


class Expense(Protocol):
    """One call, for which what it may cost is held. What is said first counts: a second word does nothing."""

    def paid(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float | None:
        """It was answered: what it cost in dollars; None where it has no price."""

    def broke_off(self, tokens_out: int) -> float | None:
        """It ended without an answer, behind so many tokens: what it cost; behind none nothing."""


class Purse(Protocol):
    """The money of one request, with all its steps."""

    @property
    def cost_usd(self) -> float | None:
        """What all calls cost so far; None while nothing had a price."""

    @property
    def committed_usd(self) -> float:
        """The same, with the most that calls may cost which run just now."""

    @property
    def costs(self) -> Mapping[str, float]:
        """By target: what its calls cost so far, where they had a price."""

    @property
    def broken_off(self) -> tuple[int, int]:
        """About how many tokens were read and written for answers that broke off."""

    async def reserve(self, target: Target, request: Request) -> Expense:
        """Hold what it may cost to ask `target` this, which may be more than the caller sent: what was said before, and
        a text that goes on. At once, where it costs nothing or nobody counts.

        Raises RateLimitedError, OverLimitError, BusUnavailableError, with UNPAID among their details: then `target`
        must not be called.
        """


def was_kept(reply: Reply) -> bool:
    """Whether it comes from a cache of who was asked: then nothing was computed for it."""
    return not isinstance(reply, RerankReply | VisionReply) and reply.cache == "hit"


def used(reply: Reply) -> tuple[int, int, int]:
    """The tokens of an answer: those read, those written, and of those read the cached ones."""
    match reply:
        case InferenceReply():
            return reply.tokens_in, reply.tokens_out, reply.tokens_cached
        case EmbeddingReply():
            return reply.usage.prompt_tokens, 0, 0
        case VisionReply():
            return reply.usage.prompt_tokens, reply.usage.completion_tokens, 0
        case _:
            return reply.usage.total_tokens, 0, 0
