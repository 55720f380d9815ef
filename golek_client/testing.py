"""How is a program that uses Golek tested without a server?

    async def test_my_program():
        async with FakeFleet({"qwen3-4b": "Hello there"}) as fleet:
            reply = await fleet.client().ask("qwen3-4b", "hi")
            assert reply.text == "Hello there"
            assert fleet.requests[0].request.input == "hi"

The fleet speaks the same messages as real workers, in memory: `accepted`, chunks, the reply, typed errors. Clients are
real `Golek` objects; only their connection is replaced.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

from msgspec import Struct

from golek_client.client import Golek
from golek_wire import codec, headers, subjects
from golek_wire.errors import STATUS, InferenceServiceError, InternalError, JobCancelledError, to_reply
from golek_wire.replies import Accepted, Chunk, InferenceReply
from golek_wire.requests import InferenceRequest
from golek_wire.signals import Health, ModelInfo, ModelRecord

Answer = str | InferenceServiceError | Callable[[InferenceRequest], "str | Awaitable[str]"]
"""What a model says: a text, an error to raise, or a function of the request that gives a text (or awaits one)."""

MAX_PAYLOAD = 1024 * 1024
_WORDS = re.compile(r"\S*\s*")
_Deliver = Callable[[Any], Awaitable[None]]


class Asked(Struct, frozen=True):
    """A request that reached the fleet."""

    model: str
    request: InferenceRequest
    job_id: str


class FakeMessage(Struct, frozen=True):
    """A message on the in-memory bus."""

    subject: str
    data: bytes = b""
    reply: str = ""
    headers: dict[str, str] | None = None


class _Job(NamedTuple):
    """An answer that is being written."""

    task: asyncio.Task[None]
    message: FakeMessage


class FakeFleet:
    """Models that answer as told, on a bus in memory. Use as `async with`.

    `answers` maps a model's name to what it says; it may be changed at any time. A name that is not there answers as in
    a real fleet: ModelNotFoundError with suggestions. Streams come in words.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers: dict[str, Answer] = dict(answers)
        self.requests: list[Asked] = []
        """Every request, in order."""
        self.cancelled: list[str] = []
        """The id of every job that was cancelled while it ran."""
        self._bus = _Bus(self._serve)
        self._clients: list[Golek] = []
        self._jobs: dict[str, _Job] = {}

    def client(self, *, deadline: float = 5.0) -> Golek:
        """A client of this fleet; the fleet closes it."""
        client = Golek("memory://fake-fleet", deadline=deadline, transport=_Connection(self._bus))
        self._clients.append(client)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, message: FakeMessage) -> bool:
        """Take a message that is not for an inbox; False when nobody listens on its subject."""
        match message.subject.split(".", 2):
            case ["inference", "request", model] if self._name(model) is not None:
                self._start(model, message)
            case ["inference", "cancel", job_id]:
                await self._cancel(job_id)
            case ["models", *_] if message.subject.endswith(".health"):
                return await self._health(message)
            case ["$JS", "API", rest] if rest.startswith("STREAM.MSG.GET.KV_" + subjects.MODELS_BUCKET):
                await self._registry(message)
            case _:
                return False
        return True

    def _name(self, spelled: str) -> str | None:
        """The model that `spelled` names, literally or by its token."""
        return next((name for name in self.answers if spelled in subjects.spellings(name)), None)

    def _start(self, model: str, message: FakeMessage) -> None:
        job_id = subjects.job_id(message.reply)
        if job_id in self._jobs:
            return
        task = asyncio.create_task(self._run(self._name(model) or model, job_id, message))
        self._jobs[job_id] = _Job(task, message)
        task.add_done_callback(lambda _: self._jobs.pop(job_id, None))

    async def _cancel(self, job_id: str) -> None:
        job = self._jobs.pop(job_id, None)
        if job is not None:
            self.cancelled.append(job_id)
            job.task.cancel()
            await self._refuse(job.message, JobCancelledError())

    async def _run(self, model: str, job_id: str, message: FakeMessage) -> None:
        """One job: accepted, the text or an error, and for a stream the end mark."""
        req_id, stream = codec.label_of(message.data)
        try:
            request = codec.decode_request(message.data)
            self.requests.append(Asked(model, request, job_id))
            about = {headers.STATUS: "accepted", headers.JOB: job_id}
            await self._tell(message, Accepted(req_id, job_id, len(self.requests)), about)
            text = await self._text(model, request)
            if stream:
                await self._chunks(message, req_id, text)
            await self._end(message, _reply(model, request, text), {}, stream)
        except InferenceServiceError as error:
            await self._refuse(message, error)
        except Exception as error:  # noqa: BLE001 - raised by the test's own function, and the caller waits
            await self._refuse(message, InternalError(f"the answer of {model} raised {error!r}"))

    async def _text(self, model: str, request: InferenceRequest) -> str:
        answer = self.answers[model]
        if isinstance(answer, InferenceServiceError):
            raise answer
        if isinstance(answer, str):
            return answer
        text = answer(request)
        return text if isinstance(text, str) else await text

    async def _chunks(self, message: FakeMessage, req_id: str, text: str) -> None:
        words = [word for word in _WORDS.findall(text) if word]
        for seq, word in enumerate(words):
            await self._tell(message, Chunk(req_id, word, seq), {headers.ATTEMPT: "1"})
            # Let the reader see one word at a time, as it would over a network.
            await asyncio.sleep(0)

    async def _refuse(self, message: FakeMessage, error: InferenceServiceError) -> None:
        req_id, stream = codec.label_of(message.data)
        text = f"{error.code}: {' '.join(error.message.split())}"
        about = {headers.ERROR_CODE: str(STATUS[error.code].nats), headers.ERROR: text}
        await self._end(message, to_reply(error, req_id), about, stream)

    async def _end(self, message: FakeMessage, body: object, about: dict[str, str], stream: bool) -> None:
        """The final message; that of a stream is marked as such and followed by the end mark."""
        await self._tell(message, body, about | {headers.FINAL: "1"} if stream else about)
        if stream:
            await self._bus.publish(FakeMessage(message.reply))

    async def _health(self, message: FakeMessage) -> bool:
        name = self._name(message.subject.removeprefix("models.").removesuffix(".health"))
        if name is None:
            return False
        health = Health(name, "online", _now(), ["inference"], "", subjects.request(name), "fake", ModelInfo())
        await self._tell(message, health, {})
        return True

    async def _registry(self, message: FakeMessage) -> None:
        """The bucket of models, as JetStream would read it: sequence n is the n-th model."""
        query = codec.decode(message.data, dict[str, Any])
        for seq, name in enumerate(sorted(self.answers), start=1):
            key = f"$KV.{subjects.MODELS_BUCKET}.{subjects.model_token(name)}"
            if query.get("last_by_subj") == key or query.get("seq") == seq:
                record = ModelRecord(name, ["inference"], "online", "fake", _now())
                stored = {"subject": key, "seq": seq, "data": codec.encode(record)}
                await self._tell(message, {"message": stored}, {})
                return
        await self._tell(message, {"error": {"code": 404, "err_code": 10037, "description": "no message found"}}, {})

    async def _tell(self, message: FakeMessage, body: object, about: dict[str, str]) -> None:
        await self._bus.publish(FakeMessage(message.reply, codec.encode(body), headers=about or None))


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _reply(model: str, request: InferenceRequest, text: str) -> InferenceReply:
    """The reply to `request`; a word counts as a token."""
    asked = request.input or " ".join(turn.content or "" for turn in request.messages or [])
    return InferenceReply(
        request.req_id,
        text,
        tokens_in=len(asked.split()),
        tokens_out=len(text.split()),
        finish_reason="stop",
        duration_ms=0,
        ms=0,
        model=model,
        seed=request.seed or request.params.seed or 0,
    )


class _Bus:
    """Inboxes by their prefix, and one server for everything else."""

    def __init__(self, serve: Callable[[FakeMessage], Awaitable[bool]]) -> None:
        self._serve = serve
        self._inboxes: dict[str, _Deliver] = {}

    def listen(self, wildcard: str, deliver: _Deliver) -> None:
        self._inboxes[wildcard.removesuffix("*")] = deliver

    def forget(self, wildcard: str) -> None:
        self._inboxes.pop(wildcard.removesuffix("*"), None)

    async def publish(self, message: FakeMessage) -> None:
        if message.subject.startswith("_INBOX."):
            deliver = self._inboxes.get(message.subject[: message.subject.rindex(".") + 1])
            if deliver is not None:
                await deliver(message)
        elif not await self._serve(message) and message.reply:
            await self.publish(FakeMessage(message.reply, headers={headers.NATS_STATUS: "503"}))


class _Connection:
    """A `Transport` to the bus in memory."""

    is_connected = True
    is_closed = False
    """Never for good: a client that was closed may call again."""
    max_payload = MAX_PAYLOAD

    def __init__(self, bus: _Bus) -> None:
        self._bus = bus
        self._subscriptions: list[str] = []

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        await self._bus.publish(FakeMessage(subject, payload, reply, headers))

    async def subscribe(self, subject: str, *, cb: _Deliver) -> object:
        self._subscriptions.append(subject)
        self._bus.listen(subject, cb)
        return subject

    async def close(self) -> None:
        for subject in self._subscriptions:
            self._bus.forget(subject)
