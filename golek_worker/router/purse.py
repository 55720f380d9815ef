"""Who pays for the calls of clouds, and what did an answer cost?

`Purse` is what whoever asks targets needs of the ledger: before each target `reserve`, after it `paid` or `failed`. A
request that makes several calls, one after the other or at once, has one purse for all of them, so that its cost is
their sum.
"""

from typing import Protocol

from golek_wire.replies import EmbeddingReply, InferenceReply, Reply
from golek_worker.router.targets import Target


class Expense(Protocol):
    """One call, for which what it may cost is held. One of its methods is called, once; a second call does nothing."""

    def paid(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float | None:
        """It was answered, or broke off behind so many tokens: what it cost in dollars; None where it has no price."""

    def failed(self) -> None:
        """Nothing was answered, and nothing is taken."""


class Purse(Protocol):
    """The money of one request, with all its steps."""

    @property
    def cost_usd(self) -> float | None:
        """What all calls cost so far; None while nothing had a price."""

    async def reserve(self, target: Target) -> Expense:
        """Hold what a call of `target` may cost; at once, where it costs nothing or nobody counts.

        Raises RateLimitedError, OverLimitError, BusUnavailableError: then `target` must not be called.
        """

    def add(self, cost_usd: float | None) -> None:
        """A step cost so much that was paid for elsewhere, as its own answer says."""


def used(reply: Reply) -> tuple[int, int, int]:
    """The tokens of an answer: those read, those written, and of those read the cached ones."""
    match reply:
        case InferenceReply():
            return reply.tokens_in, reply.tokens_out, reply.tokens_cached
        case EmbeddingReply():
            return reply.usage.prompt_tokens, 0, 0
        case _:
            return reply.usage.total_tokens, 0, 0
