"""Who answers jobs that lie in a router's stream?

Others: workers of the fleet, whom `bus/steps` asks, and clouds. `router/chain` asks one after the other; here its text
becomes a run, and its reply the job's answer.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from golek_wire import codec, semconv, subjects
from golek_wire.errors import (
    InferenceServiceError,
    InternalError,
    RetriableError,
    UnauthorizedError,
)
from golek_wire.headers import HOPS_LIMIT
from golek_wire.replies import InferenceReply, Reply, RerankReply
from golek_wire.requests import EmbeddingRequest, InferenceRequest, Params, Request, RerankRequest, VisionRequest
from golek_wire.routing import CacheUse, CacheWish
from golek_wire.subjects import Kind
from golek_wire.vision import VisionReply
from golek_worker.classifying import looked_at
from golek_worker.conducting.conductor import Conductor
from golek_worker.conducting.minutes import Minutes
from golek_worker.conducting.step_asks import Asks, Part
from golek_worker.ends import priced
from golek_worker.engine.base import Made, Replied, Stopped, refusal
from golek_worker.engine.host import EngineDied, Run
from golek_worker.executor import Answer, Work
from golek_worker.gatekeeper import route_loop
from golek_worker.job import Job
from golek_worker.orchestration import flows
from golek_worker.providers.base import Piece
from golek_worker.router.chain import Question, Routed
from golek_worker.router.purse import used, was_kept
from golek_worker.routing import turns
from golek_worker.routing.desk import Desk
from golek_worker.routing.turns import Turns
from golek_worker.sessions.conversation import Conversation

log = structlog.get_logger("router")

_READ: Final[dict[Kind, Callable[[bytes], Request]]] = {
    "inference": codec.decode_request,
    "embedding": codec.decode_embedding,
    "rerank": codec.decode_rerank,
    "vision": codec.decode_vision,
}
_OPERATIONS: Final[dict[Kind, str]] = {
    "embedding": semconv.EMBEDDINGS,
    "rerank": semconv.RERANK,
    "vision": semconv.VISION,
}


class RouterExecutor:
    """Answers with the replies of others."""

    kind: Kind = "inference"
    """Of jobs that say nothing else."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._running: dict[str, asyncio.Task[None]] = {}

    @property
    def capabilities(self) -> list[str]:
        return self.desk.decides.capabilities()

    def check(self, request: Request) -> None:
        """Whoever is asked says what it cannot do."""

    def read(self, job: Job, payload: bytes) -> "RouterWork":
        if job.principal == subjects.ANONYMOUS and not self.desk.is_open:
            raise UnauthorizedError("This router answers callers that are known alone (GOLEK_NATS_IDENTITY)")
        kind = job.asked_kind or self.kind
        return RouterWork(self, job, kind, _READ[kind](payload), payload)

    def cancel(self, job_id: str) -> None:
        if (task := self._running.get(job_id)) is not None:
            task.cancel()

    def begin(self, job_id: str, task: asyncio.Task[None]) -> None:
        """Keep the task of a job, so that it can be cancelled."""
        self._running[job_id] = task
        task.add_done_callback(lambda _: self._running.pop(job_id, None))


class RouterWork(Work):
    """One request that others answer."""

    def __init__(self, executor: RouterExecutor, job: Job, kind: Kind, request: Request, payload: bytes) -> None:
        super().__init__(job, request)
        self._executor = executor
        self._kind: Kind = kind
        self._model = job.asked_model or executor.desk.model
        self._payload = payload
        if isinstance(request, InferenceRequest) and request.session_id is not None:
            self.conversation = Conversation(request, 0)
        self._pieces = 0
        self._purse = executor.desk.purse(job)
        self._turns = Turns(executor.desk, job, request, payload, self._was_kept)
        self._minutes: Minutes | None = None
        """Of a request that several models answer."""
        self._own_cache: CacheUse | None = None
        """What was so before anybody was asked."""
        self.adapter = request.adapter or None if isinstance(request, InferenceRequest) else None

    @property
    def costs(self) -> Mapping[str, float]:
        return self._purse.costs

    @property
    def raw_input(self) -> str:
        """What an executor of this kind logs."""
        match self.request:
            case InferenceRequest(input=str(text)):
                return text
            case InferenceRequest(messages=messages):
                return codec.encode(messages).decode()
            case EmbeddingRequest(input=texts):
                return texts if isinstance(texts, str) else codec.encode(texts).decode()
            case RerankRequest() as asked:
                return codec.encode({"query": asked.query, "documents": asked.texts}).decode()
            case VisionRequest() as asked:
                return looked_at(asked)

    @property
    def operation(self) -> str:
        has_turns = isinstance(self.request, InferenceRequest) and self.request.messages is not None
        return _OPERATIONS.get(self._kind) or (semconv.CHAT if has_turns else semconv.TEXT_COMPLETION)

    @property
    def params(self) -> Params | None:
        return self.request.params if isinstance(self.request, InferenceRequest) else None

    @property
    def texts(self) -> int:
        return self.params.n if self.params is not None else 0

    def start(self, *, watched: bool = False, until: float = math.inf) -> Run:
        run = Run()
        streamed = self._kind == "inference" and (self._job.stream or watched)
        task = asyncio.get_running_loop().create_task(self._feed(run, until, streamed=streamed))
        self._executor.begin(self._job.job_id, task)
        return run

    async def _feed(self, run: Run, until: float, *, streamed: bool) -> None:
        """The chain's pieces and its end, as the events of a run."""
        job, now = self._job, time.monotonic()
        left_s = min(until - now, job.budget_ms / 1000)
        accepted_at = now - max(0.0, job.budget_ms / 1000 - left_s)
        try:
            _check_hops(job)
            self._own_cache = self.cache
            whole = self.request if self.conversation is None else self.conversation.request
            reply = await self._together(run, whole, now + left_s, accepted_at, streamed=streamed)
            if reply is None:
                reply = await self._alone(run, whole, now + left_s, accepted_at, streamed=streamed)
            run.put(Replied(priced(reply, self._purse.cost_usd)))
        except InferenceServiceError as error:
            if self._purse.cost_usd is not None:
                error.details["cost_usd"] = self._purse.cost_usd
            if job.taken and isinstance(error, RetriableError) and not self._pieces:
                run.put(EngineDied(ran=False))  # it goes back to its queue: whoever is well first answers it
            else:
                read, written = self._used
                run.put(msgspec.structs.replace(refusal(job.job_id, error), tokens_in=read, tokens_out=written))
        except asyncio.CancelledError:
            read, written = (0, self._pieces) if self._minutes is None else self._used
            run.put(Stopped(job.job_id, read, written, self._purse.cost_usd))
        except Exception:
            log.exception("route.failed", job_id=job.job_id)
            run.put(refusal(job.job_id, InternalError("The router failed; its log says how")))

    @property
    def _used(self) -> tuple[int, int]:
        """The tokens that were read and written for an answer that did not come."""
        read, written = self._purse.broken_off if self._pieces or self._minutes is not None else (0, 0)
        if self._minutes is not None:
            read, written = read + self._minutes.tokens_in, written + self._minutes.tokens_out
        return read, written

    async def _alone(self, run: Run, whole: Request, until: float, accepted_at: float, *, streamed: bool) -> Reply:
        """The answer of one target. Raises as the chain does."""
        job, left_s = self._job, until - time.monotonic()
        ask = self._executor.desk.decides.ask(job, self._kind, self._model, whole, left_s)
        question = Question(ask, _stateless(whole), until, accepted_at, streamed, passed_on=job.hops > 1)
        async with aclosing(self._turns.run(question, self._purse, turns.Part(self._kind, ask.affinity))) as events:
            async for event in events:
                if isinstance(event, Routed):
                    return msgspec.structs.replace(event.reply, route=event.route)
                self._hand_out(run, event)
        raise InternalError("The chain ended without an answer")

    async def _together(
        self, run: Run, whole: Request, until: float, accepted_at: float, *, streamed: bool
    ) -> Reply | None:
        """The answer of several models; None where one answers. Raises the error that their flow ends in."""
        desk, job = self._executor.desk, self._job
        if not isinstance(whole, InferenceRequest):
            return None
        case = await desk.engages.case(job, self._model, whole)
        if case is None:
            return None
        progress = whole.orchestration.progress if whole.orchestration is not None and streamed else "off"
        minutes = Minutes(job.req_id, run.put if progress != "off" else None, tells_texts=progress == "texts")
        self._minutes = minutes
        asks = Asks(partial(self._part, accepted_at), minutes, until=until, seed=job.seed, counts=desk.engages.counts)
        return await Conductor(
            msgspec.structs.replace(case, request=_stateless(case.request)),
            asks,
            desk.engages.context(case, job, asks),
            embedder=desk.engages.embedder(),
            hand_out=partial(self._hand_out, run) if streamed else None,
        ).conduct(flows.run)

    def _was_kept(self, is_kept: bool) -> None:
        """Whether the answer of who is asked now comes from a cache."""
        self.cache = "hit" if is_kept else self._own_cache

    def _hand_out(self, run: Run, piece: Piece) -> None:
        self._pieces += 1
        run.put(piece)

    def _part(self, accepted_at: float, asked: Part) -> AsyncGenerator[Piece | Routed]:
        """One of several questions. Who may take part was looked at before: the caller's key is not asked again."""
        job, request = self._job, _within(asked.request, self._purse.committed_usd)
        ask = self._executor.desk.decides.ask(job, asked.kind, asked.model, request, asked.until - time.monotonic())
        ask = msgspec.structs.replace(ask, allowed=None)
        question = Question(ask, request, asked.until, accepted_at, asked.streamed, passed_on=job.hops > 1)
        seed = request.seed if isinstance(request, InferenceRequest) else None
        part = turns.Part(asked.kind, ask.affinity, asked.label, asked.seed if seed is None else seed)
        return self._turns.run(question, self._purse, part)

    def answer(self, end: Made, ms: int) -> Answer:
        if not isinstance(end, Replied):
            raise InternalError("Nobody answered where an answer was told")
        reply = end.reply
        about: dict[str, Any] = {"req_id": self._job.req_id, "model": self._model, "ms": ms, "duration_ms": ms}
        target = reply.route.target if reply.route else None
        cost_usd = reply.cost_usd if isinstance(reply.cost_usd, float) else None
        if was_kept(reply):
            self.cache = "hit"
        cache, is_free = self.cache, self.cache == "hit" or self.shared
        if cache is not None and not isinstance(reply, RerankReply | VisionReply):
            about["cache"] = cache
        if isinstance(reply, InferenceReply):
            told = msgspec.structs.replace(reply, seed=self._job.seed, **about)
            if self.conversation is not None:
                told = msgspec.structs.replace(told, session=self.conversation.use)
                self.conversation.answered(self._job.job_id, told)
            saved = self._minutes.saved if self._minutes is not None else 0
            return Answer(
                codec.encode(told), reply.tokens_in, reply.tokens_out, reply.text, reply.finish_reason,
                target=target, cost_usd=cost_usd, cache=told.cache,
                saved=reply.tokens_in + reply.tokens_out if is_free else saved, orchestration=reply.orchestration,
                first_ms=None if reply.orchestration is None or is_free else float(reply.ttft_ms),
            )  # fmt: skip
        tokens_in, tokens_out, _ = used(reply)
        return Answer(
            codec.encode(msgspec.structs.replace(reply, **about)), tokens_in, tokens_out,
            target=target, cost_usd=cost_usd, cache=cache, saved=tokens_in if is_free else 0,
        )  # fmt: skip


def _check_hops(job: Job) -> None:
    """Raise RouteLoopError for one that was taken from a queue whose own workers would have passed it to nobody."""
    if job.hops > HOPS_LIMIT:
        raise route_loop(job.hops - 1)


def _within(request: Request, spent_usd: float) -> Request:
    """The request with what is left of the money that it may cost, as it is part of another one that spent so much, or
    may yet with other parts.
    """
    route = request.route
    if route is None or route.max_cost_usd is None or not spent_usd:
        return request
    left = msgspec.structs.replace(route, max_cost_usd=max(0.0, route.max_cost_usd - spent_usd))
    return msgspec.structs.replace(request, route=left)


def _stateless(request: Request) -> Request:
    """The request as targets read it: what was said before is part of it, so that they look up no session. That it
    belongs to one keeps its answer from their caches.
    """
    if isinstance(request, InferenceRequest) and request.session_id is not None:
        cache = msgspec.structs.replace(request.cache or CacheWish(), user_specific=True)
        return msgspec.structs.replace(request, session_id=None, cache=cache)
    return request
