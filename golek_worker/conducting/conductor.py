"""How does a router have several models answer one request?

The conductor of one request: it gives a flow (`orchestration/modes`) the callable by which steps are answered. Around
each step stand its share of the deadline, what its model reads (`orchestration/context`), the router's chain with its
fallbacks, breakers and money (`step_asks`), tries after passing faults, a look for errors that must not be passed on,
and what is told of it (`minutes`).
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from golek_wire.errors import (
    BadRequestError,
    DeadlineExceededError,
    InferenceServiceError,
    InternalError,
    RateLimitedError,
    RetriableError,
)
from golek_wire.replies import InferenceReply
from golek_worker.conducting.handing_out import HandingOut
from golek_worker.conducting.minutes import QUARANTINED, Entry
from golek_worker.conducting.step_asks import Asks, Part, label
from golek_worker.engine.base import Piece
from golek_worker.orchestration import verdicts
from golek_worker.orchestration.base import Case, ContaminatedError, Member, Said, Step
from golek_worker.orchestration.composing import is_plain, step_seed
from golek_worker.orchestration.contamination import ValidationResult
from golek_worker.orchestration.context import Context
from golek_worker.orchestration.flows import Flow
from golek_worker.router import fallback
from golek_worker.router.chain import Routed, was_passed_over

RETRIES: Final = 2
"""A step is asked so many times more after passing faults."""
NEWS_S: Final = 0.2
"""Who was passed over is asked again no sooner: what a router knows of the fleet is up to half as old."""


class Conductor:
    """Has the steps of one request answered: the `Ask` of its flow."""

    def __init__(
        self,
        case: Case,
        asks: Asks,
        context: Context,
        *,
        embedder: Member | None,
        hand_out: Callable[[Piece], None] | None,
    ) -> None:
        """`hand_out` is given the pieces of the answer; None where nobody reads them."""
        self._case = case
        self._asks = asks
        self._minutes = asks.minutes
        self._context = context
        self._embedder = embedder
        self._told = HandingOut(hand_out)
        self._wrote_ms = 0.0
        """When the final step ended, since the request was taken."""

    async def conduct(self, flow: Flow) -> InferenceReply:
        """The one answer, with how it came about. Raises the error that the flow ends in, with what is known of its
        steps among the details.
        """
        minutes, cast = self._minutes, self._case.cast
        try:
            outcome = await flow(self._case, self)
            self._told.check()
        except InferenceServiceError as error:
            minutes.close()
            if minutes.records:
                error.details["orchestration"] = msgspec.to_builtins(minutes.orchestration(cast, None, error))
            raise
        finally:
            minutes.close()
            await self._context.close()
        broken, reply = self._told.broken or outcome.error, outcome.said.reply
        if self._told.broken is not None:  # its step is as one that was still to come
            outcome = msgspec.structs.replace(outcome, left=outcome.left + 1)
        self._told.rest(outcome.said)
        ttft_ms = self._first_ms(outcome.said)
        return msgspec.structs.replace(
            reply,
            tokens_in=minutes.tokens_in,
            tokens_out=minutes.tokens_out,
            tokens_cached=minutes.tokens_cached,
            ttft_ms=round(ttft_ms),
            finish_reason="partial" if broken is not None else reply.finish_reason,
            orchestration=minutes.orchestration(cast, outcome, broken),
            inference_metadata=minutes.metadata(cast, self._context.facts),
            cache=None,
        )

    def _first_ms(self, said: Said) -> float:
        """From when the request was taken to the first token of the answer: of one that was not written last, and is
        handed out whole, until now.
        """
        minutes, reply = self._minutes, said.reply
        if self._told.first_at is not None:
            return minutes.ms_at(self._told.first_at)
        if not said.step.is_final:
            return minutes.now_ms
        return max(0.0, self._wrote_ms - max(0, reply.ms - reply.ttft_ms if reply.ttft_ms else 0))

    async def __call__(self, step: Step) -> Said:
        """As `Ask.__call__`."""
        until = self._share(step)
        entry, fresh = self._minutes.begin(step), False
        while True:
            said = await self._patiently(step, entry, until, fresh=fresh)
            if self._told.broken is not None:
                return said
            found = await self._context.hear(said)
            if not found.is_quarantined or self._told.is_of(step):
                warnings = (*found.warnings, *_unread(said))
                self._minutes.answered(entry, said.reply, warnings=warnings, is_usable=said.is_usable)
                self._wrote_ms = self._minutes.now_ms
                return msgspec.structs.replace(said, warnings=warnings)
            self._minutes.answered(entry, said.reply, outcome=QUARANTINED, warnings=found.warnings)
            if found.recommendation == "abort":
                raise _contaminated(step, found)
            entry, fresh = self._minutes.begin(step), True

    async def embed(self, texts: Sequence[str]) -> list[list[float]] | None:
        """As `Ask.embed`."""
        if self._embedder is None:
            return None
        return await self._asks.embed(self._embedder, texts, self._case.request)

    def _share(self, step: Step) -> float:
        """Until when a step may take: with n steps in a row left 2/(n+1) of the time that is. Raises
        DeadlineExceededError when none is.
        """
        now = time.monotonic()
        left = self._asks.until - now
        if left <= 0:
            raise DeadlineExceededError(f"No time was left for {step.name} of {step.member.model}", step=step.name)
        return now + left * 2 / (max(1, step.depth) + 1)

    async def _patiently(self, step: Step, entry: Entry, until: float, *, fresh: bool) -> Said:
        """What it says, asked again after passing faults, and without a form that its model cannot be held to. Raises
        the last fault.
        """
        while True:
            try:
                return await self._once(step, entry, until, fresh=fresh)
            except InferenceServiceError as error:
                unheld = _unheld(step, error)
                wait_s = self._wait_s(error, entry, until) if unheld is step else 0.0
                if wait_s is None:
                    said = self._told.instead(step, error)
                    self._minutes.failed(entry, error, said.reply.tokens_out if said is not None else 0)
                    if said is None:
                        raise
                    return said
                step = unheld
                if not _is_kept_waiting(error):
                    self._minutes.again(entry)
            await asyncio.sleep(wait_s)

    async def _once(self, step: Step, entry: Entry, until: float, *, fresh: bool) -> Said:
        """One try. Raises what it fails with, DeadlineExceededError once its share is over."""
        try:
            async with asyncio.timeout(until - time.monotonic()):
                request, compressed = await self._context.prepare(step, fresh=fresh)
                if compressed:
                    self._minutes.compressed(entry)
                streamed = step.is_final and self._told.is_read
                part = Part("inference", step.member.model, request, until, label(step), self._seed(step), streamed)
                return Said(step, await self._heard(step, part))
        except TimeoutError:
            raise DeadlineExceededError(
                f"{step.member.model} did not end its step {step.name!r} within its share of the deadline",
                step=step.name,
            ) from None

    async def _heard(self, step: Step, part: Part) -> InferenceReply:
        self._told.asks()
        async with aclosing(self._asks.answers(part)) as events:
            async for event in events:
                if isinstance(event, Routed):
                    assert isinstance(event.reply, InferenceReply)
                    return msgspec.structs.replace(event.reply, route=event.route)
                self._told.add(step, event)
        raise InternalError(f"{part.model} ended without an answer")

    def _seed(self, step: Step) -> int:
        """With which its model draws, where what it is asked does not say it."""
        return self._asks.seed if is_plain(step, self._case) else step_seed(self._asks.seed, step)

    def _wait_s(self, error: InferenceServiceError, entry: Entry, until: float) -> float | None:
        """How long to wait before a step is asked once more; None where that is of no use, or something was handed out.
        The chain has tried again already what `fallback.SAME_AGAIN` says. A model that asked others for a pause was not
        asked at all: that is no try.
        """
        if not isinstance(error, RetriableError) or self._told.began:
            return None
        wait_s = error.retry_after_ms / 1000
        if _is_kept_waiting(error):
            wait_s = max(wait_s, NEWS_S)
        elif error.code in fallback.SAME_AGAIN or entry.record.tries > RETRIES:
            return None
        return wait_s if time.monotonic() + wait_s < until else None


def _is_kept_waiting(error: InferenceServiceError) -> bool:
    """Whether nobody was asked, because of a pause that the model asked others for."""
    return isinstance(error, RateLimitedError) and was_passed_over(error)


def _unheld(step: Step, error: InferenceServiceError) -> Step:
    """The step without a form, where it may be the form that its model refused: what a model can do is not always known
    before it is asked. Else the step itself.
    """
    if error.code != BadRequestError.code or step.schema is None or not step.member.follows_schemas:
        return step
    return msgspec.structs.replace(step, member=msgspec.structs.replace(step.member, follows_schemas=False))


def _unread(said: Said) -> Iterator[str]:
    """What is told of a critique that says nothing."""
    if said.step.name == "critique" and verdicts.critique(said.text).is_broken:
        yield "could not be read: its JSON breaks off, or says neither score nor issues"


def _contaminated(step: Step, found: ValidationResult) -> ContaminatedError:
    return ContaminatedError(
        f"What {step.member.model} said in {step.name} shows errors that must not be passed on, also when it was asked "
        f"afresh: {'; '.join(found.warnings)}",
        step=step.name,
        model=step.member.model,
        issues=list(found.warnings),
    )
