"""What do callers notice of a rolling restart?

Two replicas with DRAIN_S of 30 s, the load of bench/chaos.py; one replica after the other gets SIGTERM, every 5 s for
DRAIN_BENCH_S seconds, and is started again. An error is a request without its answer, with golek_client or without.
Then a worker with a long job gets SIGTERM twice.
"""

import asyncio
import os
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from support import WorkerProcess, broker, figure, note

from golek_client import Golek
from tests.support.faults import Faults
from tests.support.load import Load, Overhearing, left_in_queue, numbered

BENCH = "drain"
SECONDS = float(os.environ.get("DRAIN_BENCH_S", "60"))
DRAIN_S = 30
SETTINGS = {
    "ENGINE_STEP_MIN_MS": 5, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 16, "DRAIN_S": DRAIN_S,
    "GOLEK_LOG_LEVEL": "warning",
}  # fmt: skip
TOKENS = 20
LONG_TOKENS = 8000
"""40 s of text."""


async def rolling(url: str, workers: list[WorkerProcess]) -> None:
    """Restart one replica after the other under load."""
    ask = {"max_tokens": TOKENS, "ignore_eos": True}
    async with Overhearing(url) as heard:
        async with Load(heard, url, "echo", numbered(TOKENS), clients=18, raws=6, raw_patience_s=20, **ask) as load:
            took = await Faults(workers, seed=1).stop(SECONDS, 5.0)
        left = await left_in_queue(url, "echo")
    tally = load.tally
    for line in (tally.lost + tally.broken)[:20]:
        note(line)
    asked = len(tally.seconds) + len(tally.lost) + tally.raw_answered + tally.raw_lost
    figure(BENCH, "errors", len(tally.lost) + tally.raw_lost, None, "requests", asked)
    figure(BENCH, "broken", len(tally.broken), None, "answers", asked)
    figure(BENCH, "second_attempts", len(heard.gaps), None, "streams", asked)
    figure(BENCH, "duplicate_finals", heard.duplicate_finals, None, "messages", asked)
    figure(BENCH, "left_in_queue", left, None, "jobs", 1)
    figure(BENCH, "slowest_answer_s", max(tally.seconds), None, "s", len(tally.seconds))
    figure(BENCH, "slowest_exit_s", max(took), DRAIN_S + 2, "s", len(took))


async def end(url: str, worker: WorkerProcess, *, twice: bool) -> float:
    """Seconds from SIGTERM, or from the second one a second later, to the end, while a job runs for longer."""
    assert worker.process is not None
    async with Golek(url) as golek:
        stream = golek.stream("echo", "a b", max_tokens=LONG_TOKENS, ignore_eos=True)
        await anext(stream)
        start = time.monotonic()
        worker.signal(signal.SIGTERM)
        if twice:
            await asyncio.sleep(1)
            start = time.monotonic()
            worker.signal(signal.SIGTERM)
        await asyncio.to_thread(worker.process.wait)
        took = time.monotonic() - start
        await stream.aclose()
    return took


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, broker() as url, ExitStack() as stack:
        data = Path(folder)
        asyncio.run(
            rolling(url, [stack.enter_context(WorkerProcess(url, data, "echo", n + 1, **SETTINGS)) for n in range(2)])
        )
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, broker() as url:
        for name, twice, limit_s in (("second_sigterm_s", True, 2.0), ("exit_with_long_job_s", False, DRAIN_S + 2.0)):
            with WorkerProcess(url, Path(folder), **SETTINGS) as worker:
                figure(BENCH, name, asyncio.run(end(url, worker, twice=twice)), limit_s, "s", 1)


if __name__ == "__main__":
    main()
