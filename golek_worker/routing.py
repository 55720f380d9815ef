"""Who answers jobs that lie in a router's stream?

Others: workers of the fleet, whom `bus/steps` asks, and clouds. `router/chain` asks one after the other; here its text
becomes a run, and its reply the job's answer.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

import msgspec
import structlog
from msgspec import Struct

from golek_wire import codec, semconv, subjects
from golek_wire.errors import (
    InferenceServiceError,
    InternalError,
    PayloadTooLargeError,
    ProviderRefusedError,
    RetriableError,
    UnauthorizedError,
)
from golek_wire.headers import HOPS_LIMIT
from golek_wire.replies import InferenceReply, RerankReply
from golek_wire.requests import EmbeddingRequest, InferenceRequest, Params, Request, RerankRequest
from golek_wire.routing import LOCAL, CacheUse, CacheWish
from golek_wire.subjects import Kind
from golek_worker.bus.hedging import Hedging
from golek_worker.bus.jetstream import JetStreamError
from golek_worker.bus.queue import NORMAL
from golek_worker.bus.queues import Form, Forms
from golek_worker.bus.steps import NOBODY_S, Started, Wanted
from golek_worker.ends import priced
from golek_worker.engine.base import Made, Replied, Stopped, refusal
from golek_worker.engine.host import EngineDied, Run
from golek_worker.executor import Answer
from golek_worker.gatekeeper import route_loop
from golek_worker.job import Job
from golek_worker.router.chain import Begun, Chain, Question, Routed, Turn, Word
from golek_worker.router.providers.base import Call, Provider
from golek_worker.router.purse import Purse, was_kept
from golek_worker.router.targets import Ask
from golek_worker.sessions.conversation import Conversation

log = structlog.get_logger("router")

_READ: Final[dict[Kind, Callable[[bytes], Request]]] = {
    "inference": codec.decode_request,
    "embedding": codec.decode_embedding,
    "rerank": codec.decode_rerank,
}
_OPERATIONS: Final[dict[Kind, str]] = {"embedding": semconv.EMBEDDINGS, "rerank": semconv.RERANK}


class Decides(Protocol):
    """Who may answer (deciding.py)."""

    def ask(self, job: Job, kind: Kind, model: str, request: Request, left_s: float) -> Ask: ...

    def gone(self, model: str) -> str:
        """Why nobody answers for a model of the fleet just now; empty while somebody does."""
        ...

    def is_expected(self, model: str) -> bool:
        """Whether a model of the fleet that nobody answers for is on its way, or was there a short while ago."""
        ...

    def capabilities(self) -> list[str]:
        """What the models of the fleet can do together."""
        ...


class Desk(Struct, frozen=True):
    """What a router asks with."""

    model: str
    """The router's own name, for jobs that say nothing of another."""
    decides: Decides
    chain: Chain
    steps: Hedging
    forms: Forms
    clouds: Mapping[str, Provider]
    """By name."""
    purse: Callable[[Job], Purse]
    """Who pays for a job's calls of clouds."""
    is_open: bool = True
    """Whether jobs of nobody in particular are answered: a laxer router may store such in the stream that all share."""


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


class RouterWork:
    """One request that others answer."""

    prompt = None

    def __init__(self, executor: RouterExecutor, job: Job, kind: Kind, request: Request, payload: bytes) -> None:
        self._executor = executor
        self._job = job
        self._kind: Kind = kind
        self._model = job.asked_model or executor.desk.model
        self._request = request
        self._payload = payload
        self.conversation: Conversation | None = None
        if isinstance(request, InferenceRequest) and request.session_id is not None:
            self.conversation = Conversation(request, 0)
        self._pieces = 0
        self._purse = executor.desk.purse(job)
        self._key = ""
        """What it has in common with requests whose beginnings lie in one KV cache."""
        self.cache: CacheUse | None = None
        self.asks_cache = False
        self.shared = False
        self.saved = 0
        self.reply_to = request.reply_to
        self.adapter = request.adapter or None if isinstance(request, InferenceRequest) else None

    @property
    def request(self) -> Request:
        return self._request

    @property
    def costs(self) -> Mapping[str, float]:
        """What clouds took for it so far, by target."""
        return self._purse.costs

    @property
    def raw_input(self) -> str:
        """What an executor of this kind logs."""
        match self._request:
            case InferenceRequest(input=str(text)):
                return text
            case InferenceRequest(messages=messages):
                return codec.encode(messages).decode()
            case EmbeddingRequest(input=texts):
                return texts if isinstance(texts, str) else codec.encode(texts).decode()
            case RerankRequest() as asked:
                return codec.encode({"query": asked.query, "documents": asked.texts}).decode()

    @property
    def operation(self) -> str:
        has_turns = isinstance(self._request, InferenceRequest) and self._request.messages is not None
        return _OPERATIONS.get(self._kind) or (semconv.CHAT if has_turns else semconv.TEXT_COMPLETION)

    @property
    def params(self) -> Params | None:
        return self._request.params if isinstance(self._request, InferenceRequest) else None

    @property
    def texts(self) -> int:
        return self.params.n if self.params is not None else 0

    def prepare(self) -> None:
        """Who answers prepares."""

    def start(self, *, watched: bool = False, until: float = math.inf) -> Run:
        run = Run()
        streamed = self._kind == "inference" and (self._job.stream or watched)
        task = asyncio.get_running_loop().create_task(self._feed(run, until, streamed=streamed))
        self._executor.begin(self._job.job_id, task)
        return run

    async def _feed(self, run: Run, until: float, *, streamed: bool) -> None:
        """The chain's pieces and its end, as the events of a run."""
        job, desk, now = self._job, self._executor.desk, time.monotonic()
        left_s = min(until - now, job.budget_ms / 1000)
        accepted_at = now - max(0.0, job.budget_ms / 1000 - left_s)
        try:
            _check_hops(job)
            whole = self._request if self.conversation is None else self.conversation.request
            ask = desk.decides.ask(job, self._kind, self._model, whole, left_s)
            self._key = ask.affinity
            question = Question(ask, _alone(whole), now + left_s, accepted_at, streamed, passed_on=job.hops > 1)
            async with aclosing(desk.chain.run(question, self._purse, self._turn)) as events:
                async for event in events:
                    if isinstance(event, Routed):
                        reply = msgspec.structs.replace(event.reply, route=event.route)
                        run.put(Replied(priced(reply, self._purse.cost_usd)))
                        return
                    self._pieces += 1
                    run.put(event)
        except InferenceServiceError as error:
            if self._purse.cost_usd is not None:
                error.details["cost_usd"] = self._purse.cost_usd
            if job.taken and isinstance(error, RetriableError) and not self._pieces:
                run.put(EngineDied(ran=False))  # it goes back to its queue: whoever is well first answers it
            else:
                read, written = self._purse.broken_off if self._pieces else (0, 0)
                run.put(msgspec.structs.replace(refusal(job.job_id, error), tokens_in=read, tokens_out=written))
        except asyncio.CancelledError:
            run.put(Stopped(job.job_id, 0, self._pieces, self._purse.cost_usd))
        except Exception:
            log.exception("route.failed", job_id=job.job_id)
            run.put(refusal(job.job_id, InternalError("The router failed; its log says how")))

    async def _turn(self, turn: Turn) -> AsyncGenerator[Word]:
        """Ask one target."""
        provider, _, model = turn.candidate.target.partition(":")
        asked = self._step if provider == LOCAL else self._call
        async with aclosing(asked(turn, provider, model)) as events:
            async for event in events:
                yield event

    async def _step(self, turn: Turn, _provider: str, model: str) -> AsyncGenerator[Word]:
        job, desk = self._job, self._executor.desk
        as_it_came = turn.request is self._request
        payload = self._payload if as_it_came else codec.encode(turn.request)
        by_reference = bool(job.body) and as_it_came
        form = await _form(desk.forms, model)
        patience_s = turn.seconds if not turn.has_others and desk.decides.is_expected(model) else NOBODY_S
        step = desk.steps.begin(
            Wanted(
                model, self._kind, job, b"" if by_reference else payload, turn.seconds, turn.streamed,
                before=turn.before, patience_s=patience_s,
                lost=lambda: desk.decides.gone(model) if turn.has_others else "",
            ),
            self._key if turn.sticks else "",  # by what replicas say just now, not by the candidate's lane
        )  # fmt: skip
        priority = form.priority(job.priority) if form is not None else NORMAL
        own = self.cache
        try:
            async with aclosing(step.answer(priority)) as events:
                async for event in events:
                    turn.worker = step.worker
                    if step.cache == "hit":
                        self.cache = "hit"
                    yield Begun() if isinstance(event, Started) else event
        except InferenceServiceError:
            self.cache = own
            raise
        turn.worker = step.worker

    async def _call(self, turn: Turn, provider: str, model: str) -> AsyncGenerator[Word]:
        job = self._job
        cloud = self._executor.desk.clouds.get(provider)
        if cloud is None:
            raise ProviderRefusedError(f"{provider}: no such provider is set up here", provider=provider)
        call = Call(model, turn.request, job.job_id, turn.seconds, job.hops)
        events = cloud.answer(call)
        try:
            async for event in events:
                yield event
        finally:
            if isinstance(events, AsyncGenerator):  # left early, it hangs up now and not at its collection
                await events.aclose()

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
        if cache is not None and not isinstance(reply, RerankReply):
            about["cache"] = cache
        if isinstance(reply, InferenceReply):
            told = msgspec.structs.replace(reply, seed=self._job.seed, **about)
            if self.conversation is not None:
                told = msgspec.structs.replace(told, session=self.conversation.use)
                self.conversation.answered(self._job.job_id, told)
            return Answer(
                codec.encode(told), reply.tokens_in, reply.tokens_out, reply.text, reply.finish_reason,
                target=target, cost_usd=cost_usd, cache=told.cache,
                saved=reply.tokens_in + reply.tokens_out if is_free else 0,
            )  # fmt: skip
        tokens_in = reply.usage.prompt_tokens
        return Answer(
            codec.encode(msgspec.structs.replace(reply, **about)), tokens_in,
            target=target, cost_usd=cost_usd, cache=cache, saved=tokens_in if is_free else 0,
        )  # fmt: skip

    def too_large(self, size: int, limit: int) -> PayloadTooLargeError:
        return PayloadTooLargeError(
            f"The answer has {size} bytes; at most {limit} fit through this server. Ask for less at a time",
            size=size,
            limit=limit,
        )


def _check_hops(job: Job) -> None:
    """Raise RouteLoopError for one that was taken from a queue whose own workers would have passed it to nobody."""
    if job.hops > HOPS_LIMIT:
        raise route_loop(job.hops - 1)


def _alone(request: Request) -> Request:
    """The request as targets read it: what was said before is part of it, so that they look up no session. That it
    belongs to one keeps its answer from their caches.
    """
    if isinstance(request, InferenceRequest) and request.session_id is not None:
        cache = msgspec.structs.replace(request.cache or CacheWish(), user_specific=True)
        return msgspec.structs.replace(request, session_id=None, cache=cache)
    return request


async def _form(forms: Forms, model: str) -> Form | None:
    """How the model's queue is made; None where there is none, or that cannot be said."""
    try:
        return await forms.find(subjects.model_token(model))
    except JetStreamError:
        return None
