"""Who is asked, and who next, until one answers?

The core of a router, without bus and HTTP: how a request is decided on, how a target is asked, whether it may be asked
just now and what an error means are passed in. What was handed out is never taken back: another target goes on behind
a text, or the chain ends.
"""

import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

import msgspec
from msgspec import Struct

from golek_wire.errors import (
    ContextBudgetExceededError,
    DeadlineExceededError,
    InferenceServiceError,
    InternalError,
    JobCancelledError,
    ModelNotFoundError,
    ProviderRefusedError,
    RetriableError,
    StreamInterruptedError,
    from_body,
)
from golek_wire.replies import Delta, InferenceReply, Reply
from golek_wire.requests import InferenceRequest, Request, Resume
from golek_wire.routing import Candidate, Decision, Route, Tried
from golek_worker.router.providers.base import Piece
from golek_worker.router.targets import Ask

SKIPPED = "skipped"
ANSWERED = "answered"


class Question(Struct, frozen=True):
    """What a chain answers."""

    ask: Ask
    request: Request
    until: float
    """Monotonic time after which an answer is of no use."""
    accepted_at: float
    """When the request was taken, on the same clock."""
    streamed: bool = False
    """Whether anybody reads pieces."""


class Turn(Struct):
    """One target's turn."""

    candidate: Candidate
    request: Request
    """With `resume`, where a text goes on."""
    seconds: float
    streamed: bool
    before: str = ""
    """The text that was handed out already, with that which the request itself goes on from."""
    worker: str = ""
    """Who answers, as far as whoever asks has learnt it."""


class Routed(Struct, frozen=True):
    """The end of a chain."""

    reply: Reply
    route: Route


class Gates(Protocol):
    """May a target be asked just now? (breaker.py)"""

    def closed(self, target: str) -> str:
        """Why it is passed over; empty when it may be asked."""
        ...

    def ended(self, target: str, error: InferenceServiceError | None) -> None:
        """A turn that was begun is over, with an answer or an error."""
        ...


class Open:
    """Gates that are never closed."""

    def closed(self, target: str) -> str:  # noqa: ARG002
        return ""

    def ended(self, target: str, error: InferenceServiceError | None) -> None:
        """Nothing is counted."""


def goes_on(error: InferenceServiceError) -> bool:
    """Whether another target may fare better than the one that said this."""
    if isinstance(error, JobCancelledError | DeadlineExceededError):
        return False
    return isinstance(error, RetriableError | ProviderRefusedError | ModelNotFoundError | ContextBudgetExceededError)


class Chain:
    """The targets of requests, asked in order."""

    def __init__(
        self,
        decide: Callable[[Ask], Decision],
        router: str,
        gates: Gates | None = None,
        may_go_on: Callable[[InferenceServiceError], bool] = goes_on,
    ) -> None:
        """`router` is who chooses, by its worker id."""
        self._decide = decide
        self._router = router
        self._gates = gates if gates is not None else Open()
        self._may_go_on = may_go_on

    async def run(
        self, question: Question, ask: Callable[[Turn], AsyncGenerator[Piece | Reply]]
    ) -> AsyncGenerator[Piece | Routed]:
        """Pieces where they are wanted, then the reply with its route.

        Ending the iteration early ends the turn. Raises what the last target that was asked said, with the `route`
        among its details; StreamInterruptedError where nobody can go on behind what was handed out.
        """
        decision = self._decide(question.ask)
        told, tried = _Told(question.request), list[Tried]()
        error = refused(decision)
        waiting = deque(decision.candidates)
        while waiting:
            candidate = waiting.popleft()
            if why := self._gates.closed(candidate.target):
                tried.append(Tried(candidate.target, SKIPPED, reason=why))
                continue
            began = time.monotonic()
            if began >= question.until:
                break
            turn = told.turn(candidate, question.until - began, streamed=question.streamed)
            try:
                async with aclosing(_heard(ask(turn), told, candidate.target)) as events:
                    async for event in events:
                        if isinstance(event, str | Delta):
                            yield event
                            continue
                        self._gates.ended(candidate.target, None)
                        tried.append(_tried(turn, ANSWERED, began))
                        yield Routed(told.whole(event), self._route(question, decision, turn, tried, event))
                        return
            except InferenceServiceError as failed:
                error = failed
                self._gates.ended(candidate.target, failed)
                tried.append(_tried(turn, failed.code, began, failed.message))
                if not self._may_go_on(failed):
                    break
                if told.began:
                    waiting = deque() if told.obstacle else deque(self._behind(question.ask, tried))
                    error = told.interrupted(failed) if not waiting else failed
        error = error or DeadlineExceededError("No target was left to ask in time")
        error.details.setdefault("route", self._told_route(decision, tried))
        raise error

    def _behind(self, ask: Ask, tried: list[Tried]) -> list[Candidate]:
        """Who can go on behind a text, of those that were not tried."""
        excluded = ask.excluded | {one.target for one in tried}
        return self._decide(msgspec.structs.replace(ask, excluded=excluded, has_text=True)).candidates

    def _route(self, question: Question, decision: Decision, turn: Turn, tried: list[Tried], reply: Reply) -> Route:
        candidate = turn.candidate
        provider, _, model = candidate.target.partition(":")
        elapsed_ms = (time.monotonic() - question.accepted_at) * 1000
        return Route(
            target=candidate.target,
            strategy=decision.strategy,
            policy=decision.policy,
            reason=candidate.reason,
            model=model,
            provider=provider,
            worker=turn.worker,
            chain=tried,
            task_type=decision.task_type,
            role=decision.role,
            queue_ms=round(max(0.0, elapsed_ms - reply.ms), 1),
            router=self._router,
        )

    def _told_route(self, decision: Decision, tried: list[Tried]) -> Route:
        """Of a request that nobody answered."""
        return Route("", decision.strategy, decision.policy, chain=tried, router=self._router)


class _Told:
    """What was handed out of one answer."""

    def __init__(self, request: Request) -> None:
        self._request = request
        resume = request.resume if isinstance(request, InferenceRequest) else None
        self._first = resume.text if resume is not None else ""
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._kept_thoughts = ""
        """Of targets that were given up: those of others are not handed out behind them."""
        self._obstacle: str | None = None

    @property
    def text(self) -> str:
        return self._first + "".join(self._texts)

    @property
    def began(self) -> bool:
        """Whether anything was handed out."""
        return bool(self._texts or self._thoughts or self._obstacle)

    @property
    def obstacle(self) -> str | None:
        """Why nobody can go on behind what was handed out; None when somebody can."""
        if self._obstacle is not None:
            return self._obstacle
        if self._thoughts and not self._texts:
            return "the model was still thinking"
        if self._texts and isinstance(self._request, InferenceRequest) and _is_structured(self._request):
            return "the answer has a form that others cannot go on with"
        return None

    def add(self, piece: Piece) -> Piece | None:
        """What of `piece` is handed out."""
        if isinstance(piece, str):
            self._texts.append(piece)
            return piece
        if self._kept_thoughts and piece.reasoning_content:
            piece = msgspec.structs.replace(piece, reasoning_content="")
            if not (piece.text or piece.tool_calls or piece.logprobs):
                return None
        if piece.tool_calls:
            self._obstacle = "calls of tools had begun"
        elif piece.logprobs:
            self._obstacle = "log-probabilities had been handed out"
        elif piece.index:
            self._obstacle = "several texts were asked for"
        if piece.text and not piece.index:
            self._texts.append(piece.text)
        if piece.reasoning_content:
            self._thoughts.append(piece.reasoning_content)
        return piece

    def turn(self, candidate: Candidate, seconds: float, *, streamed: bool) -> Turn:
        """The next target's, behind what was handed out."""
        request = self._request
        if self._texts and isinstance(request, InferenceRequest):
            request = msgspec.structs.replace(request, resume=Resume(self.text))
            self._kept_thoughts = self._kept_thoughts or "".join(self._thoughts)
        return Turn(candidate, request, seconds, streamed, self.text)

    def whole(self, reply: Reply) -> Reply:
        """The reply, with the thoughts that were handed out."""
        if self._kept_thoughts and isinstance(reply, InferenceReply):
            return msgspec.structs.replace(reply, reasoning_content=self._kept_thoughts)
        return reply

    def interrupted(self, error: InferenceServiceError) -> StreamInterruptedError:
        obstacle = self.obstacle or "no other target goes on behind a text"
        return StreamInterruptedError(
            f"The stream lost its target ({error.code}: {error.message}) and cannot be gone on with: {obstacle}",
            text_so_far=self.text,
        )


async def _heard(events: AsyncGenerator[Piece | Reply], told: _Told, target: str) -> AsyncGenerator[Piece | Reply]:
    """What a target says, as it is handed out. Raises InternalError when it ends without an answer."""
    async with aclosing(events):
        async for event in events:
            if not isinstance(event, str | Delta):
                yield event
                return
            if (piece := told.add(event)) is not None:
                yield piece
    raise InternalError(f"{target} ended without an answer")


def refused(decision: Decision) -> InferenceServiceError | None:
    """The error of a decision without candidates; None where there are some."""
    if decision.error is None:
        return None
    about = decision.error
    return from_body(about["code"], about["message"], dict(about.get("details") or {}))


def _is_structured(request: InferenceRequest) -> bool:
    """Whether its answer follows a form of which a part was handed out."""
    form = request.response_format
    params = request.params
    return (form is not None and form.type != "text") or bool(params.grammar or params.regex or params.choice)


def _tried(turn: Turn, outcome: str, began: float, reason: str = "") -> Tried:
    ms = round((time.monotonic() - began) * 1000, 1)
    return Tried(turn.candidate.target, outcome, ms, reason, turn.worker)
