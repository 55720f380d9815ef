"""What do operators order, and what do they hear?

On `models.<model>.load`, `.unload` and `.drain`. Not in the queue group: every replica of the model hears an order, and
the one it names, or each of them, does it and says what is so then. With `Golek-Accept: 1` it says at once that it
heard, and each second how far it is, in messages with `Golek-Status`. See docs/decisions/0025.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog
from nats.aio.msg import Msg

from golek_client.bus_client import BusClient
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire import headers as h
from golek_wire.errors import InferenceServiceError
from golek_wire.signals import Order
from golek_wire.subjects import Verb
from golek_worker.bus.identity import Callers
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.replies import send_error
from golek_worker.residency import Residency
from golek_worker.status import Status

log = structlog.get_logger("residency")

TELL_S = 1.0
"""Between two status messages."""
GOODBYE_S = 2.0
"""So long a worker that has drained takes to say so."""


class Orders:
    """Obeys operators."""

    def __init__(
        self,
        client: BusClient,
        callers: Callers,
        residency: Residency,
        status: Status,
        drain: Callable[[], None],
    ) -> None:
        """`drain` lets the worker end as SIGTERM does."""
        self._client = client
        self._callers = callers
        self._residency = residency
        self._status = status
        self._drain = drain
        self._drained = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Hear orders, on the literal and the token subject."""
        for verb in subjects.VERBS:
            for spelling in subjects.spellings(self._status.model_name):
                await self._client.subscribe(subjects.order(spelling, verb), cb=self._on_order)

    async def leave(self) -> None:
        """The worker has drained: say so to who ordered it."""
        self._drained.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GOODBYE_S)

    async def _on_order(self, message: Msg) -> None:
        """A task for each order: a load takes minutes."""
        task = asyncio.get_running_loop().create_task(self._take(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, message: Msg) -> None:
        inbox = message.reply if subjects.is_reply_inbox(message.reply) else ""
        with contextlib.suppress(*BUS_ERRORS):  # the broker went away, and with it who would hear the answer
            try:
                self._callers.may_order(message.headers)
                order = codec.decode_order(message.data)
            except InferenceServiceError as error:
                await send_error(self._client, inbox, "", error, stream=False)
                return
            if order.worker_id in ("", self._status.worker_id):
                verb: Verb = message.subject.rpartition(".")[2]  # type: ignore[assignment] # one of those subscribed
                log.info("order", verb=verb, force=order.force)
                await self._do(verb, order, inbox, tell=(message.headers or {}).get(h.ACCEPT) == "1")

    async def _do(self, verb: Verb, order: Order, inbox: str, *, tell: bool) -> None:
        """Obey and answer; with `tell` say meanwhile how it goes."""
        began = time.monotonic()
        work = asyncio.create_task(self._obey(verb, order))
        while not work.done():
            if tell and inbox:
                now = self._status.residence(time.monotonic() - began, None)
                await publish(self._client, inbox, codec.encode(now), {h.STATUS: now.status})
            await asyncio.wait([work], timeout=TELL_S)
        if inbox:
            end = self._status.residence(time.monotonic() - began, work.result())
            await publish(self._client, inbox, codec.encode(end))

    async def _obey(self, verb: Verb, order: Order) -> str | None:
        """Why it is not as it was ordered; None when it is."""
        try:
            match verb:
                case "load":
                    return await self._residency.load()
                case "unload":
                    return await self._residency.unload(force=order.force)
                case "drain":
                    self._drain()
                    await self._drained.wait()
                    return None
        except BUS_ERRORS as error:
            return str(error) or type(error).__name__
