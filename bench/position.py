"""Is what waiting streams are told of their place and their wait true?

200 paced streams at once before two replicas of four slots. A place must never rise. Each wait that was told is
compared with the one that came, where that was longer than 2 s.
"""

import asyncio
import os
import random
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from support import WorkerProcess, broker, figure, median, note

from golek_client import Golek

BENCH = "position"
STREAMS = int(os.environ.get("POSITION_STREAMS", "200"))
MODEL = "echo"
REPLICAS = 2
SETTINGS = {"ENGINE_STEP_MIN_MS": 20, "WORKER_CONCURRENCY": 4, "STREAM_GATHER_MS": 0}
TOKENS = (15, 35)
"""Each stream has so many, at random: real answers differ in length."""
SHORTEST_S = 2.0


class Told(NamedTuple):
    """What a stream was told, and when."""

    at: float
    position: int
    eta_s: float | None


class Wait(NamedTuple):
    """What a stream was told until its text began."""

    told: list[Told]
    began: float


async def wait(golek: Golek, tokens: int) -> Wait:
    """One stream, read to its end."""
    told: list[Told] = []
    began = 0.0
    stream = golek.stream(
        MODEL,
        "a",
        max_tokens=tokens,
        ignore_eos=True,
        deadline=120,
        on_queued=lambda position, eta_s: told.append(Told(time.monotonic(), position, eta_s)),
    )
    async for _ in stream:
        began = began or time.monotonic()
    return Wait(told, began)


async def measure(url: str) -> None:
    chance = random.Random(1)
    async with Golek(url) as golek:
        waits = await asyncio.gather(*(wait(golek, chance.randint(*TOKENS)) for _ in range(STREAMS)))
    risen = sum(
        later.position > earlier.position for w in waits for earlier, later in zip(w.told, w.told[1:], strict=False)
    )
    errors = [
        abs(told.eta_s - (w.began - told.at)) / (w.began - told.at)
        for w in waits
        for told in w.told
        if told.eta_s is not None and w.began - told.at > SHORTEST_S
    ]
    silent = sum(1 for w in waits if not w.told)
    note(f"{sum(len(w.told) for w in waits)} statuses; {silent} streams began before the first look and got none")
    figure(BENCH, "positions_risen", risen, None, "statuses", STREAMS)
    figure(BENCH, "eta_error_median", median(errors), None, "of the wait", len(errors))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, ExitStack() as stack:
        url = stack.enter_context(broker())
        for number in range(REPLICAS):
            stack.enter_context(WorkerProcess(url, Path(folder), MODEL, number + 1, **SETTINGS))
        asyncio.run(measure(url))


if __name__ == "__main__":
    main()
