"""Callers in closed loops, and what came of their requests.

The load of the tests and benches that kill, freeze and stop workers meanwhile. Each caller has a connection of its own
and asks again as soon as it is answered. A separate connection hears all answers and counts the final ones.
"""

import asyncio
import itertools
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

import nats
import nats.errors
from msgspec import Struct, field

from golek_client import Golek
from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import close, connect, flush
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError
from golek_worker.bus.jetstream import api
from tests.support import raw

DEADLINE_S = 60.0
HUNG_S = 20.0
"""An answer that takes longer counts as hung."""
EMPTY_S = 30.0

Question = tuple[str, str]
"""A prompt, and the only right answer to it."""


def numbered(tokens: int) -> Callable[[int, int], Question]:
    """Questions for the echo engine with `ignore_eos`: it numbers its tokens, so one lost or doubled shows."""
    tail = "".join(f" #{n}" for n in range(2, tokens))
    return lambda caller, n: (f"{caller} {n}", f"{caller} {n}{tail}")


class Tally(Struct):
    """What came of the requests."""

    seconds: list[float] = field(default_factory=list[float])
    """How long each answered request of a `golek_client` took."""
    lost: list[str] = field(default_factory=list[str])
    """Requests of a `golek_client` that ended in an error, and in which."""
    broken: list[str] = field(default_factory=list[str])
    """Answers that are not the right one: whole texts, and pieces joined."""
    raw_answered: int = 0
    raw_lost: int = 0

    @property
    def hung(self) -> int:
        return sum(seconds > HUNG_S for seconds in self.seconds)

    @property
    def raw_lost_share(self) -> float:
        return self.raw_lost / max(1, self.raw_answered + self.raw_lost)

    @property
    def p50_s(self) -> float:
        return statistics.median(self.seconds)


class Load:
    """`clients` callers with golek_client, every second one streaming, and `raws` that know only NATS.

    `heard` overhears their answers.
    """

    def __init__(
        self,
        heard: "Overhearing",
        url: str,
        model: str,
        question: Callable[[int, int], Question],
        *,
        clients: int,
        raws: int = 0,
        raw_patience_s: float = DEADLINE_S,
        **params: Any,
    ) -> None:
        self._heard = heard
        self._url = url
        self._model = model
        self._question = question
        self._clients = clients
        self._raws = raws
        self._raw_patience_s = raw_patience_s
        self._params = params
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.tally = Tally()

    async def __aenter__(self) -> Self:
        callers = [self._client(n) for n in range(self._clients)]
        callers += [self._raw(self._clients + n) for n in range(self._raws)]
        self._tasks = [asyncio.create_task(caller) for caller in callers]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask no more, and wait for what is asked."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _client(self, caller: int) -> None:
        async with Golek(self._url, deadline=DEADLINE_S) as golek:
            await self._heard.listen(inboxes_of(golek))
            for n in itertools.count():
                if self._stopping:
                    return
                prompt, right = self._question(caller, n)
                start = time.monotonic()
                try:
                    texts = await self._ask(golek, prompt, streamed=caller % 2 == 0)
                except InferenceServiceError as error:
                    self.tally.lost.append(f"{prompt!r} after {time.monotonic() - start:.1f} s: {error!r}")
                    continue
                self.tally.seconds.append(time.monotonic() - start)
                self.tally.broken += [f"{prompt!r}: {text!r}" for text in texts if text != right]

    async def _ask(self, golek: Golek, prompt: str, *, streamed: bool) -> set[str]:
        """The answer, as often as it came: as it was joined, and as a whole."""
        if not streamed:
            return {(await golek.ask(self._model, prompt, **self._params)).text}
        answer = golek.stream(self._model, prompt, **self._params)
        joined = "".join([piece async for piece in answer])
        return {joined, answer.reply.text}

    async def _raw(self, caller: int) -> None:
        params = dict(self._params)
        async with raw.connected(self._url) as client:
            await client._init_request_sub()
            await self._heard.listen(f"{client._resp_sub_prefix.decode()}*")
            for n in itertools.count():
                if self._stopping:
                    return
                prompt, right = self._question(caller, n)
                body = json.dumps({"req_id": f"raw-{caller}-{n}", "input": prompt, "params": params}).encode()
                try:
                    message = await client.request(subjects.request(self._model), body, timeout=self._raw_patience_s)
                except nats.errors.Error:
                    self.tally.raw_lost += 1
                    continue
                text = json.loads(message.data).get("text")
                self.tally.raw_answered += text is not None
                self.tally.raw_lost += text is None
                if text is not None and text != right:
                    self.tally.broken.append(f"{prompt!r}: {text!r}")


class Gap(Struct, frozen=True):
    """A stream that began again: the last piece of one attempt, the first of the next, on the monotonic clock."""

    last: float
    first: float

    @property
    def seconds(self) -> float:
        return self.first - self.last


class Overhearing:
    """Hears every answer on a connection of its own. An async context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._finals: Counter[str] = Counter()
        self._pieces: dict[str, tuple[int, float]] = {}
        self.gaps: list[Gap] = []

    async def __aenter__(self) -> Self:
        self._client: BusClient = await connect(self._url, "overhearing")
        return self

    async def listen(self, inboxes: str) -> None:
        """Hear these as well.

        Never all inboxes: a subscription is interest, and the server would send jobs to inboxes whose worker is gone.
        """
        await self._client.subscribe_direct(inboxes, self._on_message)
        await flush(self._client)

    async def __aexit__(self, *_: object) -> None:
        await close(self._client)

    @property
    def duplicate_finals(self) -> int:
        """Final messages beyond the first of each inbox."""
        return sum(count - 1 for count in self._finals.values())

    async def _on_message(self, message: Delivery) -> None:
        about = message.headers or {}
        if h.STATUS in about:
            return
        if h.ATTEMPT in about:
            self._on_piece(message.subject, int(about[h.ATTEMPT]))
        elif h.FINAL in about or message.data.startswith(b'{"req_id"'):
            self._finals[message.subject] += 1
            self._pieces.pop(message.subject, None)

    def _on_piece(self, inbox: str, attempt: int) -> None:
        now = time.monotonic()
        before = self._pieces.get(inbox, (attempt, now))
        if attempt > before[0]:
            self.gaps.append(Gap(before[1], now))
        if attempt >= before[0]:
            self._pieces[inbox] = attempt, now


def inboxes_of(golek: Golek) -> str:
    """Where the answers to a connected client go."""
    assert golek._opening._open is not None
    return f"{golek._opening._open.mux._prefix}*"


async def left_in_queue(url: str, model: str) -> int:
    """Jobs of `model` that are still stored once its queue should be empty."""
    return await left_in_stream(url, subjects.job_stream(subjects.model_token(model)), EMPTY_S)


async def left_in_stream(url: str, stream: str, patience_s: float) -> int:
    """Messages of `stream` that are still stored after `patience_s`; at once when there is none."""
    client = await nats.connect(url)
    try:
        until = time.monotonic() + patience_s
        while True:
            info = await api(client, f"STREAM.INFO.{stream}")
            left = int(info["state"]["messages"])
            if not left or time.monotonic() >= until:
                return left
            await asyncio.sleep(0.1)
    finally:
        await client.close()
