"""How does a request come in whose body lies in the object store?

Its message is read in no time, its body is not: a few are fetched at once, each in a task of its own, and the rest
wait in line. What is fetched goes the way of every request.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from golek_client.bus_client import Delivery
from golek_wire import headers as h
from golek_wire.errors import BadRequestError, InferenceServiceError, InternalError, TemporaryResourceError
from golek_worker.bus.identity import Headers
from golek_worker.bus.objects import Objects

log = structlog.get_logger("ingress")

AT_ONCE = 4
"""Bodies fetched and checked at the same time."""
WAITING_LIMIT = 256
"""Requests that may wait to be fetched; more are refused at once."""
LEAVE_S = 5.0
"""A worker that leaves goes on fetching for so long; what is left, `golek_client` sends to another one."""

Admit = Callable[[Delivery, str], Awaitable[None]]
"""Takes a request with its body, and the reference that its job carries instead."""
Refuse = Callable[[Delivery, InferenceServiceError], Awaitable[None]]


class Intake:
    """The requests of one worker that name an object."""

    def __init__(self, objects: Objects, principal: Callable[[Headers], str], admit: Admit, refuse: Refuse) -> None:
        """`principal` raises for who may not ask: for them nothing is read."""
        self._objects = objects
        self._principal = principal
        self._admit = admit
        self._refuse = refuse
        self._room = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def take(self, message: Delivery) -> None:
        """Fetch the body beside everything else; a copy of a request that is being fetched already is dropped."""
        key = message.reply or f"{id(message)}"
        if key in self._tasks:
            return
        try:
            self._principal(message.headers)
            if len(self._tasks) >= WAITING_LIMIT:
                raise TemporaryResourceError(f"{WAITING_LIMIT} requests wait already for their large bodies to be read")
        except InferenceServiceError as error:
            await self._refuse(message, error)
            return
        task = self._tasks[key] = asyncio.get_running_loop().create_task(self._run(message))
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def close(self) -> None:
        """Let those that were taken come in, as far as LEAVE_S allows."""
        tasks = list(self._tasks.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=LEAVE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, message: Delivery) -> None:
        try:
            await self._fetch(message)
        except Exception:
            log.exception("request.failed")
            await self._refuse(message, InternalError("The request's body could not be read"))

    async def _fetch(self, message: Delivery) -> None:
        name = (message.headers or {})[h.OBJECT]
        async with self._room:
            try:
                body, reference = await self._objects.body(name)
            except BadRequestError as error:
                self._objects.forget(f"{name}/")
                await self._refuse(message, error)
            except InferenceServiceError as error:
                await self._refuse(message, error)
            else:
                await self._admit(Delivery(message.subject, message.reply, body, message.headers), reference)
