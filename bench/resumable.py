"""What does a stream cost that is kept, beside one that is not?

Tokens per second of echo with gathering off, so that each token is a message: the worst case. Once read by
`golek_client`, once on the bare bus, where the reader does nothing; then streams side by side. Last, how long it takes
until a finished stream of 1,000 tokens is read again, and that the pieces are the same.
"""

import asyncio
import os
import time
from typing import Any

from support import broker, figure, median, note, worker

from golek_client import Golek
from golek_wire import subjects
from tests.support import raw

BENCH = "resumable"
TOKENS = int(os.environ.get("RESUMABLE_TOKENS", "1000"))
RUNS = int(os.environ.get("RESUMABLE_RUNS", "7"))
SIDE_BY_SIDE = 16
SETTINGS = {"STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": SIDE_BY_SIDE, "ENGINE_STEP_MIN_MS": 0}
PARAMS: dict[str, Any] = {"max_tokens": TOKENS, "ignore_eos": True}


async def by_client(golek: Golek, streams: int, *, resumable: bool) -> float:
    """Tokens per second of so many streams at once."""

    async def read() -> int:
        options = PARAMS | ({"resumable": True} if resumable else {})
        return len([piece async for piece in golek.stream("echo", "a", **options).pieces()])

    start = time.monotonic()
    pieces = await asyncio.gather(*(read() for _ in range(streams)))
    if set(pieces) != {TOKENS}:
        raise RuntimeError(f"{TOKENS} pieces each are wanted, there were {sorted(set(pieces))}")
    return streams * TOKENS / (time.monotonic() - start)


async def on_the_bus(url: str, *, resumable: bool) -> float:
    """Tokens per second of one stream whose reader only counts."""
    async with raw.connected(url) as client:
        body = {"input": "a", "params": PARAMS, "resumable": resumable}
        start = time.monotonic()
        streamed = await raw.stream(client, subjects.request("echo"), body)
        await streamed.rest()
        return TOKENS / (time.monotonic() - start)


async def compare(name: str, measure: Any) -> None:
    """Both kinds in turn, so that neither has the quieter machine."""
    kept, plain = [], []
    for _ in range(RUNS):
        plain.append(await measure(resumable=False))
        kept.append(await measure(resumable=True))
        note(f"{name}: {plain[-1]:.0f} tokens/s plain, {kept[-1]:.0f} kept")
    figure(BENCH, name, median(kept), median(plain), "tokens/s", RUNS)


async def read_again(golek: Golek) -> None:
    """How long until all of a finished stream is here again."""
    stream = golek.stream("echo", "a", **PARAMS, resumable=True)
    first = [piece async for piece in stream.pieces()]
    seconds, differ = [], 0
    for _ in range(RUNS):
        start = time.monotonic()
        again = [piece async for piece in golek.reopen(stream.job_id).pieces()]
        seconds.append(time.monotonic() - start)
        differ += again != first
    figure(BENCH, "read_again_ms", median(seconds) * 1000, None, "ms", RUNS)
    figure(BENCH, "read_again_differs", differ, None, "readings", RUNS)


async def measure(url: str) -> None:
    """All figures."""

    async def one(*, resumable: bool) -> float:
        return await by_client(golek, 1, resumable=resumable)

    async def many(*, resumable: bool) -> float:
        return await by_client(golek, SIDE_BY_SIDE, resumable=resumable)

    async def bare(*, resumable: bool) -> float:
        return await on_the_bus(url, resumable=resumable)

    async with Golek(url) as golek:
        await one(resumable=True)  # warm
        await compare("client_tokens_per_s", one)
        await compare(f"client_tokens_per_s_{SIDE_BY_SIDE}", many)
        await compare("bus_tokens_per_s", bare)
        await read_again(golek)


def main() -> None:
    """One broker, one worker."""
    with broker() as url, worker(url, **SETTINGS):
        asyncio.run(measure(url))


if __name__ == "__main__":
    main()
