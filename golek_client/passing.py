"""How does a front door pass on a request that it has written already?

Whoever translates another protocol has the request's bytes, not keyword arguments, and wants to know more than the
answer: the job's id, which replica answers, what the caller's key may still spend.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from golek_client import large
from golek_client.embedding import EmbedOptions, Question
from golek_client.exchange import Exchange
from golek_client.fleet import FleetView, Presence
from golek_client.following import Following, Look, Take, nothing
from golek_client.kept import KeptExchange, is_resumable
from golek_client.line import Line
from golek_client.opening import Opening, check_seconds
from golek_client.presence import Bus, RollCall
from golek_client.reading import Reply
from golek_client.stream import OnQueued, OnStep, Stream
from golek_client.submitting import checked_key
from golek_client.target import Target
from golek_client.transport import Subscribed
from golek_client.watching import Watch
from golek_wire import headers
from golek_wire.replies import EmbeddingReply, InferenceReply
from golek_wire.subjects import Kind


class Heard:
    """A subject that is listened to. Made by `Passing.hear`."""

    def __init__(self, line: Line, subscribed: Subscribed) -> None:
        self.line = line
        self._subscribed = subscribed

    async def end(self) -> None:
        """Hear no more; that the connection is closed is no error here."""
        await self.line.unsubscribe(self._subscribed)


class Passing:
    """The part of a client that passes requests on."""

    _opening: Opening
    replay: bool

    async def kept(self, payload: bytes, seconds: float) -> str:
        """The name of the object that holds a body which no message carries; it is swept some time after twice these
        seconds. Raises as `large.store` does.
        """
        until = asyncio.get_running_loop().time() + seconds
        return await large.store(await self._opening.by(until, seconds), payload, until, seconds)

    async def passed(
        self,
        model: str,
        kind: Kind,
        payload: bytes,
        reply: type[Reply],
        *,
        deadline: float,
        subject: str | None = None,
        idempotency_key: str | None = None,
        hops: str = "",
    ) -> Exchange[Reply]:
        """An exchange that has not begun, of a request's bytes and the form of its reply.

            async with await golek.passed("qwen3-4b", "inference", payload, InferenceReply, deadline=60) as exchange:
                reply = await exchange.reply()

        `hops`: through how many routers of other fleets it came, as these say. Raises as `ask` does. The bytes are not
        checked here: a worker answers what is wrong with them.
        """
        target = Target.of(model, kind, subject, hops)
        check_seconds("deadline", deadline)
        until = asyncio.get_running_loop().time() + deadline
        line = await self._opening.by(until, deadline)
        return Exchange(line, target, reply, payload, until, deadline, checked_key(idempotency_key))

    async def passed_texts(
        self,
        model: str,
        texts: str | Sequence[str],
        options: EmbedOptions,
        *,
        deadline: float,
        subject: str | None = None,
        idempotency_key: str | None = None,
        told: Callable[[Exchange[EmbeddingReply]], object] = lambda _: None,
        hops: str = "",
    ) -> EmbeddingReply:
        """The vectors of `texts`, as `embed` gives them; `told` is called with each exchange that it took, once that
        has ended.
        """
        target = Target.of(model, "embedding", subject, hops)
        check_seconds("deadline", deadline)
        question = Question(texts, options)
        clock = asyncio.get_running_loop().time
        until = clock() + deadline
        line = await self._opening.by(until, deadline)
        key = checked_key(idempotency_key)

        async def ask(payload: bytes, part: str) -> EmbeddingReply:
            its_key = checked_key(f"{key} {part}") if key is not None and part else key
            async with Exchange(line, target, EmbeddingReply, payload, until, deadline, its_key) as exchange:
                try:
                    return await exchange.reply()
                finally:
                    told(exchange)

        room = line.transport.max_payload - headers.REQUEST_RESERVE
        # Under a key every repeat has the same bytes: its requests name the whole deadline.
        return await question.answer(ask, room, lambda: deadline if key is not None else until - clock())

    def passed_stream(
        self,
        model: str,
        payload: bytes,
        *,
        deadline: float,
        subject: str | None = None,
        idempotency_key: str | None = None,
        on_queued: OnQueued | None = None,
        on_step: OnStep | None = None,
        hops: str = "",
    ) -> Stream:
        """The stream of a request's bytes, which say `"stream": true`. Otherwise as `passed`."""
        target = Target.of(model, "inference", subject, hops)
        check_seconds("deadline", deadline)
        return self._stream(target, payload, deadline, on_queued, checked_key(idempotency_key), on_step)

    async def tell(self, subject: str, payload: bytes) -> None:
        """Say something to others of this kind. Raises BusUnavailableError, PayloadTooLargeError."""
        await (await self._opening.line()).send(subject, payload)

    async def hear(self, subject: str, take: Callable[[Any], Awaitable[None]], heard: Heard | None = None) -> Heard:
        """Call `take` with each message on `subject`. `heard` is what an earlier call gave: then it is only subscribed
        anew where the connection is another one by now. Raises BusUnavailableError.
        """
        line = await self._opening.line()
        if heard is not None and heard.line is line:
            return heard
        return Heard(line, await line.subscribe(subject, take))

    def follow(self, hears: Mapping[str, Take], look: Look = nothing, *, asks: bool = True) -> Following:
        """What comes on some subjects, and what `look` reads now and then. See `golek_client.following`."""
        return Following(self._opening, hears, look, asks=asks)

    def watch(self, model: str = "", *, asks_after: bool = False) -> Watch:
        """The fleet as it is, by what its workers say; or one of its models. See `golek_client.watching`.

        With `asks_after` who should have been heard is asked after: it is known within seconds that a worker is gone.
        """
        return Watch(self._opening, model, asks_after=asks_after)

    def roll_call(
        self,
        view: FleetView,
        clock: Callable[[], float],
        *,
        missed: Callable[[str, Presence], None] | None = None,
        pinged: Callable[[str, float], None] | None = None,
    ) -> RollCall:
        """Who asks after the workers of `view` that should have been heard. See `golek_client.presence`."""
        return RollCall(Bus(self._opening), view, clock, missed=missed, pinged=pinged)

    def _stream(
        self,
        target: Target,
        payload: bytes,
        seconds: float,
        on_queued: OnQueued | None,
        key: str | None,
        on_step: OnStep | None = None,
    ) -> Stream:
        is_kept = is_resumable(payload)

        def open_exchange(asked: bytes, until: float) -> Coroutine[Any, Any, Exchange[InferenceReply]]:
            # What goes on behind a lost text is another question than the key's.
            return self._exchange(target, asked, until, seconds, key if asked == payload else None, is_kept=is_kept)

        return Stream(open_exchange, payload, seconds, replay=self.replay, on_queued=on_queued, on_step=on_step)

    async def _exchange(
        self, target: Target, payload: bytes, until: float, seconds: float, key: str | None, *, is_kept: bool = False
    ) -> Exchange[InferenceReply]:
        """An exchange that has not begun, to end by `until` on the loop's clock, `seconds` after the call began."""
        line = await self._opening.by(until, seconds)
        if is_kept and key is None:  # with a key the request is refused
            return KeptExchange(line, target, payload, until, seconds)
        return Exchange(line, target, InferenceReply, payload, until, seconds, key)
