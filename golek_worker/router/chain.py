"""Who is asked, and who next, until one answers?

The core of a router, without bus and HTTP: how a request is decided on, how a target is asked, whether it may be asked
just now and what an error means are passed in. What was handed out is never taken back: another target goes on behind
a text, or the chain ends.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from golek_wire.errors import (
    DeadlineExceededError,
    InferenceServiceError,
    InternalError,
    NoWorkersError,
    StreamInterruptedError,
)
from golek_wire.replies import Delta, InferenceReply, Reply
from golek_wire.requests import InferenceRequest, Request, Resume
from golek_wire.routing import LOCAL, Candidate, Decision, Route, Tried
from golek_worker.providers.base import Piece
from golek_worker.router import fallback, refusals
from golek_worker.router.breakers import Breakers
from golek_worker.router.guard import guarded
from golek_worker.router.purse import Expense, Purse, used, was_kept
from golek_worker.router.targets import Ask, State, Target

SKIPPED: Final = "skipped"
ANSWERED: Final = "answered"
MARGIN_S: Final = 0.01
"""A pause that a target asked for is over then by its breaker's clock as well."""
VERDICT_S: Final = 0.1
"""So long requests that could go elsewhere wait for the first verdict at a target that has to prove itself."""


class Begun(Struct, frozen=True):
    """A target took the request: it lives, though it has written nothing yet."""


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
    passed_on: bool = False
    """Whether another router asks: then it waits for no verdict, which may be that of the request it is part of."""


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
    has_others: bool = False
    """Whether somebody else may be asked, should nobody be there any more who could answer."""
    cost_usd: float | None = None
    """What it took."""
    sticks: bool = False
    """Whether the replica counts: the beginning of the request may lie in its KV cache."""


class Routed(Struct, frozen=True):
    """The end of a chain."""

    reply: Reply
    route: Route


Word = Begun | Piece | Reply
Asks = Callable[[Turn], AsyncGenerator[Word]]
"""Asks one target. Pieces of a turn that is not streamed are taken as a sign of life alone."""


class Fleet(Protocol):
    """Who may answer, and how everybody is (deciding.py)."""

    def decide(self, ask: Ask) -> Decision: ...

    def target(self, name: str) -> Target | None:
        """A target by its name; None for one that has left."""
        ...

    def state(self, name: str) -> State:
        """How it is."""
        ...


class Chain:
    """The targets of requests, asked in order."""

    def __init__(self, fleet: Fleet, breakers: Breakers, router: str) -> None:
        """`router` is who chooses, by its worker id."""
        self._fleet = fleet
        self._breakers = breakers
        self._router = router

    async def run(self, question: Question, purse: Purse, ask: Asks) -> AsyncGenerator[Piece | Routed]:
        """Pieces where they are wanted, then the reply with its route.

        Ending the iteration early ends the turn. Raises what the targets that were asked said, with the `route` among
        its details; StreamInterruptedError where nobody can go on behind what was handed out.
        """
        decision = self._fleet.decide(question.ask)
        way = _Way(question, decision)
        while (candidate := way.next()) is not None:
            began = time.monotonic()
            turn = way.told.turn(candidate, question.until - began, streamed=question.streamed)
            turn.has_others = way.has_others
            turn.sticks = way.decision.strategy == "prefix_affinity"
            try:
                expense = await self._paid_for(turn, purse)
            except InferenceServiceError as refused:  # another target may cost nothing
                way.passed_over(turn, refused, refused.message)
                continue
            try:
                async with aclosing(self._asked(turn, way, expense, ask)) as words:
                    async for word in words:
                        if isinstance(word, str | Delta):
                            yield word
                            continue
                        way.tried.append(_tried(turn, ANSWERED, began))
                        yield Routed(way.told.whole(word), self._route(way, turn, word))
                        return
            except InferenceServiceError as failed:
                await self._after(way, turn, failed, began)
        raise self._last_word(way)

    async def _paid_for(self, turn: Turn, purse: Purse) -> Expense:
        """What a turn may cost is held. Raises as `Purse.reserve` does, and for a target that has left meanwhile."""
        name = turn.candidate.target
        target = self._fleet.target(name)
        if target is None:
            raise NoWorkersError(f"{name} is not there any more", model=name)
        return await purse.reserve(target, turn.request)

    async def _asked(self, turn: Turn, way: "_Way", expense: Expense, ask: Asks) -> AsyncGenerator[Piece | Reply]:
        """What one target says, as it is handed out; its breaker hears of it. Raises what it fails with."""
        name, others = turn.candidate.target, way.has_others
        state = self._fleet.state(name)
        usual_s = state.ttft_s if state.slots else self._breakers.usual_s(name)  # clouds tell of no slots
        begin_s = fallback.begin_within_s(usual_s=usual_s, left_s=turn.seconds, others=others, wait_s=state.wait_s)
        stays = not others or way.question.passed_on
        patience_s = VERDICT_S if others else fallback.verdict_within_s(turn.seconds)
        words = guarded(
            self._breakers, name, _whole(ask(turn), name), begin_s=begin_s, stays=stays,
            patience_s=0.0 if way.question.passed_on else patience_s,
        )  # fmt: skip
        written = 0
        try:
            async with aclosing(words):
                async for word in words:
                    if isinstance(word, Begun):
                        continue
                    if isinstance(word, str | Delta):
                        written += 1
                        if turn.streamed and (piece := way.told.add(word)) is not None:
                            yield piece
                        continue
                    if not was_kept(word):
                        turn.cost_usd = expense.paid(*used(word))
                    written = 0  # it is paid, or costs nothing
                    yield word
        finally:
            if (broken := expense.broke_off(written)) is not None:  # what was paid stays as it is
                turn.cost_usd = broken

    async def _after(self, way: "_Way", turn: Turn, failed: InferenceServiceError, began: float) -> None:
        """Who is asked next, and when."""
        if failed.details.get("passed_over"):
            way.passed_over(turn, failed, failed.message)
            return
        way.tried.append(_tried(turn, failed.code, began, failed.message))
        way.errors.append(failed)
        verdict = fallback.after(
            failed, tries=way.tries, left_s=way.left_s, others=way.has_others, has_text=way.told.began,
            draw=random.random(),
        )  # fmt: skip
        if isinstance(verdict, fallback.Again):
            await asyncio.sleep(verdict.after_s + MARGIN_S)
            way.again(turn.candidate)
        elif verdict == "stop":
            way.stop()
        elif way.told.began and not way.told.obstacle:
            way.go_on(self._behind(way))
        elif way.told.began:
            way.stop()

    def _behind(self, way: "_Way") -> list[Candidate]:
        """Who can go on behind a text, of those that were not tried."""
        ask = way.question.ask
        excluded = ask.excluded | {one.target for one in way.tried}
        return self._fleet.decide(msgspec.structs.replace(ask, excluded=excluded, has_text=True)).candidates

    def _last_word(self, way: "_Way") -> InferenceServiceError:
        """What the caller hears where nobody answered."""
        error = refusals.of(way.decision)
        if error is None and way.errors:
            error = fallback.last_word(way.errors)
        error = error or DeadlineExceededError("No target was left to be asked in time")
        if way.told.began and (fallback.allows_next(error) or fallback.is_doubtful(error)):
            error = way.told.interrupted(error)
        decision = way.decision
        last = next((one.target for one in reversed(way.tried) if one.outcome != SKIPPED), "")
        route = Route(last, decision.strategy, decision.policy, chain=way.tried, router=self._router)
        error.details.setdefault("route", msgspec.to_builtins(route))
        return error

    def _route(self, way: "_Way", turn: Turn, reply: Reply) -> Route:
        candidate, decision = turn.candidate, way.decision
        provider, _, model = candidate.target.partition(":")
        elapsed_ms = (time.monotonic() - way.question.accepted_at) * 1000
        return Route(
            target=candidate.target,
            strategy=decision.strategy,
            policy=decision.policy,
            reason=_why(candidate, decision),
            model=model,
            provider=provider,
            worker=turn.worker,
            chain=way.tried,
            task_type=decision.task_type,
            role=candidate.role,
            queue_ms=round(max(0.0, elapsed_ms - reply.ms), 1),
            router=self._router,
        )


class _Way:
    """How far one request has come among its candidates."""

    def __init__(self, question: Question, decision: Decision) -> None:
        self.question = question
        self.decision = decision
        self.told = _Told(question.request)
        self.tried: list[Tried] = []
        self.errors: list[InferenceServiceError] = []
        self.tries = 0
        """Of the target whose turn it is."""
        self._waiting = deque(decision.candidates)
        self._again: Candidate | None = None

    @property
    def left_s(self) -> float:
        return self.question.until - time.monotonic()

    @property
    def has_others(self) -> bool:
        return bool(self._waiting)

    def next(self) -> Candidate | None:
        """Whose turn it is; None when nobody is left, or no time."""
        again, self._again = self._again, None
        if self.left_s <= 0:
            return None
        if again is not None:
            self.tries += 1
            return again
        self.tries = 1
        return self._waiting.popleft() if self._waiting else None

    def again(self, candidate: Candidate) -> None:
        self._again = candidate

    def go_on(self, candidates: list[Candidate]) -> None:
        self._waiting = deque(candidates)

    def stop(self) -> None:
        self._waiting.clear()

    def passed_over(self, turn: Turn, error: InferenceServiceError, why: str) -> None:
        """A target was not asked."""
        self.tried.append(Tried(turn.candidate.target, SKIPPED, reason=why))
        self.errors.append(error)


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


def was_passed_over(error: InferenceServiceError) -> bool:
    """Whether the last target was not asked when its turn came, or none had one, before the chain ended in `error`."""
    route = error.details.get("route")
    tried = route.get("chain", ()) if isinstance(route, dict) else ()
    return not tried or tried[-1]["outcome"] == SKIPPED


async def _whole(words: AsyncGenerator[Word], target: str) -> AsyncGenerator[Word]:
    """What a target says until its reply. Raises InternalError when it ends without one."""
    async with aclosing(words):
        async for word in words:
            yield word
            if not isinstance(word, str | Delta | Begun):
                return
    raise InternalError(f"{target} ended without an answer")


def _why(candidate: Candidate, decision: Decision) -> str:
    """Why this target, and why none that comes first by name or policy."""
    if decision.strategy == "weighted" and not candidate.score:
        return candidate.reason  # it was drawn
    own, is_local = f"{LOCAL}:{decision.model.removeprefix(f'{LOCAL}:')}", candidate.target.startswith(f"{LOCAL}:")
    is_first = {"local_first": not is_local, "cloud_first": is_local}.get(decision.policy, False)

    def would_come_first(name: str) -> bool:
        return name != candidate.target and (name == own or (is_first and name.startswith(f"{LOCAL}:") != is_local))

    at = decision.candidates.index(candidate) if candidate in decision.candidates else 0
    if any(would_come_first(one.target) for one in decision.candidates[:at]):
        return candidate.reason  # they were asked
    passed = [(one.target, one.reason) for one in decision.candidates[at + 1 :]]
    passed += [(one.target, one.reason) for one in decision.rejected]
    why = next((reason for target, reason in passed if would_come_first(target)), "")
    return f"{why}; {candidate.reason}" if why else candidate.reason


def _is_structured(request: InferenceRequest) -> bool:
    """Whether its answer follows a form of which a part was handed out."""
    form = request.response_format
    params = request.params
    return (form is not None and form.type != "text") or bool(params.grammar or params.regex or params.choice)


def _tried(turn: Turn, outcome: str, began: float, reason: str = "") -> Tried:
    ms = round((time.monotonic() - began) * 1000, 1)
    return Tried(turn.candidate.target, outcome, ms, reason, turn.worker, turn.cost_usd)
