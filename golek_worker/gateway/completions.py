"""POST /v1/completions: OpenAI's former API with `prompt`, and a worker's own with `input`, as on the bus."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.stream import Stream
from golek_program.web.described import describe
from golek_program.web.leaving import watched
from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.openai import completions as form
from golek_wire.openai.chat import texts
from golek_wire.openai.completion import Shown
from golek_wire.openai.events import DONE, event
from golek_wire.replies import Delta, InferenceReply
from golek_worker.gateway import asking, body, streams
from golek_worker.gateway.asking import Call
from golek_worker.gateway.sse import Events, EventStream, Waiting
from golek_worker.gateway.streams import View

AHEAD = 64
"""Pieces of all prompts' streams that wait for a slow reader."""
Told = tuple[int, str | Delta | InferenceReply]
"""What came of a prompt, by its number."""


@describe(
    group="OpenAI",
    summary="Goes on with a text. With `input` instead of `prompt`, request and answer are those of the bus.",
    request=form.BODY,
    reply=form.TextCompletion,
    events=True,
    asks=True,
    example={"model": "golek-tiny", "prompt": "NATS is", "max_tokens": 20},
)
async def completions(request: Request) -> Response:
    """Answer in the form that the request has."""
    payload = await body.read(request)
    return await (_native if form.is_native(payload) else _former)(request, payload)


async def _former(request: Request, payload: bytes) -> Response:
    """Go on with each prompt."""
    asked = form.read(payload)
    call = await asking.call(request, asked.model, "inference", asked.deadline_ms)
    sent = form.to_wire(asked, call.deadline_ms)
    if asked.stream and streams.is_wanted(request, asked.resumable):
        if len(sent) > 1:
            raise BadRequestError("resumable: goes with one prompt; ask for each by itself", param="resumable")
        return streams.kept(request, sent[0], View("completions", _shown(call, asked)), call)
    payloads = [codec.encode(one) for one in sent]
    if asked.stream:
        waiting = Waiting()
        running = [
            call.stream(one, None if number else waiting, _part(number, payloads))
            for number, one in enumerate(payloads)
        ]
        return EventStream(_events(running, call, asked, waiting), waiting)
    with asking.in_words_of(form.NAMES):
        async with watched(request.scope):
            replies = await _all(call, payloads)
    return asking.json(form.completion([call.in_words(one) for one in replies], _shown(call, asked)))


async def _all(call: Call, payloads: Sequence[bytes]) -> list[InferenceReply]:
    """The answers to all requests, which run side by side; the first that fails ends the others."""
    running = [
        asyncio.create_task(call.reply(one, "inference", InferenceReply, _part(number, payloads)))
        for number, one in enumerate(payloads)
    ]
    try:
        return await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _part(number: int, payloads: Sequence[bytes]) -> str:
    return str(number) if len(payloads) > 1 else ""


def _shown(call: Call, asked: form.CompletionRequest) -> Shown:
    return Shown(
        f"cmpl-{call.visit.job_id}",
        call.created,
        asked.model or call.model,
        choices=texts(asked),
        include_usage=asked.wants_usage,
        echo=form.prompts(asked) if asked.echo else None,
    )


async def _events(streams: list[Stream], call: Call, asked: form.CompletionRequest, waiting: Waiting) -> Events:
    """The events of all prompts as they come. But for steps none comes before the first piece: until then an error is
    a status.
    """
    waiting.written = lambda step: form.TextEvents(_shown(call, asked)).step(step)
    events: form.TextEvents | None = None
    replies: dict[int, InferenceReply] = {}
    with asking.in_words_of(form.NAMES):
        async with aclosing(_merged(streams, call)) as told:
            async for prompt, what in told:
                opening = b""
                if events is None:
                    events = form.TextEvents(_shown(call, asked))
                    opening = b"".join(events.opening())
                if isinstance(what, InferenceReply):
                    replies[prompt] = call.in_words(what)
                    yield opening + b"".join(events.ended(replies[prompt], prompt))
                else:
                    yield opening + events.piece(what, prompt)
    if events is not None:
        yield b"".join(events.closing([replies[number] for number in range(len(streams))]))


async def _merged(streams: list[Stream], call: Call) -> AsyncGenerator[Told, None]:
    """What all streams bring, each one's pieces in order and its reply behind them."""
    arrived: asyncio.Queue[Told | Exception] = asyncio.Queue(AHEAD)

    async def pump(number: int, stream: Stream) -> None:
        try:
            async with aclosing(_read(stream, call)) as pieces:
                async for what in pieces:
                    await arrived.put((number, what))
        except Exception as error:  # noqa: BLE001 - raised again by who reads
            await arrived.put(error)

    pumps = [asyncio.create_task(pump(number, stream)) for number, stream in enumerate(streams)]
    left = len(streams)
    try:
        while left:
            told = await arrived.get()
            if isinstance(told, Exception):
                raise told
            left -= isinstance(told[1], InferenceReply)
            yield told
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _read(stream: Stream, call: Call) -> AsyncGenerator[str | Delta | InferenceReply, None]:
    """The pieces of one stream, then its reply."""
    async with stream:
        call.learnt(stream)
        begun = False
        async for piece in stream.pieces():
            if not begun:
                call.learnt(stream)
                begun = True
            yield piece
        call.learnt(stream)
        call.cost(stream.reply)
        yield stream.reply


async def _native(request: Request, payload: bytes) -> Response:
    """Answer as the bus does."""
    asked = codec.decode_request(payload)
    call = await asking.call(request, form.model_of(payload), "inference", asked.deadline_ms)
    limited = structs.replace(asked, deadline_ms=call.deadline_ms)
    if asked.stream and streams.is_wanted(request, asked.resumable or None):
        return streams.kept(request, limited, View("native", Shown("", 0, ""), asked.req_id), call)
    sent = codec.encode(limited)
    if asked.stream:
        waiting = Waiting(lambda step: event(codec.encode(step)))
        return EventStream(_native_events(call.stream(sent, waiting), call, asked.req_id), waiting)
    return asking.json(await call.only(sent, "inference", InferenceReply))


async def _native_events(stream: Stream, call: Call, req_id: str) -> Events:
    """The chunks of the bus, then the final message, then the end."""
    seq = 0
    async with aclosing(_read(stream, call)) as pieces:
        async for what in pieces:
            if isinstance(what, InferenceReply):
                yield event(codec.encode(what)) + DONE
            else:
                yield form.native_event(what, req_id, seq)
                seq += 1


ROUTES = [Route(path, completions, methods=["POST"]) for path in ("/v1/completions", "/completions")]
