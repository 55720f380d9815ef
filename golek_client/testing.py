"""How is a program that uses Golek tested without a server?

    async def test_my_program():
        async with FakeFleet({"qwen3-4b": "Hello there"}) as fleet:
            reply = await fleet.client().ask("qwen3-4b", "hi")
            assert reply.text == "Hello there"
            assert fleet.requests[0].request.input == "hi"

        async with FakeFleet(embeds={"minilm": 384}) as fleet:
            reply = await fleet.client().embed("minilm", "hi")
            assert len(reply.vectors[0]) == 384

The fleet speaks the same messages as real workers, in memory: `accepted`, chunks, the reply, typed errors. Clients are
real `Golek` objects; only their connection is replaced.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

from msgspec import Struct

from golek_client import fake_answers
from golek_client.client import Golek
from golek_client.fake_answers import Answer
from golek_client.fake_bus import MAX_PAYLOAD, Bodies, Bus, Connection, FakeMessage
from golek_client.fake_grammars import FakeGrammars
from golek_client.fake_sessions import FakeSessions
from golek_wire import codec, headers, objects, parts, subjects
from golek_wire.errors import (
    STATUS,
    BadRequestError,
    DeadlineExceededError,
    IdempotencyMismatchError,
    InferenceServiceError,
    InternalError,
    JobCancelledError,
    RetriableError,
    to_reply,
)
from golek_wire.orchestration import Orchestration
from golek_wire.replies import Accepted, Chunk, InferenceReply, Queued, Receipt
from golek_wire.requests import EmbeddingRequest, InferenceRequest, Request, RerankRequest, VisionRequest
from golek_wire.signals import Health, ModelInfo, ModelRecord

__all__ = [
    "MAX_PAYLOAD",
    "Answer",
    "Asked",
    "AskedToEmbed",
    "AskedToLook",
    "AskedToRank",
    "FakeFleet",
    "FakeMessage",
    "Place",
]

Place = tuple[int, float | None]
"""A place in the queue and the seconds it may take, None when that is not known."""
_RESULT_OF = f"DIRECT.GET.{subjects.RESULTS_STREAM}.$KV.{subjects.RESULTS_BUCKET}."
_KEY = headers.IDEMPOTENCY_KEY
_WORDS = re.compile(r"\S*\s*")
_DECODE: dict[str, Callable[[bytes], Request]] = {
    "inference": codec.decode_request,
    "embedding": codec.decode_embedding,
    "rerank": codec.decode_rerank,
    "vision": codec.decode_vision,
}
_Work = Callable[[str, str, FakeMessage], Awaitable[None]]


class Asked(Struct, frozen=True):
    """A request for a text that reached the fleet."""

    model: str
    request: InferenceRequest
    job_id: str


class AskedToEmbed(Struct, frozen=True):
    """A request for vectors that reached the fleet; a long list comes in several."""

    model: str
    request: EmbeddingRequest
    job_id: str


class AskedToRank(Struct, frozen=True):
    """A request for scores that reached the fleet."""

    model: str
    request: RerankRequest
    job_id: str


class AskedToLook(Struct, frozen=True):
    """A request for what images show that reached the fleet."""

    model: str
    request: VisionRequest
    job_id: str


class _Job(NamedTuple):
    """An answer that is being written."""

    task: asyncio.Task[None]
    message: FakeMessage


class FakeFleet:
    """Models that answer as told, on a bus in memory. Use as `async with`. Submitted jobs, idempotency keys and large
    bodies are served as by real workers.

    `answers` maps a model's name to what it says; it may be changed at any time. A name that is not there answers as in
    a real fleet: ModelNotFoundError with suggestions. Streams come in words.

    `embeds` maps the name of an embedding model to the length of its vectors, which are unit vectors made of the text
    alone: equal for equal texts, near to orthogonal for others.

    `ranks` names rerankers: a document's score is the share of the query's words that it has.

    `sees` maps the name of a classifier to its labels: a score is made of the label and the image's address or data
    alone, and those of all add up to 1.

    `queues` maps a model's name to the places, with their seconds, that each of its streams is told before its text:
    `{"qwen3-4b": [(2, None), (1, 0.5)]}`.

    `orchestrations` says of a name how several models came to its answer: replies have it, with its metadata, and
    streams that ask for `orchestration.progress` are told of its `steps`.

    What a request wishes of its text (tools, a grammar, a response format, an adapter, thoughts) is in `requests` and
    is not followed: a reply has the text that was given, `n` times where `n` are asked for. Orders (`load`, `unload`,
    `drain`, and those about adapters) find nobody: NoWorkersError. No machine could start anything.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer] = MappingProxyType({}),
        *,
        embeds: Mapping[str, int] = MappingProxyType({}),
        ranks: Collection[str] = (),
        sees: Mapping[str, Sequence[str]] = MappingProxyType({}),
        queues: Mapping[str, Sequence[Place]] = MappingProxyType({}),
        orchestrations: Mapping[str, Orchestration] = MappingProxyType({}),
    ) -> None:
        self.answers: dict[str, Answer] = dict(answers)
        self.embeds: dict[str, int] = dict(embeds)
        self.ranks: set[str] = set(ranks)
        self.sees: dict[str, Sequence[str]] = dict(sees)
        self.queues: dict[str, Sequence[Place]] = dict(queues)
        self.orchestrations: dict[str, Orchestration] = dict(orchestrations)
        self.requests: list[Asked] = []
        """Every request for a text, in order."""
        self.embedded: list[AskedToEmbed] = []
        """Every request for vectors, in order."""
        self.ranked: list[AskedToRank] = []
        """Every request for scores, in order."""
        self.looked: list[AskedToLook] = []
        """Every request for what images show, in order."""
        self.cancelled: list[str] = []
        """The id of every job that was cancelled while it ran."""
        self.grammars = FakeGrammars()
        """The named grammars."""
        self.sessions = FakeSessions()
        """The conversations that are kept, by `session_id`. A function that answers is given the whole of one."""
        self._bus = Bus(self._serve)
        self._clients: list[Golek] = []
        self._jobs: dict[str, _Job] = {}
        self._results: dict[str, FakeMessage] = {}
        self._receipts = 0
        self._bodies = Bodies()
        self._bodies_of_keys: dict[str, bytes] = {}
        self._joins: set[asyncio.Task[None]] = set()

    def client(self, *, deadline: float = 5.0) -> Golek:
        """A client of this fleet; the fleet closes it."""
        client = Golek("memory://fake-fleet", deadline=deadline, transport=Connection(self._bus))
        self._clients.append(client)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()
        tasks = [*self._joins, *(job.task for job in self._jobs.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, message: FakeMessage) -> bool:
        """Take a message that is not for an inbox; False when nobody listens on its subject."""
        match message.subject.split(".", 2):
            case [kind, "request", spelled] if kind in _DECODE and (name := self._name(spelled)) is not None:
                await self._request(kind, name, self._bodies.whole(message))
            case [kind, "submit", spelled] if kind in _DECODE and (name := self._name(spelled)) is not None:
                await self._submit(kind, name, self._bodies.whole(message))
            case ["$KV", subjects.RESULTS_BUCKET, key]:
                self._results[key] = message
                await self._bus.tell_watchers(message)
            case ["inference", "cancel", job_id]:
                await self._cancel(job_id)
            case ["$O", subjects.OBJECTS_BUCKET, _]:
                self._bodies.put(message)
                await self._tell(message, {"stream": objects.STREAM, "seq": 1}, {})
            case ["grammars" | "sessions" as family, verb]:
                await self._kept(self.grammars if family == "grammars" else self.sessions, verb, message)
            case ["models", *_] if message.subject.endswith(".health"):
                return await self._health(message)
            case ["$JS", "API", rest] if rest.startswith(_RESULT_OF):
                await self._result(message, rest.removeprefix(_RESULT_OF))
            case ["$JS", "API", rest] if rest.startswith("STREAM.MSG.GET.KV_" + subjects.MODELS_BUCKET):
                await self._registry(message)
            case _:
                return False
        return True

    def _name(self, spelled: str) -> str | None:
        """The model that `spelled` names, literally or by its token."""
        return next((name for name in self._names() if spelled in subjects.spellings(name)), None)

    def _names(self) -> list[str]:
        return sorted(self.answers.keys() | self.embeds.keys() | self.ranks | self.sees.keys())

    def _kind(self, name: str) -> subjects.Kind:
        if name in self.ranks:
            return "rerank"
        if name in self.sees:
            return "vision"
        return "embedding" if name in self.embeds else "inference"

    async def _request(self, kind: str, model: str, message: FakeMessage) -> None:
        """Run a request; one whose key came before joins its job."""
        job_id = _job_id(kind, model, message)
        running = self._jobs.get(job_id)
        if running is not None and running.message.reply == message.reply:  # a copy
            return
        try:
            is_known = self._is_known(job_id, message)
        except IdempotencyMismatchError as error:
            await self._refuse(message, error)
            return
        if is_known:
            self._join(job_id, message)
        else:
            self._start(kind, model, message, job_id)

    def _is_known(self, job_id: str, message: FakeMessage) -> bool:
        """Whether the key of `message` came before, and its answer stands. Raises IdempotencyMismatchError."""
        if _KEY not in (message.headers or {}):
            return False
        kept = self._answer_of(job_id)
        if _is_mendable(kept) if kept is not None else job_id not in self._jobs:
            self._results.pop(subjects.result("anonymous", job_id), None)
            self._jobs.pop(job_id, None)  # it has sent its answer, and may not have ended
            self._bodies_of_keys[job_id] = message.data
            return False
        if self._bodies_of_keys[job_id] != message.data:
            raise IdempotencyMismatchError(f"{_KEY}: the key came with another body before; give each request its own")
        return True

    def _answer_of(self, job_id: str) -> FakeMessage | None:
        """What is kept of a job."""
        return self._results.get(subjects.result("anonymous", job_id))

    def _join(self, job_id: str, message: FakeMessage) -> None:
        """Send what the job of the same key answers."""

        async def join() -> None:
            req_id, stream = codec.label_of(message.data)
            await self._accept(message, req_id, job_id)
            if (job := self._jobs.get(job_id)) is not None:
                await asyncio.wait([job.task])
            kept = self._answer_of(job_id)
            if kept is not None:
                await self._send(message, kept.data, kept.headers or {}, stream)

        task = asyncio.create_task(join())
        self._joins.add(task)
        task.add_done_callback(self._joins.discard)

    async def _submit(self, kind: str, model: str, message: FakeMessage) -> None:
        """Send the receipt; the job answers into the results."""
        job_id = _job_id(kind, model, message)
        try:
            if kind != self._kind(model):
                await self._stray(model, job_id, message)
            request = _DECODE[kind](message.data)
            is_known = self._is_known(job_id, message)
        except InferenceServiceError as error:
            await self._refuse(message, error)
            return
        is_answered = is_known and self._answer_of(job_id) is not None
        self._receipts += not is_known
        seq, place = (0, 0) if is_answered else (self._receipts, 1)
        receipt = Receipt(request.req_id, job_id, seq, place)
        await self._bus.publish(FakeMessage(message.reply, codec.encode(receipt)))
        if is_known:
            return
        kept = FakeMessage(message.subject, message.data, subjects.stored_result(receipt.principal, job_id))
        self._start(kind, model, kept, job_id)

    async def _result(self, message: FakeMessage, key: str) -> None:
        """A direct get of one result."""
        kept = self._results.get(key)
        missing = FakeMessage(message.reply, headers={headers.NATS_STATUS: "404"})
        found = FakeMessage(message.reply, kept.data, headers=kept.headers) if kept is not None else missing
        await self._bus.publish(found)

    def _start(self, kind: str, model: str, message: FakeMessage, job_id: str) -> None:
        if job_id in self._jobs:
            return
        runs: dict[str, _Work] = {
            "inference": self._write, "embedding": self._embed, "rerank": self._rank, "vision": self._look,
        }  # fmt: skip
        run = runs[kind] if kind == self._kind(model) else self._stray
        task = asyncio.create_task(self._run(run, model, job_id, message))
        job = self._jobs[job_id] = _Job(task, message)

        def ended(_: asyncio.Task[None]) -> None:
            if self._jobs.get(job_id) is job:
                del self._jobs[job_id]

        task.add_done_callback(ended)

    async def _cancel(self, job_id: str) -> None:
        job = self._jobs.pop(job_id, None)
        if job is not None:
            self.cancelled.append(job_id)
            job.task.cancel()
            await self._refuse(job.message, JobCancelledError(), job_id)

    async def _run(self, run: _Work, model: str, job_id: str, message: FakeMessage) -> None:
        """One job: accepted, then what `run` answers, or an error."""
        try:
            await run(model, job_id, message)
        except InferenceServiceError as error:
            await self._refuse(message, error, job_id)
        except Exception as error:  # noqa: BLE001 - raised by the test's own function, and the caller waits
            await self._refuse(message, InternalError(f"the answer of {model} raised {error!r}"), job_id)

    async def _write(self, model: str, job_id: str, message: FakeMessage) -> None:
        """Answer with a text; for a stream in chunks, and with the end mark."""
        request = codec.decode_request(message.data)
        self.requests.append(Asked(model, request, job_id))
        await self._accept(message, request.req_id, job_id)
        if request.stream:
            await self._wait(model, message, request.req_id)
            await self._steps(model, message, request)
        asked = self.sessions.recalled(request)
        text = await fake_answers.text(self.answers[model], asked)
        rest = fake_answers.behind(text, request.resume)
        if request.stream:
            await self._chunks(message, request.req_id, rest)
        reply = self.sessions.added(request, job_id, self._reply(model, asked, text))
        await self._end(message, job_id, reply, {}, request.stream)

    async def _embed(self, model: str, job_id: str, message: FakeMessage) -> None:
        """Answer with vectors."""
        request = codec.decode_embedding(message.data)
        self.embedded.append(AskedToEmbed(model, request, job_id))
        await self._accept(message, request.req_id, job_id)
        await self._end(message, job_id, fake_answers.vectors(model, request, self.embeds[model]), {}, stream=False)

    async def _rank(self, model: str, job_id: str, message: FakeMessage) -> None:
        """Answer with scores."""
        request = codec.decode_rerank(message.data)
        self.ranked.append(AskedToRank(model, request, job_id))
        await self._accept(message, request.req_id, job_id)
        await self._end(message, job_id, fake_answers.scores(model, request), {}, stream=False)

    async def _look(self, model: str, job_id: str, message: FakeMessage) -> None:
        """Answer with labels."""
        request = codec.decode_vision(message.data)
        self.looked.append(AskedToLook(model, request, job_id))
        await self._accept(message, request.req_id, job_id)
        await self._end(message, job_id, fake_answers.labels(model, request, self.sees[model]), {}, stream=False)

    async def _stray(self, model: str, _: str, __: FakeMessage) -> None:
        """Refuse what this model does not do."""
        raise BadRequestError(f"{model}: ask it on {subjects.request(model, self._kind(model))}", param="model")

    async def _accept(self, message: FakeMessage, req_id: str, job_id: str) -> None:
        if not subjects.is_reply_inbox(message.reply):  # submitted: there was a receipt
            return
        about = {headers.STATUS: "accepted", headers.JOB: job_id}
        count = len(self.requests) + len(self.embedded) + len(self.ranked) + len(self.looked)
        await self._tell(message, Accepted(req_id, job_id, count), about)

    async def _wait(self, model: str, message: FakeMessage, req_id: str) -> None:
        """Tell a stream its places in the queue."""
        for position, eta_s in self.queues.get(model, ()):
            about = {headers.STATUS: "queued"}
            await self._tell(message, Queued(req_id, status="queued", position=position, eta_s=eta_s), about)
            await asyncio.sleep(0)

    async def _steps(self, model: str, message: FakeMessage, request: InferenceRequest) -> None:
        """Tell a stream of its steps, where several models answer."""
        how = self.orchestrations.get(model)
        for step in fake_answers.steps(request, how) if how is not None else ():
            await self._tell(message, step, {headers.STATUS: "step"})
            await asyncio.sleep(0)

    def _reply(self, model: str, request: InferenceRequest, text: str) -> InferenceReply:
        reply, how = fake_answers.reply(model, request, text), self.orchestrations.get(model)
        return fake_answers.together(reply, how) if how is not None else reply

    async def _chunks(self, message: FakeMessage, req_id: str, text: str) -> None:
        words = [word for word in _WORDS.findall(text) if word]
        for seq, word in enumerate(words):
            await self._tell(message, Chunk(req_id, word, seq), {headers.ATTEMPT: "1"})
            # Let the reader see one word at a time, as it would over a network.
            await asyncio.sleep(0)

    async def _refuse(self, message: FakeMessage, error: InferenceServiceError, job_id: str | None = None) -> None:
        req_id, stream = codec.label_of(message.data)
        stream = stream and message.subject.startswith(subjects.request(""))
        text = f"{error.code}: {' '.join(error.message.split())}"
        about = {headers.ERROR_CODE: str(STATUS[error.code].nats), headers.ERROR: text}
        await self._end(message, job_id, to_reply(error, req_id), about, stream)

    async def _end(
        self, message: FakeMessage, job_id: str | None, body: object, about: dict[str, str], stream: bool
    ) -> None:
        """The final message of a job, which is kept where it has a key; without `job_id` that of what is no job."""
        data = codec.encode(body)
        if job_id is not None and _KEY in (message.headers or {}):
            await self._bus.publish(FakeMessage(subjects.stored_result("anonymous", job_id), data, "", about or None))
        await self._send(message, data, about, stream)

    async def _send(self, message: FakeMessage, data: bytes, about: dict[str, str], stream: bool) -> None:
        """The final message, to an inbox in parts where it is large; a stream's is marked and followed by the end."""
        about = about | {headers.FINAL: "1"} if stream else about
        is_inbox = subjects.is_reply_inbox(message.reply)
        pieces = parts.cut(data, MAX_PAYLOAD - headers.REQUEST_RESERVE) if is_inbox else [data]
        for number, piece in enumerate(pieces, start=1):
            mark = {headers.PART: parts.label(number, len(pieces))} if len(pieces) > 1 else {}
            await self._bus.publish(FakeMessage(message.reply, piece, headers=about | mark or None))
        if stream:
            await self._bus.publish(FakeMessage(message.reply))

    async def _health(self, message: FakeMessage) -> bool:
        name = self._name(message.subject.removeprefix("models.").removesuffix(".health"))
        if name is None:
            return False
        kind = self._kind(name)
        size = self.embeds.get(name, 0)
        does = {
            "inference": "text-generation", "embedding": "embeddings", "rerank": "rerank",
            "vision": "image-classification",
        }[kind]  # fmt: skip
        info = ModelInfo(embedding_size=size)
        health = Health(name, "online", _now(), [does], "", subjects.request(name, kind), "fake", info)
        await self._tell(message, health, {})
        return True

    async def _kept(self, kept: FakeGrammars | FakeSessions, verb: str, message: FakeMessage) -> None:
        """Named grammars and conversations, as a worker answers for them."""
        try:
            said = kept.answer(verb, message.data)
        except InferenceServiceError as error:
            await self._refuse(message, error)
        else:
            await self._tell(message, said, {})

    async def _registry(self, message: FakeMessage) -> None:
        """The bucket of models, as JetStream would read it: sequence n is the n-th model."""
        query = codec.decode(message.data, dict[str, Any])
        for seq, name in enumerate(self._names(), start=1):
            key = f"$KV.{subjects.MODELS_BUCKET}.{subjects.model_token(name)}"
            if query.get("last_by_subj") == key or query.get("seq") == seq:
                record = ModelRecord(name, [self._kind(name)], "online", "fake", _now())
                stored = {"subject": key, "seq": seq, "data": codec.encode(record)}
                await self._tell(message, {"message": stored}, {})
                return
        await self._tell(message, {"error": {"code": 404, "err_code": 10037, "description": "no message found"}}, {})

    async def _tell(self, message: FakeMessage, body: object, about: dict[str, str]) -> None:
        await self._bus.publish(FakeMessage(message.reply, codec.encode(body), headers=about or None))


def _job_id(kind: str, model: str, message: FakeMessage) -> str:
    """The id of the job that `message` asks for: that of its key, where it has one."""
    key = (message.headers or {}).get(_KEY)
    return subjects.job_id(message.reply if key is None else subjects.message_id("anonymous", kind, model, key))


def _is_mendable(kept: FakeMessage) -> bool:
    """Whether a repeat runs again: what was kept is a passing error."""
    try:
        codec.decode_final(kept.data, dict[str, Any])
    except InferenceServiceError as error:
        return isinstance(error, RetriableError | DeadlineExceededError | JobCancelledError)
    return False


def _now() -> str:
    return datetime.now(UTC).isoformat()
