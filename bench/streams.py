"""How many streams can one gateway process hold?

STREAMS_N callers (500) at once ask two echo replicas over one gateway for a text of STREAMS_TOKENS words (100), each
its own, a word every STREAMS_STEP_MS (50). First there is a slot for everybody, then for a quarter, so that most wait.
`complete` are streams whose events add up to their text and end with `[DONE]`; `gap` is the time between two words as
the callers see it, `first` until the first; `told_their_place` is the share of streams that saw a comment with their
position in the queue; `rss` is the gateway's memory at its largest. The callers run in this process, beside all others.
"""

import asyncio
import json
import os
import re
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil
import uvloop
from support import WorkerProcess, broker, figure, note

from golek_client import Golek
from tests.support.fronts import GatewayProcess

BENCH = "streams"
N = int(os.environ.get("STREAMS_N", "500"))
TOKENS = int(os.environ.get("STREAMS_TOKENS", "100"))
STEP_MS = int(os.environ.get("STREAMS_STEP_MS", "50"))
REPLICAS = 2
PATIENCE_S = 300.0
_EVENT = re.compile(rb"data: (.+)\n\n")


class Seen(NamedTuple):
    """One stream, as its caller saw it."""

    asked: float
    reads: list[tuple[float, bytes]]
    """When what came."""

    @property
    def whole(self) -> bytes:
        """Without the frames of chunks."""
        rest, body = b"".join(data for _, data in self.reads).partition(b"\r\n\r\n")[2], bytearray()
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return bytes(body)

    @property
    def text(self) -> str:
        """What its events add up to; empty for a stream that did not come to its end."""
        events = _EVENT.findall(self.whole)
        if not events or events[-1] != b"[DONE]":
            return ""
        return "".join(json.loads(event)["choices"][0].get("text", "") for event in events[:-1])

    @property
    def times(self) -> list[float]:
        """When each word came."""
        return [at for at, data in self.reads for _ in range(data.count(b'"text":"word'))]


def words(number: int) -> str:
    return " ".join(f"word{number}.{place}" for place in range(TOKENS))


async def ask(port: int, number: int) -> Seen:
    """One stream, read as it comes."""
    body = json.dumps({"model": "echo", "prompt": words(number), "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seen = Seen(time.perf_counter(), [])
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    async with asyncio.timeout(PATIENCE_S):
        while data := await reader.read(2**16):
            seen.reads.append((time.perf_counter(), data))
    writer.close()
    return seen


async def largest(process: psutil.Process) -> float:
    """Its memory in MiB at its largest, once this is cancelled."""
    top = 0.0
    try:
        while True:
            top = max(top, process.memory_info().rss / 2**20)
            await asyncio.sleep(0.1)
    except asyncio.CancelledError:
        return top


async def measure(name: str, gateway: GatewayProcess, nats: str) -> None:
    """All callers at once, and the figures."""
    process = psutil.Process(gateway.pid)
    before = process.memory_info().rss / 2**20
    growing = asyncio.create_task(largest(process))
    began = time.perf_counter()
    seen = await asyncio.gather(*(ask(gateway.port, number) for number in range(N)))
    seconds = time.perf_counter() - began
    growing.cancel()
    complete = sum(one.text == words(number) for number, one in enumerate(seen))
    gaps = [later - earlier for one in seen for earlier, later in zip(one.times, one.times[1:], strict=False)]
    first = [one.times[0] - one.asked for one in seen if one.times]
    waited = sum(b": position=" in one.whole for one in seen)
    for number, one in enumerate(seen):
        if one.text != words(number):
            note(f"BROKEN {number}: {one.whole[:300]!r} … {one.whole[-300:]!r}")
    figure(BENCH, f"{name}_complete", complete, None, "streams", N)
    for share, gap in (("p50", 50), ("p99", 99)):
        figure(BENCH, f"{name}_gap_{share}", statistics.quantiles(gaps, n=100)[gap - 1] * 1000, None, "ms", len(gaps))
    figure(BENCH, f"{name}_gap_max", max(gaps) * 1000, None, "ms", len(gaps))
    figure(BENCH, f"{name}_first_p50", statistics.median(first) * 1000, None, "ms", N)
    figure(BENCH, f"{name}_told_their_place", waited / N, None, "share", N)
    figure(BENCH, f"{name}_words_per_s", N * TOKENS / seconds, None, "1/s", N)
    figure(BENCH, f"{name}_rss", await growing, None, "MiB", N)
    figure(BENCH, f"{name}_rss_before", before, None, "MiB", 1)
    async with Golek(nats) as golek:
        figure(BENCH, f"{name}_open_slots", (await golek.health("echo")).active, None, "slots", N)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, broker() as nats, ExitStack() as stack:
        data = Path(folder)
        gateway = stack.enter_context(GatewayProcess(nats, data, GOLEK_LOG_LEVEL="warning"))
        for name, slots in (("slots", 256), ("queued", max(1, N // 4 // REPLICAS))):
            with ExitStack() as workers:
                for replica in range(1, REPLICAS + 1):
                    given = {"WORKER_CONCURRENCY": slots, "ENGINE_STEP_MIN_MS": STEP_MS, "HTTP_ADDR": ""}
                    settings = given | {"GOLEK_LOG_LEVEL": "warning"}
                    workers.enter_context(WorkerProcess(nats, data / name, "echo", replica, **settings))
                uvloop.run(measure(name, gateway, nats))


if __name__ == "__main__":
    main()
