"""How are the single questions answered of a request that several models answer?

Each is a *part*: a step of the flow, or a question that helps it, such as vectors, a shorter text, the number of its
tokens. The router's chain answers it within the request's deadline; what helps the flow is recorded here.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from golek_wire.errors import DeadlineExceededError, InferenceServiceError, InternalError
from golek_wire.replies import EmbeddingReply, InferenceReply, Reply
from golek_wire.requests import EmbeddingRequest, InferenceRequest, Request
from golek_wire.routing import RouteWish
from golek_wire.subjects import Kind
from golek_worker.conducting.minutes import EMBEDDER, Minutes
from golek_worker.orchestration.base import Member, Step
from golek_worker.providers.base import Piece
from golek_worker.router.chain import Routed

MARGIN: Final = 0.05
"""This part of the time that is left is kept for the way back of the answer …"""
MARGIN_LIMIT_S: Final = 1.0
"""… but no more than this."""
EMBED_S: Final = 2.0
"""So long vectors may take; without them agreement is found out in another way."""
AT_HOME: Final = RouteWish(policy="local_only")
"""Of what only helps: a model of the fleet itself counts and makes vectors, and no other one in its place."""
COUNT: Final = "count/1"
"""The label of steps that count tokens. They write nothing, and are in no record."""


class Part(Struct, frozen=True):
    """One question of the request, for the router's chain."""

    kind: Kind
    model: str
    request: Request
    until: float
    """Monotonic time after which its answer is of no use."""
    label: str
    """`<name>/<round>`."""
    seed: int
    """With which its model draws, where the request does not say it."""
    streamed: bool = False


class Answers(Protocol):
    """Has a part answered: pieces where it is streamed, then the reply. Raises what it fails with."""

    def __call__(self, part: Part) -> AsyncGenerator[Piece | Routed]: ...


class Asks:
    """Asks the parts of one request."""

    def __init__(
        self, answers: Answers, minutes: Minutes, *, until: float, seed: int, counts: Callable[[str], bool]
    ) -> None:
        """`until` is the caller's deadline, on the monotonic clock; `seed` that of its job; `counts`: whether a model's
        tokens can be counted without writing any.
        """
        now = time.monotonic()
        self.until = until - min(MARGIN_LIMIT_S, MARGIN * max(0.0, until - now))
        """So long parts may take."""
        self.seed = seed
        self._counts = counts
        self.answers = answers
        self.minutes = minutes

    async def reply(self, part: Part) -> Reply:
        """The reply of a part that nobody streams. Raises what it fails with, DeadlineExceededError once its time is
        over.
        """
        try:
            async with asyncio.timeout(part.until - time.monotonic()), aclosing(self.answers(part)) as events:
                async for event in events:
                    if isinstance(event, Routed):
                        return msgspec.structs.replace(event.reply, route=event.route)
        except TimeoutError:
            raise DeadlineExceededError(f"{part.model} did not answer {part.label} in time") from None
        raise InternalError(f"{part.model} ended without an answer")

    async def help(self, step: Step, request: InferenceRequest) -> InferenceReply:
        """The answer of a step that only helps the flow, such as one that makes a text shorter. Raises its error."""
        minutes = self.minutes
        entry = minutes.begin(step, counts=False)
        try:
            reply = await self.reply(Part("inference", step.member.model, request, self.until, label(step), self.seed))
        except InferenceServiceError as error:
            minutes.failed(entry, error)
            raise
        assert isinstance(reply, InferenceReply)
        minutes.answered(entry, reply)
        return reply

    async def count(self, model: str, request: InferenceRequest) -> int | None:
        """How many tokens the model would read, as its worker counts them: `max_tokens` of the request is 0. None where
        that would cost something. Raises its error.
        """
        if not self._counts(model):
            return None
        request = msgspec.structs.replace(request, route=AT_HOME)
        reply = await self.reply(Part("inference", model, request, self.until, COUNT, self.seed))
        assert isinstance(reply, InferenceReply)
        return reply.tokens_in

    async def embed(self, member: Member, texts: Sequence[str], parent: InferenceRequest) -> list[list[float]] | None:
        """A vector for each text, kept where answers to `parent` may be; None where they do not come in time."""
        step, minutes = Step("embed", member, EMBEDDER), self.minutes
        entry = minutes.begin(step, counts=False)
        until = min(self.until, time.monotonic() + EMBED_S)
        try:
            request = EmbeddingRequest(list(texts), user=parent.user, cache=parent.cache, route=AT_HOME)
            reply = await self.reply(Part("embedding", member.model, request, until, label(step), self.seed))
            assert isinstance(reply, EmbeddingReply)
            vectors = reply.vectors
        except InferenceServiceError as error:
            minutes.failed(entry, error)
            return None
        except ValueError as error:  # they are none
            minutes.failed(entry, InternalError(f"{member.model}: {error}"))
            return None
        minutes.answered(entry, reply)
        return vectors if len(vectors) == len(texts) else None


def label(step: Step) -> str:
    """As logs name a step."""
    return f"{step.name}/{step.round}"
