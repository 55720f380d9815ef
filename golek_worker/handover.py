"""Where do jobs go for which a model's queue has no room, and requests that several models answer?

Into the queue of a router, if one said lately that others may answer for this model, or that several may answer
together. Their callers notice nothing: who took such a job looks after it there, as after its own.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from golek_wire.errors import InferenceServiceError, NoWorkersError, QueueFullError
from golek_wire.helping import Help
from golek_wire.subjects import Kind
from golek_worker.bus.ingress import Ingress
from golek_worker.bus.overflow import Unstored
from golek_worker.job import to_headers

log = structlog.get_logger("ingress")


class Handover:
    """What one worker's ingress has no room for."""

    def __init__(
        self,
        near: Callable[[], Help | None],
        kind: Kind,
        model: str,
        door: Callable[[Help], Ingress],
        listen: Callable[[], Awaitable[None]] | None = None,
        orchestrates: Callable[[], Help | None] = lambda: None,
    ) -> None:
        """`near` is the router that helps, if one does; `door` makes the way into its queue; `listen` begins to hear of
        routers, where these are others; `orchestrates` is the router that has several models answer, if one does.
        """
        self._near = near
        self._orchestrates = orchestrates
        self._model = model
        self._listen = listen
        self._kind: Kind = kind
        self._door = door
        self._doors: dict[Help, Ingress] = {}
        """By the form of the queue, whichever router said it."""
        self._opened: asyncio.Queue[Ingress] = asyncio.Queue()

    async def adopt(self, request: Unstored, full: Callable[[], QueueFullError]) -> bool:
        """As `Elsewhere.adopt`."""
        near = self._near()
        if near is None:
            return False
        job = request.job
        asked = f"{job.asked_kind or self._kind} {self._model}"
        request.job = msgspec.structs.replace(job, asked=asked, hops=job.hops + 1)
        request.headers, request.full = to_headers(request.job), full()
        try:
            await (await self._find(near)).adopt(request)
        except InferenceServiceError as error:
            log.warning("handover.failed", problem=error.message)
            request.job, request.headers, request.full = job, to_headers(job), None
            return False
        return True

    async def for_several(self) -> Ingress:
        """As `Elsewhere.for_several`."""
        near = self._orchestrates()
        if near is None:
            raise NoWorkersError(
                "No router is there, and only a router has several models answer: start one (`make start "
                "WORKER=router`, or `golek serve router`), or ask without orchestration_mode", model=self._model,
                command="make start WORKER=router",
            )  # fmt: skip
        return await self._find(near)

    def cancel(self, job_id: str) -> None:
        """As `Ingress.cancel`, of all jobs that were handed over."""
        for door in self._doors.values():
            door.cancel(job_id)

    async def leave(self) -> None:
        """As `Ingress.leave`."""
        await asyncio.gather(*(door.leave() for door in self._doors.values()))

    async def run(self) -> None:
        """Look after what was handed over, for as long as the worker lives."""
        if self._listen is not None:
            await self._listen()
        async with asyncio.TaskGroup() as doors:
            while True:
                doors.create_task((await self._opened.get()).run())

    async def _find(self, near: Help) -> Ingress:
        form = msgspec.structs.replace(near, router="")
        door = self._doors.get(form)
        if door is None:
            door = self._doors[form] = self._door(near)
            await door.open()
            self._opened.put_nowait(door)
        return door
