"""When is a model in memory?

The worker lives, its engine comes and goes. `Residency` unloads what is idle for MODEL_TTL, loads it again for the next
request, and does what operators order. Only requests are activity: health, heartbeats, reports and `$SRV` answers are
made of what is in the worker's own memory and do not come here.

While there is no engine the ingress takes requests as ever, and they wait in the queue, where their own time runs. The
load belongs to the worker: one, however many wait for it, and it goes on when they have left. See
docs/decisions/0025.
"""

import asyncio
import gc
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.queue import Queue
from golek_worker.engine.host import EngineHost
from golek_worker.serving import Serving

log = structlog.get_logger("residency")

WAKE_S = 0.05
"""While unloaded: it is looked this often whether a request came. Another replica that is free has it by then."""
SCOUT_S = 2.0
"""While unloaded: it is looked this often whether jobs wait that came in elsewhere."""
ORPHAN_S = 15.0
"""Jobs that no engine took for so long are anybody's, whichever ingress took them."""
LOOKS_IN_TTL = 20
LONGEST_LOOK_S = 1.0
"""While loaded: it is looked LOOKS_IN_TTL times in a MODEL_TTL whether a job ran, at least this often."""
POLL_S = 0.02


class Event(Protocol):
    """One line in the log, one row among the events."""

    def __call__(self, code: str, message: str, *, level: str = "info") -> None: ...


class Pulls(Protocol):
    """The worker's consumer."""

    async def pause(self) -> None: ...
    async def resume(self) -> None: ...


class Residency:
    """Whether one worker's engine is there."""

    def __init__(
        self,
        host: EngineHost,
        serving: Serving,
        queue: Queue,
        pulls: Pulls,
        unanswered: Callable[[], int],
        finds_job: Callable[[], Awaitable[bool]],
        *,
        ttl_s: float,
        drain_s: float,
    ) -> None:
        """`unanswered` counts the requests that this worker's ingress took and of which it knows no answer; `finds_job`
        looks whether a job waits for its next attempt (bus/scout.py).
        """
        self._host = host
        self._serving = serving
        self._queue = queue
        self._pulls = pulls
        self._unanswered = unanswered
        self._finds_job = finds_job
        self._ttl_s = ttl_s
        self._drain_s = drain_s
        self._change = asyncio.Lock()
        self._is_leaving = False
        self._closed = False
        self._unloaded = asyncio.Event()
        self._scouted_at = -math.inf

    @property
    def may_pull(self) -> bool:
        """Whether an engine takes sequences, and is to stay."""
        return self._host.serving and not (self._host.stalled or self._is_leaving or self._closed)

    def close(self) -> None:
        """The worker ends: whatever the engine does from here on, no jobs are pulled, and no model is loaded."""
        self._closed = True

    def tell(self, event: Event) -> None:
        """Say why no jobs are pulled."""
        host = self._host
        if host.unloaded:
            event("model.unloaded", "its memory is free; the next request loads it again")
        elif host.stalled or host.problem is not None:
            event("engine.down", host.problem or "stalled", level="error")
        elif not host.serving:
            event("model.loading", "it is loaded again")

    async def run(self) -> None:
        """Unload what is idle and load what is asked for, for as long as the worker lives."""
        await asyncio.gather(self._unload_idle(), self._load_wanted())

    async def load(self) -> str | None:
        """Load the model unless it is there, and wait for it; why it could not be, None when it is there."""
        if self._closed:
            return "this worker ends and loads no more"
        async with self._change:
            self._host.load()
        while not self._host.serving and self._host.problem is None and not self._host.unloaded:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        return "it was unloaded meanwhile" if self._host.unloaded else self._host.problem

    async def unload(self, *, force: bool = False, patience_s: float | None = None) -> str | None:
        """End the engine once the jobs in it have ended; why it stays, None when its memory is free.

        It stays while the model is being loaded, when jobs still run after `patience_s` (DRAIN_S without it), and when
        others wait, which would load it again at once. With `force` nothing keeps it: jobs that run go back to the
        queue. Raises BUS_ERRORS while the broker is away.
        """
        if self._host.stays:
            return self._host.stays
        async with self._change:
            if self._host.unloaded:
                return None
            if not force and not self._host.serving and self._host.problem is None:
                return "the model is being loaded; unload it when it is online, or with force"
            self._is_leaving = True
            try:
                await self._pulls.pause()
                if force:
                    await self._serving.drain(0.0)
                elif (reason := await self._reason_to_stay(patience_s)) is not None:
                    return reason
                await self._host.unload()
                self._unloaded.set()
                gc.collect()  # what belonged to the child is a ring, and the collector comes seldom
            finally:
                self._is_leaving = False
                if self.may_pull:
                    await self._pulls.resume()
        return None

    async def _reason_to_stay(self, patience_s: float | None) -> str | None:
        """Jobs that run or wait; what was on its way when the pulls were withdrawn has arrived."""
        patience_s = self._drain_s if patience_s is None else patience_s
        if running := await self._serving.finish(patience_s):
            return f"{_jobs(running)} still ran after {patience_s:g} s; force gives them back to the queue"
        await self._queue.look(older_than_s=0)
        if waiting := self._queue.view.pending:
            return f"{_jobs(waiting)} waited in the queue and would load it again at once; drain takes this replica out"
        return None

    async def _unload_idle(self) -> None:
        """Unload after MODEL_TTL in which no job ran."""
        if not self._ttl_s:
            return
        busy_at, last = time.monotonic(), 0.0
        while True:
            await asyncio.sleep(min(self._ttl_s / LOOKS_IN_TTL, LONGEST_LOOK_S))
            now, activity = time.monotonic(), self._serving.last_activity
            if self._serving.active or not self._host.serving or activity != last:
                busy_at, last = now, activity
            elif now - busy_at >= self._ttl_s:
                await self._unload_quietly()

    async def _unload_quietly(self) -> None:
        try:
            reason = await self.unload(patience_s=0.0)
        except BUS_ERRORS as error:
            reason = str(error) or type(error).__name__
        if reason is not None:
            log.debug("model.stays", reason=reason)

    async def _load_wanted(self) -> None:
        """Load for the first job that needs it."""
        while True:
            await self._unloaded.wait()
            self._unloaded.clear()
            waiting_since = math.inf
            while self._host.unloaded and not self._closed:
                await asyncio.sleep(WAKE_S)
                try:
                    waiting_since = min(waiting_since, time.monotonic()) if await self._jobs_wait() else math.inf
                    is_orphan = time.monotonic() - waiting_since >= ORPHAN_S
                    if is_orphan or (waiting_since < math.inf and self._unanswered()) or await self._job_came_back():
                        async with self._change:
                            self._host.load()
                except BUS_ERRORS as error:
                    log.debug("queue.unseen", problem=str(error) or type(error).__name__)

    async def _jobs_wait(self) -> bool:
        """Whether jobs wait that nobody had yet. Asks the server after each request that came in here."""
        news = self._unanswered() and self._queue.last_seq > self._queue.view.last_seq
        await self._queue.look(older_than_s=0 if news else SCOUT_S)
        return self._queue.view.pending > 0

    async def _job_came_back(self) -> bool:
        """Whether a job waits for its next attempt, looked for once in SCOUT_S.

        Not while others wait for their first one: a look would be given one of them, which belongs to who is busy.
        """
        now = time.monotonic()
        if not self._queue.view.unacked or now - self._scouted_at < SCOUT_S:
            return False
        self._scouted_at = now
        await self._queue.look(older_than_s=0)
        return not self._queue.view.pending and await self._finds_job()


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"
