"""How does a replica hear orders, and what does it answer?

Orders come on core NATS and not in the queue group: every replica of the model hears one, each obeys, and answers for
itself with what is so then. With `Golek-Accept: 1` it says at once that it heard, and each second how it goes, in
messages with `Golek-Status`; so who ordered knows for how many answers to wait.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct
from nats.aio.msg import Msg

from golek_client.bus_client import BusClient
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire import headers as h
from golek_wire.errors import InferenceServiceError
from golek_worker.bus.identity import Callers
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.replies import send_error

TELL_S = 1.0
"""Between two status messages."""


class Task(Struct, frozen=True):
    """An order that was understood."""

    obey: Callable[[], Awaitable[str | None]]
    """Why it is not as it was ordered; None when it is. Raises InferenceServiceError and BUS_ERRORS."""
    report: Callable[[str | None], Struct]
    """What is so now, with that problem."""


Read = Callable[[str, bytes], Task | None]
"""What an order of this verb and body means; None when another replica is meant. Raises InferenceServiceError."""


class Orders:
    """Obeys operators."""

    def __init__(self, client: BusClient, callers: Callers, state: Callable[[], str]) -> None:
        """`state` is the worker's, for status messages."""
        self._client = client
        self._callers = callers
        self._state = state
        self._tasks: set[asyncio.Task[None]] = set()

    async def hear(self, listed: Sequence[str], read: Read) -> None:
        """Obey what comes on these subjects, whose last token is the verb."""

        async def on_order(message: Msg) -> None:
            self.take(message, read, self._callers)

        for subject in listed:
            await self._client.subscribe(subject, cb=on_order)

    async def hear_some(self, listed: Sequence[str], reader: Callable[[str], Read | None]) -> None:
        """Obey what comes on subjects of these patterns where `reader` has something to read it with."""

        async def on_order(message: Msg) -> None:
            if (read := reader(message.subject)) is not None:
                self.take(message, read, self._callers)

        for pattern in listed:
            await self._client.subscribe(pattern, cb=on_order)

    def take(self, message: Msg, read: Read, callers: Callers) -> None:
        """Obey one order that somebody else heard, if its sender may give it: in a task, for a load takes minutes."""
        task = asyncio.get_running_loop().create_task(self._take(message, read, callers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, patience_s: float) -> None:
        """Wait at most so long for the orders that are obeyed now."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)

    async def _take(self, message: Msg, read: Read, callers: Callers) -> None:
        inbox = message.reply if subjects.is_reply_inbox(message.reply) else ""
        with contextlib.suppress(*BUS_ERRORS):  # the broker went away, and with it who would hear the answer
            try:
                callers.may_order(message.headers)
                task = read(message.subject.rpartition(".")[2], message.data)
                if task is not None:
                    await self._do(task, inbox, tell=(message.headers or {}).get(h.ACCEPT) == "1")
            except InferenceServiceError as error:
                await send_error(self._client, inbox, "", error, stream=False)

    async def _do(self, task: Task, inbox: str, *, tell: bool) -> None:
        """Obey and answer; with `tell` say meanwhile how it goes."""
        work = asyncio.ensure_future(_problem(task))
        while not work.done():
            if tell and inbox:
                await publish(self._client, inbox, codec.encode(task.report(None)), {h.STATUS: self._state()})
            await asyncio.wait([work], timeout=TELL_S)
        problem = work.result()
        if inbox:
            await publish(self._client, inbox, codec.encode(task.report(problem)))


async def _problem(task: Task) -> str | None:
    try:
        return await task.obey()
    except BUS_ERRORS as error:
        return str(error) or type(error).__name__
