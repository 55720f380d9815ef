"""How does a program ask a Golek fleet?

async with Golek() as golek:
    reply = await golek.ask("qwen3-4b", "Why is the sky blue?", max_tokens=200)
    print(reply.text)
"""

import asyncio
import copy
import logging
import os
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from golek_client import discovery, letters, micro, ranking, results, seeing, stored
from golek_client.embedding import EmbedOptions
from golek_client.exchange import Exchange
from golek_client.grammars import GrammarStore
from golek_client.line import Line
from golek_client.login import API_KEY, Login, said
from golek_client.micro import WorkerInfo
from golek_client.opening import Lent, Opening, check_seconds
from golek_client.operating import Operating
from golek_client.options import Messages, Options, with_progress
from golek_client.passing import Passing
from golek_client.ranking import RerankOptions
from golek_client.reopening import Reopened
from golek_client.routes import Routes
from golek_client.seeing import ClassifyOptions, Source
from golek_client.sessions import Conversations
from golek_client.stream import OnQueued, OnStep, Stream
from golek_client.submitting import SUBMIT_DEADLINE_S, SubmitOptions, checked_key, submission
from golek_client.target import Target
from golek_client.timed import Timed
from golek_client.tracing import Tracer
from golek_client.transport import DEFAULT_URL, Transport
from golek_wire import headers, subjects
from golek_wire.errors import BadRequestError
from golek_wire.replies import EmbeddingReply, InferenceReply, Receipt, Reply, RerankReply
from golek_wire.signals import DeadLetter, Health, ModelRecord
from golek_wire.subjects import Kind
from golek_wire.vision import VisionReply

if TYPE_CHECKING:
    from golek_client.queueing import ModelQueue

log = logging.getLogger("golek.client")

DEFAULT_DEADLINE_S = 120.0


class Golek(Timed, Passing, Operating, GrammarStore, Conversations, Routes):
    """A client of one fleet. Share one: calls run side by side over a single connection and subscription.

    `async with Golek() as golek:` connects at once and hangs up at the end. Without it the first call connects, and
    `close` hangs up. Not for use from several event loops: RuntimeError tells of a second one.

    Every call raises a subclass of `InferenceServiceError`: RetriableError when the same call may succeed later (its
    `retry_after_ms` says when), NonRetriableError when it will not.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        deadline: float = DEFAULT_DEADLINE_S,
        replay: bool = True,
        login: Login | None = None,
        key: str | None = None,
        transport: Transport | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`url` is the NATS server: the variable NATS_URL without it, else nats://127.0.0.1:4222.

        `deadline` is how many seconds a call waits for its answer, where it does not say itself. `replay=False` is for
        fleets whose texts differ from run to run (some GPUs): a stream that lost its worker then does not wait for the
        same text to be written again, it has a new job go on behind what was handed out. `transport` replaces the
        connection; see `golek_client.testing`.

        `login` is as whom to connect: what the variables NATS_USER, NATS_CREDS and their kin say without it. `key` is
        the caller's key, in a fleet that wants one: the variable GOLEK_API_KEY without it.

        `tracer` makes a span of each request; see `golek_client.otel`, and `golek_client.tracing.within` for requests
        that belong to a trace without one.
        """
        key = (said(API_KEY) or "") if key is None else key
        self.url = url or os.environ.get("NATS_URL") or DEFAULT_URL
        self.deadline = deadline
        self.replay = replay
        self._opening = Opening(self.url, login, _authorization(key), transport, tracer)

    def on_behalf(self, key: str) -> Self:
        """This client, asking for a caller with another key, over the same connection; with none where `key` is empty.

        For programs that pass on what others ask. Closing it closes nothing. Raises BadRequestError as this class does.
        """
        client = copy.copy(self)
        client._opening = Lent(self._opening, _authorization(key))
        return client

    async def ask(
        self,
        model: str,
        input: str,  # noqa: A002 - the field's name on the wire
        *,
        deadline: float | None = None,
        subject: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[Options],
    ) -> InferenceReply:
        """The whole answer to one prompt.

        `deadline` in seconds; `subject` for a worker that has one of its own (its setting SUBJECT). With an
        `idempotency_key`, 1 to 256 printable ASCII characters, a repeat of the same call within a day gets the first
        one's answer, also from another process and while the first still runs; such a call is not cancelled when its
        caller stops waiting, and IdempotencyMismatchError tells of another question under the key. The other keywords
        are those of `Options`: max_tokens, temperature, top_p, top_k, min_p, stop, seed, grammar, raw, tools, req_id,
        priority, reply_to, session_id, metadata, the penalties, and resume, to go on where an answer was cut off.

            reply = await golek.ask("qwen3-4b", "Name a colour.", temperature=0, max_tokens=5, deadline=10)

        A prompt of any size may be given, up to what the fleet takes (64 MiB, unless its workers say otherwise).

        Raises BadRequestError before sending for a wrong value, PayloadTooLargeError for a larger one,
        ModelNotFoundError at once for a name nobody ever served, NoWorkersError when its workers are gone,
        DeadlineExceededError when time is up (connecting counts), BusUnavailableError without a connection, and
        whatever the worker answers. A caller that stops waiting (its task is cancelled) cancels the job.
        """
        target = Target.of(model, "inference", subject)
        payload, seconds = self._request(deadline, options, prompt=input)
        return await self._reply(target, payload, seconds, checked_key(idempotency_key))

    def stream(
        self,
        model: str,
        input: str,  # noqa: A002 - the field's name on the wire
        *,
        deadline: float | None = None,
        subject: str | None = None,
        idempotency_key: str | None = None,
        on_queued: OnQueued | None = None,
        on_step: OnStep | None = None,
        **options: Unpack[Options],
    ) -> Stream:
        """The answer while it is written. Keywords and errors are those of `ask`.

        async for delta in golek.stream("qwen3-4b", "Tell me a story"):
            print(delta, end="", flush=True)

        `on_queued(position, eta_s)` is called while the stream waits behind others, at most once a second: with its
        place, 1 is next, and with the seconds it may take, None while that is not known. `on_step(step)` is called with
        a `StepEvent` when one of several models that answer together begins or ends a step; with
        `orchestration={"progress": "texts"}` it has the text, too.
        """
        target = Target.of(model, "inference", subject)
        asked = options if on_step is None else with_progress(options)
        payload, seconds = self._request(deadline, asked, prompt=input, stream=True)
        return self._stream(target, payload, seconds, on_queued, checked_key(idempotency_key), on_step)

    @overload
    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[False] = False,
        deadline: float | None = None,
        subject: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[Options],
    ) -> Coroutine[Any, Any, InferenceReply]: ...
    @overload
    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[True],
        deadline: float | None = None,
        subject: str | None = None,
        idempotency_key: str | None = None,
        on_queued: OnQueued | None = None,
        on_step: OnStep | None = None,
        **options: Unpack[Options],
    ) -> Stream: ...
    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: bool = False,
        deadline: float | None = None,
        subject: str | None = None,
        idempotency_key: str | None = None,
        on_queued: OnQueued | None = None,
        on_step: OnStep | None = None,
        **options: Unpack[Options],
    ) -> Coroutine[Any, Any, InferenceReply] | Stream:
        """The next turn of a conversation: of `Message`s, or of mappings as in OpenAI's chat API.

            reply = await golek.chat("qwen3-4b", [
                {"role": "system", "content": "Answer in one word."},
                {"role": "user", "content": "What is the capital of Peru?"},
            ])

        With `stream=True` the result is a `Stream` and is not awaited, and `on_queued` and `on_step` are those of
        `stream`. Other keywords and errors are those of `ask`.
        """
        target = Target.of(model, "inference", subject)
        asked = options if on_step is None else with_progress(options)
        payload, seconds = self._request(deadline, asked, messages=messages, stream=stream)
        if stream:
            return self._stream(target, payload, seconds, on_queued, checked_key(idempotency_key), on_step)
        return self._reply(target, payload, seconds, checked_key(idempotency_key))

    async def embed(
        self,
        model: str,
        input: str | Sequence[str],  # noqa: A002 - the field's name on the wire
        *,
        deadline: float | None = None,
        subject: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[EmbedOptions],
    ) -> EmbeddingReply:
        """The vector of a text, or of each text in a list.

            reply = await golek.embed("nomic-embed-v1.5", ["search_query: rivers", "search_document: The Nile"])
            query, document = reply.vectors

        Vectors are unit vectors: their dot product is the cosine. A list of any length may be given: what does not fit
        into one message goes in several, one after the other, under the one deadline; usage and times are added.
        `deadline`, `subject` and `idempotency_key` as in `ask`; the other keywords are those of `EmbedOptions`:
        dimensions, encoding_format, req_id, priority, reply_to, metadata. Raises as `ask` does.
        """
        return await self.passed_texts(
            model,
            input,
            options,
            deadline=self._seconds(deadline),
            subject=subject,
            idempotency_key=idempotency_key,
        )

    async def rerank(
        self,
        model: str,
        query: str,
        documents: Sequence[str],
        *,
        deadline: float | None = None,
        subject: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[RerankOptions],
    ) -> RerankReply:
        """How well each of `documents` suits `query`, the best one first.

            reply = await golek.rerank("bge-reranker-v2-m3", "rivers of Africa", ["The Nile is long", "Snow is white"])
            best = reply.results[0].index

        A result has `index`, the document's place in the list, and `relevance_score`, the higher the better.
        `deadline`, `subject` and `idempotency_key` as in `ask`; the other keywords are those of `RerankOptions`: top_n,
        return_documents, req_id, priority, reply_to, metadata. Raises as `ask` does.
        """
        target = Target.of(model, "rerank", subject)
        seconds = self._seconds(deadline)
        payload = ranking.build(query, documents, options, seconds)
        until = asyncio.get_running_loop().time() + seconds
        line = await self._opening.by(until, seconds)
        key = checked_key(idempotency_key)
        async with Exchange(line, target, RerankReply, payload, until, seconds, key) as exchange:
            return await exchange.reply()

    async def classify(
        self,
        model: str,
        images: Source | Sequence[Source],
        *,
        deadline: float | None = None,
        subject: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> VisionReply:
        """What an image shows, or each of several.

            reply = await golek.classify("smolvlm-500m", Path("cat.png"), labels=["cat", "dog"])
            best = reply.results[0].label

        An image is its bytes, a Path, or where it is: https://… of a server that the deployment allows, or
        nats-object://<bucket>/<name>. A result has `label` and `score` of the best label, and `scores` of all, from 0
        to 1. `deadline`, `subject` and `idempotency_key` as in `ask`; the other keywords are those of
        `ClassifyOptions`: labels, prompt, top_k, req_id, priority, reply_to, metadata. Raises as `ask` does, and
        OSError for a file that cannot be read.
        """
        target = Target.of(model, "vision", subject)
        seconds = self._seconds(deadline)
        payload = seeing.build(images, options, seconds)
        until = asyncio.get_running_loop().time() + seconds
        line = await self._opening.by(until, seconds)
        key = checked_key(idempotency_key)
        async with Exchange(line, target, VisionReply, payload, until, seconds, key) as exchange:
            return await exchange.reply()

    async def submit(
        self,
        model: str,
        input: str | Sequence[str] | None = None,  # noqa: A002 - the field's name on the wire
        *,
        messages: Messages | None = None,
        kind: Kind = "inference",
        deadline: float = SUBMIT_DEADLINE_S,
        subject: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Receipt:
        """Leave a job and do not wait for its answer, which is kept for a day and outlives every process.

            receipt = await golek.submit("qwen3-4b", "Write a long story", reply_to="my.answers")
            reply = await golek.wait(receipt)

        The receipt comes as soon as the job is stored: `job_id`, `position` in the queue (1 is next), `seq`,
        `principal`. `input` or `messages`, as in `ask` and `chat`; with `kind="embedding"` a text or a list of texts
        that fits into one request, with `kind="rerank"` a query and `documents`. `deadline` is the job's own, in
        seconds from when it is stored, at most a day. The answer is also published to `reply_to`. Other keywords are
        those of `ask`, `embed` and `rerank`. Raises as `ask` does, within this client's deadline.
        """
        target = Target.of(model, kind, subject)
        check_seconds("deadline", deadline)
        key = checked_key(idempotency_key)
        payload = submission(kind, input, messages, options, deadline)
        until = asyncio.get_running_loop().time() + self.deadline
        line = await self._opening.by(until, self.deadline)
        async with Exchange(line, target, Receipt, payload, until, self.deadline, key) as exchange:
            return await exchange.reply()

    async def result(self, job: Receipt | str, *, principal: str | None = None) -> Reply | None:
        """The answer of a submitted job, by its receipt or job id; None while there is none, and a day later.

        Where the fleet asks for identities, a job id alone needs the `principal` of its receipt. Raises the error that
        the job ended in, BadRequestError for what is no job id, ForbiddenError where this login may not read that
        principal's answers and the server says so, BusUnavailableError when JetStream does not answer.
        """
        key = results.key_of(job, principal)
        found = await results.read(await self._line(), *key)
        return results.reply_in(found) if found is not None else None

    async def wait(self, job: Receipt | str, timeout: float | None = None, *, principal: str | None = None) -> Reply:
        """The answer of a submitted job, once it is there, however often the connection breaks meanwhile.

        `timeout` in seconds; this client's deadline without it. Raises as `result` does, and DeadlineExceededError when
        time is up: the job goes on, and may be waited for again.
        """
        seconds = self.deadline if timeout is None else timeout
        check_seconds("timeout", seconds)
        key = results.key_of(job, principal)
        until = asyncio.get_running_loop().time() + seconds
        line = await self._opening.by(until, seconds)
        return results.reply_in(await results.wait(line, *key, until, seconds))

    def reopen(self, job_id: str, *, principal: str | None = None, wait_s: float | None = None) -> Reopened:
        """A stream that was asked for with `resumable=True`, read again from its beginning, here or anywhere.

            async with golek.reopen(job_id) as stream:
                async for delta in stream:
                    print(delta, end="")

        Its pieces are those that the first reader was given. It is kept for some minutes. Where the fleet asks for
        identities, `principal` is that of its request (`Stream.principal`). `wait_s` is how many seconds the text may
        take to end; without it, as long as its job has.

        Raises BadRequestError for what is no job id; on entering it, or with the first piece, NotFoundError: no such
        stream is kept, from its beginning and for this caller; later DeadlineExceededError, StreamInterruptedError when
        the broker lost it, and the error that the job ended in.
        """
        who, job_id = results.key_of(job_id, principal)
        if wait_s is not None:
            check_seconds("wait_s", wait_s)
        return Reopened(self._line, job_id, who, wait_s)

    async def cancel(self, job_id: str) -> None:
        """Stop a job, by the `job_id` of its stream; its caller gets JobCancelledError. An unknown id is ignored."""
        line = await self._line()
        await line.send(subjects.cancel(job_id), b"")

    async def health(self, model: str, timeout: float = 2.0) -> Health:
        """How one replica of `model` is; which one is left to the bus.

        Raises ModelNotFoundError and NoWorkersError as `ask` does, and DeadlineExceededError after `timeout` seconds.
        """
        Target.of(model, "inference")
        check_seconds("timeout", timeout)
        until = asyncio.get_running_loop().time() + timeout
        line = await self._opening.by(until, timeout)
        return await discovery.health(line, model, until, timeout)

    async def info(self, worker: str, timeout: float = 2.0) -> WorkerInfo:
        """What one worker tells of itself, by its worker id or its incarnation: model, engine, device, and the settings
        that differ from their defaults, without secrets.

        Raises NotFoundError where no such worker answers within `timeout` seconds.
        """
        check_seconds("timeout", timeout)
        until = asyncio.get_running_loop().time() + timeout
        return await micro.info(await self._opening.by(until, timeout), worker, until)

    async def models(self) -> list[ModelRecord]:
        """Every model the fleet knows, by name; `state` and `last_seen` tell whether it is served now.

        Raises BusUnavailableError when JetStream does not answer; an election of its servers is waited out for 10 s, at
        most for the deadline.
        """
        return await discovery.records(await self._line(), min(self.deadline, stored.ELECTION_S))

    async def dead_letters(self, model: str | None = None, *, newest: int | None = None) -> list[DeadLetter]:
        """The jobs that crashed their engine each time they ran, oldest first: of `model`, or of all; all of them, or
        the `newest`, so many at most.

        A job that was buried twice comes once, as it was last; what cannot be read is left out with a warning in the
        log. Raises BusUnavailableError when JetStream does not answer.
        """
        return await letters.read(await self._line(), model, newest)

    async def queue(self, model: str, limit: int = 100) -> "ModelQueue":
        """Who waits for `model` and who runs, at most `limit` jobs of it, up to 100; never what they ask.

        Raises BadRequestError for a name or limit that is none, BusUnavailableError when JetStream does not answer.
        """
        from golek_client import queueing  # few programs ask this, and all would pay for it

        Target.of(model, "inference")
        return await queueing.read(await self._line(), model, limit)

    async def retry(self, job_id: str, *, deadline: float | None = None, keep: bool = False) -> Reply:
        """Ask a dead letter's request once more, with the same seed, as a fresh job; its answer.

        The letter is dropped once the job is answered, unless `keep`. Raises NotFoundError when there is no such
        letter, BadRequestError when it has no request, and as `ask` does; then the letter stays.
        """
        seconds = self._seconds(deadline)
        until = asyncio.get_running_loop().time() + seconds
        return await letters.retry(await self._opening.by(until, seconds), job_id, until, seconds, keep=keep)

    async def drop(self, job_id: str) -> int:
        """Delete the dead letter of one job; how many copies there were. Raises BusUnavailableError."""
        return await letters.drop(await self._line(), job_id)

    async def close(self) -> None:
        """Cancel what still runs, then hang up. Those who wait get BusUnavailableError; a later call connects again."""
        await self._opening.close()

    async def __aenter__(self) -> Self:
        """Connect. Raises BadRequestError for a URL that is none, BusUnavailableError with URL and cause when nobody
        answers.
        """
        await self._line()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _reply(self, target: Target, payload: bytes, deadline: float, key: str | None) -> InferenceReply:
        until = asyncio.get_running_loop().time() + deadline
        async with await self._exchange(target, payload, until, deadline, key) as exchange:
            return await exchange.reply()

    async def _line(self) -> Line:
        return await self._opening.line()


def _authorization(key: str) -> dict[str, str]:
    """The header with a caller's key. Raises BadRequestError for what cannot stand there."""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise BadRequestError("key: printable ASCII without blanks, in GOLEK_API_KEY as well", param="key")
    return {headers.AUTHORIZATION: f"Bearer {key}"} if key else {}
