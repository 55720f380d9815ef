"""What is done to workers and their engines while they are asked: kills, freezes, stops."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Sequence

import psutil
from msgspec import Struct

from tests.support.workers import WorkerProcess


class Blow(Struct, frozen=True):
    """Something was killed."""

    at: float
    """On the monotonic clock."""
    what: str
    """`child` or `worker`."""


class Faults:
    """Faults in random order on some workers; `seed` repeats them. `blows` tells what was killed, and when."""

    def __init__(self, workers: Sequence[WorkerProcess], seed: int) -> None:
        self._workers = workers
        self._random = random.Random(seed)
        self.blows: list[Blow] = []
        self.freezes = 0

    async def kill(self, seconds: float, child_every_s: float, worker_every_s: float) -> None:
        """SIGKILL a random engine's child and a random worker, each at its interval; a worker is started at once."""
        start = time.monotonic()
        next_child, next_worker = start + child_every_s, start + worker_every_s
        while (due := min(next_child, next_worker)) < start + seconds:
            await asyncio.sleep(due - time.monotonic())
            if due == next_worker:
                next_worker += worker_every_s
                worker = self._random.choice(self._workers)
                self.blows.append(Blow(time.monotonic(), "worker"))
                worker.kill()
                worker.start(wait=False)
            else:
                next_child += child_every_s
                children = [child for worker in self._workers for child in self._children(worker)]
                if children:
                    self.blows.append(Blow(time.monotonic(), "child"))
                    with contextlib.suppress(psutil.NoSuchProcess):
                        self._random.choice(children).kill()

    async def freeze(self, seconds: float, shortest_s: float, longest_s: float, pause_s: float) -> None:
        """SIGSTOP a random worker or child for a while, one after the other and never two at once."""
        start = time.monotonic()
        while True:
            length = self._random.uniform(shortest_s, longest_s)
            if time.monotonic() + length > start + seconds:
                return
            worker = self._random.choice(self._workers)
            processes = [psutil.Process(worker.pid), *self._children(worker)]
            frozen = self._random.choice(processes)
            frozen.suspend()
            self.freezes += 1
            await asyncio.sleep(length)
            with contextlib.suppress(psutil.NoSuchProcess):  # a stalled child is killed by its worker
                frozen.resume()
            await asyncio.sleep(pause_s)

    async def stop(self, seconds: float, every_s: float) -> list[float]:
        """SIGTERM one worker after the other, each started again once it has ended; how long each took to end."""
        start, took = time.monotonic(), []
        for number in range(1, int(seconds / every_s) + 1):
            await asyncio.sleep(max(0.0, start + number * every_s - time.monotonic()))
            took.append(await restart(self._workers[number % len(self._workers)]))
        return took

    def _children(self, worker: WorkerProcess) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(worker.pid).children()
        return []


async def restart(worker: WorkerProcess) -> float:
    """SIGTERM `worker`, wait until it has ended, start it again; seconds until it had ended."""
    assert worker.process is not None
    start = time.monotonic()
    worker.signal(signal.SIGTERM)
    await asyncio.to_thread(worker.process.wait)
    took = time.monotonic() - start
    worker.start(wait=False)
    return took
