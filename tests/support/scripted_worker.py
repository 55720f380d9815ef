"""A scripted worker: it takes requests as a real one does and answers step by step as a test says.

Not a worker, and no model: for the client's side of the protocol, above all what a healthy fleet seldom does.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from golek_client.connection import flush
from golek_wire import codec, headers, subjects
from golek_wire.errors import STATUS, InferenceServiceError, to_reply
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Accepted, Chunk, Delta, FinishReason, InferenceReply, Queued
from golek_wire.requests import InferenceRequest
from golek_wire.signals import ModelRecord, WorkerStatus

PATIENCE_S = 5.0


class Job:
    """One copy of a request, and the ways to answer it."""

    def __init__(self, client: Client, message: Msg) -> None:
        self._client = client
        self.payload = message.data
        self.inbox = message.reply
        self.headers = message.headers or {}
        self.request: InferenceRequest = codec.decode_request(message.data)
        self.job_id = subjects.job_id(message.reply)

    async def accept(self) -> None:
        about = {headers.STATUS: "accepted", headers.JOB: self.job_id}
        await self._tell(Accepted(self.request.req_id, self.job_id, 1), about)

    async def queued(self, position: int, eta_s: float | None) -> None:
        queued = Queued(self.request.req_id, status="queued", position=position, eta_s=eta_s)
        await self._tell(queued, {headers.STATUS: "queued"})

    async def step(self, step: StepEvent) -> None:
        await self._tell(step, {headers.STATUS: "step"})

    async def chunk(self, attempt: int, seq: int, delta: str | Delta) -> None:
        piece = Delta(delta) if isinstance(delta, str) else delta
        chunk = Chunk(
            self.request.req_id, piece.text, seq, piece.reasoning_content, piece.tool_calls, piece.logprobs, piece.index
        )
        await self._tell(chunk, {headers.ATTEMPT: str(attempt)})

    async def final(self, text: str, *, end: bool = True, reason: FinishReason = "stop", **more: Any) -> None:
        """The reply, with `more` of its fields; for a stream with its header and, with `end`, the empty message."""
        reply = InferenceReply(self.request.req_id, text, 1, 1, reason, 1, 1, "tiny", 7, **more)
        await self._tell(reply, {headers.FINAL: "1"} if self.request.stream else {})
        if self.request.stream and end:
            await self._client.publish(self.inbox, b"")

    async def fail(self, error: InferenceServiceError) -> None:
        """The one error message; for a stream with its header and the empty message after it."""
        about = {headers.ERROR_CODE: str(STATUS[error.code].nats), headers.ERROR: f"{error.code}: {error.message}"}
        if self.request.stream:
            about[headers.FINAL] = "1"
        await self._tell(to_reply(error, self.request.req_id), about)
        if self.request.stream:
            await self._client.publish(self.inbox, b"")

    async def say(self, body: bytes, about: dict[str, str] | None = None) -> None:
        """Any message at all."""
        await self._client.publish(self.inbox, body, headers=about)

    async def _tell(self, body: object, about: dict[str, str]) -> None:
        await self._client.publish(self.inbox, codec.encode(body), headers=about or None)


class ScriptedWorker:
    """Takes the requests for `model`, and hears every cancel."""

    def __init__(self, client: Client, model: str) -> None:
        self.client = client
        self.model = model
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._cancels: asyncio.Queue[str] = asyncio.Queue()

    @classmethod
    async def start(cls, url: str, model: str = "tiny") -> "ScriptedWorker":
        # Fixed and short: tests restart the server.
        worker = cls(await nats.connect(url, reconnect_time_wait=0.05, max_reconnect_attempts=-1), model)
        await worker.client.subscribe(subjects.ALL_CANCELS, cb=worker._on_cancel)
        return worker

    async def listen(self) -> "ScriptedWorker":
        """Take requests from now on."""
        await self.client.subscribe(subjects.request(self.model), subjects.QUEUE_GROUP, cb=self._on_request)
        await flush(self.client)
        return self

    async def next(self, patience: float = PATIENCE_S) -> Job:
        """The next request that came, or comes. Raises TimeoutError."""
        return await asyncio.wait_for(self._jobs.get(), patience)

    async def next_cancel(self, patience: float = PATIENCE_S) -> str:
        """The job id of the next cancel. Raises TimeoutError."""
        return await asyncio.wait_for(self._cancels.get(), patience)

    async def register(
        self,
        last_seen: str,
        state: WorkerStatus = "online",
        name: str | None = None,
        kinds: Sequence[str] = ("inference",),
    ) -> None:
        """Write a model's record, as a worker does before it loads and with each heartbeat."""
        bucket = await self.client.jetstream().create_key_value(bucket=subjects.MODELS_BUCKET)
        record = ModelRecord(name or self.model, list(kinds), state, "scripted", last_seen)
        await bucket.put(subjects.model_token(record.name), codec.encode(record))

    async def close(self) -> None:
        await self.client.close()

    async def _on_request(self, message: Msg) -> None:
        self._jobs.put_nowait(Job(self.client, message))

    async def _on_cancel(self, message: Msg) -> None:
        self._cancels.put_nowait(message.subject.rpartition(".")[2])
