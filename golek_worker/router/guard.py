"""How is a target asked so that its breaker hears of it, and a silent one does not hold a request?

Around whatever asks: a ticket is entered before and ended after, and until the first word the request ends when its
breaker opens or the target takes too long.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from golek_client.ending import end
from golek_wire.errors import InferenceServiceError, ModelBusyError, ProviderFailedError, RateLimitedError
from golek_wire.routing import LOCAL
from golek_worker.router import fallback
from golek_worker.router.breakers import Breakers, Refusal, Ticket

Word = TypeVar("Word")


async def guarded(
    breakers: Breakers,
    target: str,
    answer: AsyncIterator[Word],
    *,
    begin_s: float,
    patience_s: float = 0.0,
    stays: bool = False,
) -> AsyncGenerator[Word]:
    """What `answer` gives, which asks `target` when it is first asked for something.

    Without a word after `begin_s`, and when the breaker opens before there is one, it is ended. `patience_s` is how
    long the verdicts of requests that are under way may be waited for; who `stays` has no other target.
    Raises what `answer` raises, ModelBusyError or ProviderFailedError where it is ended, and where the target was not
    asked at all the latter, or RateLimitedError for one that asked for a pause, with `passed_over` in their details.
    """
    entered = await breakers.entered(target, patience_s, stays=stays) if patience_s or stays else breakers.enter(target)
    if isinstance(entered, Refusal):
        raise passed_over(target, entered)
    since = time.monotonic()
    try:
        yield await _first(entered, answer, begin_s)
        entered.began()
        async for word in answer:
            yield word
        entered.answered()
    except StopAsyncIteration:
        entered.failed("it ended without an answer")
        raise ProviderFailedError(f"{target} ended without an answer", target=target) from None
    except InferenceServiceError as error:
        _tell(entered, error, since)
        raise
    finally:
        entered.dropped()
        close = getattr(answer, "aclose", None)
        if close is not None:
            await close()


def passed_over(target: str, refusal: Refusal) -> InferenceServiceError:
    """A target that was not asked."""
    after_ms = max(1, round(1000 * refusal.after_s))
    kind = RateLimitedError if refusal.limited else ProviderFailedError
    return kind(
        f"{target} is not asked now: {refusal.why}",
        retry_after_ms=after_ms,
        target=target,
        passed_over=True,
        limited=refusal.limited,
    )


async def _first(ticket: Ticket, answer: AsyncIterator[Word], begin_s: float) -> Word:
    """The first word. Raises as `answer`, and ProviderFailedError when it shall be waited for no longer."""
    since = time.monotonic()
    word = asyncio.ensure_future(anext(answer))
    try:
        await asyncio.wait((word, ticket.moved), timeout=begin_s, return_when=asyncio.FIRST_COMPLETED)
        if word.done():
            return word.result()
    finally:
        if not word.done():
            await end(word)
    waited = f"{time.monotonic() - since:.1f} s"
    if ticket.moved.done():
        ticket.dropped()
        raise ProviderFailedError(
            f"{ticket.target} was left after {waited} without a word: {ticket.moved.result()}", target=ticket.target
        )
    raise too_slow(ticket.target, waited)


def too_slow(target: str, waited: str) -> InferenceServiceError:
    """A target that did not begin in time: of a model of the fleet that says that it is busy, not that it fails."""
    kind = ModelBusyError if target.startswith(f"{LOCAL}:") else ProviderFailedError
    return kind(f"{target} did not begin within {waited}", target=target)


def _tell(ticket: Ticket, error: InferenceServiceError, since: float) -> None:
    if ticket.is_over:
        return
    match fallback.fault(error, silent_s=0.0 if ticket.has_begun else time.monotonic() - since):
        case "failure":
            ticket.failed(error.message, fallback.pause_s(error) if error.details.get("provider") else 0.0)
        case "limit":
            ticket.limited(fallback.pause_s(error), error.message)
        case "none":
            ticket.answered()
        case "unknown":
            ticket.dropped()
