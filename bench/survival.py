"""What does a caller see when something dies under its answer?

A 200-token paced stream of golek-tiny through `golek_client`; the engine's child is killed at a random token. Broken is
a stream whose joined deltas, final text and undisturbed text are not all equal. Then the worker is killed, and what is
left of it after 2 s is counted; then the child is frozen for good, and the caller's wait is measured beside 2 x STALL_S
+ a restart + the undisturbed time.
"""

import asyncio
import os
import random
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil
from support import WorkerProcess, broker, figure, median, note

from golek_client import Golek
from tests.support.leaving import left_later

BENCH = "survival"
RUNS = int(os.environ.get("SURVIVAL_RUNS", "20"))
MODEL = "golek-tiny"
TOKENS = 200
PACE_MS = 5
STALL_S = 10.0
SETTINGS = {"ENGINE_STEP_MIN_MS": PACE_MS, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 4}
ASK = {"max_tokens": TOKENS, "ignore_eos": True, "seed": 7, "temperature": 0.8, "deadline": 60.0}
PROMPT = "What is backpressure?"


class Killed(NamedTuple):
    """What came of killing engines under streams."""

    broken: int
    delays_s: list[float]
    """How much longer each disturbed stream took than the undisturbed one."""
    quiet_s: float
    """How long the undisturbed one took."""


async def kill_engines(url: str, workers: list[WorkerProcess]) -> Killed:
    """Kill the engine under RUNS streams. Raises RuntimeError when a kill did not meet its stream."""
    broken, delays = 0, []
    async with Golek(url) as golek:
        undisturbed, quiet_s = await stream(golek, [], None)
        for run in range(RUNS):
            text, seconds = await stream(golek, workers, random.randrange(1, TOKENS - 20))
            broken += text != undisturbed
            delays.append(seconds - quiet_s)
            note(f"{len(workers)} replica(s), kill {run + 1} of {RUNS}: {'same' if text == undisturbed else 'BROKEN'}")
    requeued = sum(len(worker.log_lines("job.requeued")) for worker in workers)
    if requeued != RUNS:
        raise RuntimeError(f"{RUNS} kills, but {requeued} streams lost their engine")
    return Killed(broken, delays, quiet_s)


async def stream(golek: Golek, workers: list[WorkerProcess], kill_at: int | None) -> tuple[str, float]:
    """One stream, with the engine that writes it killed at piece `kill_at`: its text and seconds."""
    start, pieces = time.monotonic(), []
    answer = golek.stream(MODEL, PROMPT, **ASK)
    async for piece in answer:
        pieces.append(piece)
        if len(pieces) == kill_at:
            busiest(workers).kill()
    joined = "".join(pieces)
    return (
        joined if joined == answer.reply.text else f"joined differs from final: {joined!r}"
    ), time.monotonic() - start


def busiest(workers: list[WorkerProcess]) -> psutil.Process:
    """The child that is decoding: the one that used most CPU just now."""
    children = [worker.child for worker in workers]
    before = {child: child.cpu_times().user for child in children}
    time.sleep(0.06 if len(children) > 1 else 0)
    return max(children, key=lambda child: child.cpu_times().user - before[child])


async def kill_workers(url: str, data: Path) -> int:
    """Processes left 2 s after a worker was killed: idle, in mid-decode, and while loading."""
    left = 0
    for run in range(RUNS):
        worker = WorkerProcess(url, data, MODEL, **SETTINGS).start(wait=run % 3 != 2)
        async with Golek(url) as golek:
            decoding = golek.stream(MODEL, PROMPT, **ASK)
            if run % 3 == 1:
                await anext(decoding)
            while run % 3 == 2 and not psutil.Process(worker.pid).children():
                await asyncio.sleep(0.001)
            family = psutil.Process(worker.pid).children(recursive=True)
            worker.kill()
            alive = await left_later(family, 2)
            left += len(alive)
            await decoding.aclose()
        note(f"worker killed {run + 1} of {RUNS}: {len(alive)} of {len(family)} processes left")
    return left


async def freeze(url: str, worker: WorkerProcess) -> float:
    """Seconds until a caller has its whole answer although the child was stopped for good at the 50th token."""
    start, count = time.monotonic(), 0
    async with Golek(url) as golek:
        answer = golek.stream(MODEL, PROMPT, **ASK)
        async for _ in answer:
            count += 1
            if count == 50:
                worker.child.send_signal(signal.SIGSTOP)
                start = time.monotonic()
        if answer.reply.tokens_out != TOKENS:
            raise RuntimeError(f"the answer has {answer.reply.tokens_out} tokens")
    return time.monotonic() - start


def main() -> None:
    """Each part has a broker of its own, so that no job of the one before is left in its queue."""
    killed = {}
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        for replicas in (1, 2):
            with ExitStack() as stack:
                url, data = stack.enter_context(broker()), Path(folder) / f"{replicas}"
                workers = [
                    stack.enter_context(WorkerProcess(url, data, MODEL, number + 1, **SETTINGS))
                    for number in range(replicas)
                ]
                killed[replicas] = asyncio.run(kill_engines(url, workers))
            figure(BENCH, f"streams_broken_{replicas}", killed[replicas].broken, None, "streams", RUNS)
            figure(BENCH, f"failover_child_p50_{replicas}", median(killed[replicas].delays_s), None, "s", RUNS)
        with broker() as url:
            left = asyncio.run(kill_workers(url, Path(folder) / "killed"))
        figure(BENCH, "processes_left", left, None, "processes", RUNS)
        with broker() as url, WorkerProcess(url, Path(folder) / "frozen", MODEL, STALL_S=STALL_S, **SETTINGS) as worker:
            waited = asyncio.run(freeze(url, worker))
        promised = 2 * STALL_S + median(killed[1].delays_s) + killed[1].quiet_s
        figure(BENCH, "frozen_child_answer", waited, promised, "s", 1)


if __name__ == "__main__":
    main()
