"""Does anything grow?

SOAK_S seconds of mixed load, paced to about 80 % of what two workers can do, one of them echo and one golek-tiny: whole
answers, streams, cancels, bad requests, and requests whose deadline comes first. The resident memory of the broker, of
each worker and of each engine's child is read once a second. After SOAK_WARM_S, when caches and pools are filled,
its slope (Theil-Sen: the median of the slopes of all pairs) is printed for each process in MB a minute; the broker's is
for information. At the end both queues must be empty, and when their time has come the kept answers gone.
"""

import asyncio
import contextlib
import itertools
import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from support import WorkerProcess, figure, note, server

from golek_client import Golek
from golek_wire import subjects
from golek_wire.errors import BadRequestError, ContextBudgetExceededError, DeadlineExceededError, JobCancelledError
from tests.support.load import left_in_queue, left_in_stream

BENCH = "soak"
SECONDS = float(os.environ.get("SOAK_S", "600"))
WARM_S = float(os.environ.get("SOAK_WARM_S", str(min(120.0, SECONDS / 3))))
SLOTS = 8
CALLERS = 8
BUSY = 0.8
"""Each caller rests so long that it asks for this share of its time."""
TOKENS = 20
KEPT_S = 75.0
"""Longer than `golek_client` has its answers kept."""
SETTINGS = {"ENGINE_STEP_MIN_MS": 5, "WORKER_CONCURRENCY": SLOTS, "GOLEK_LOG_LEVEL": "warning"}
MODELS = ("echo", "golek-tiny")
WAYS = ("whole", "stream", "cancel", "bad", "late")
SHARES = (45, 45, 4, 4, 2)
ASK = {"max_tokens": TOKENS, "ignore_eos": True}


async def call(golek: Golek, model: str, way: str, prompt: str) -> None:
    """One request; the error that belongs to its way is no error."""
    match way:
        case "whole":
            await golek.ask(model, prompt, deadline=60, **ASK)
        case "stream":
            await golek.stream(model, prompt, deadline=60, **ASK).text()
        case "cancel":
            stream = golek.stream(model, prompt, deadline=60, max_tokens=400, ignore_eos=True)
            with contextlib.suppress(JobCancelledError):
                await anext(stream)
                await golek.cancel(stream.job_id)
                await stream.text()
        case "bad":
            with contextlib.suppress(BadRequestError, ContextBudgetExceededError):
                await golek.ask(model, prompt, deadline=60, max_tokens=50_000)
        case _:
            with contextlib.suppress(DeadlineExceededError):
                await golek.ask(model, prompt, deadline=0.3, max_tokens=400, ignore_eos=True)


async def caller(url: str, number: int, until: float, done: Counter[str], errors: list[str]) -> None:
    """Ask until `until`, each time in a way drawn by chance, and rest in between."""
    chance = random.Random(number)
    model = MODELS[number % len(MODELS)]
    async with Golek(url) as golek:
        for n in itertools.count():
            if time.monotonic() >= until:
                return
            way = chance.choices(WAYS, SHARES)[0]
            start = time.monotonic()
            try:
                await call(golek, model, way, f"{number} {n}")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
                errors.append(f"{model} {way}: {error!r}")
            done[way] += 1
            await asyncio.sleep((time.monotonic() - start) * (1 - BUSY) / BUSY)


async def watch(processes: dict[str, psutil.Process], until: float) -> dict[str, list[tuple[float, float]]]:
    """(minutes, MB) of each process, once a second after the warm-up."""
    begun = time.monotonic()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}
    await asyncio.sleep(WARM_S)
    while time.monotonic() < until:
        for name, process in processes.items():
            found[name].append(((time.monotonic() - begun) / 60, process.memory_info().rss / 1e6))
        await asyncio.sleep(1)
    return found


def theil_sen(points: list[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs of points (Theil 1950, Sen 1968)."""
    x, y = np.array(points).T
    first, second = np.triu_indices(len(x), 1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))


async def soak(url: str, processes: dict[str, psutil.Process]) -> None:
    """The load, and what it left."""
    until = time.monotonic() + SECONDS
    done: Counter[str] = Counter()
    errors: list[str] = []
    watching = asyncio.create_task(watch(processes, until))
    await asyncio.gather(*(caller(url, n, until, done, errors) for n in range(CALLERS * len(MODELS))))
    for error in errors[:20]:
        note(error)
    figure(BENCH, "requests", done.total(), None, "requests", 1)
    figure(BENCH, "errors", len(errors), None, "requests", done.total())
    for name, points in (await watching).items():
        figure(BENCH, f"rss_mb_{name}", points[-1][1], None, "MB", len(points))
        figure(BENCH, f"rss_slope_{name}", theil_sen(points), None, "MB/min", len(points))
    for model in MODELS:
        figure(BENCH, f"left_in_queue_{model}", await left_in_queue(url, model), None, "jobs", 1)
    left = await left_in_stream(url, f"KV_{subjects.RESULTS_BUCKET}", KEPT_S)
    figure(BENCH, "left_in_results", left, None, "results", 1)


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="golek-bench-") as folder,
        server() as broker,
        WorkerProcess(broker.url, Path(folder), MODELS[0], **SETTINGS) as echo,
        WorkerProcess(broker.url, Path(folder), MODELS[1], **SETTINGS) as tiny,
    ):
        processes = {"broker": psutil.Process(broker.pid)}
        for name, worker in (("echo", echo), ("tiny", tiny)):
            processes |= {f"worker_{name}": psutil.Process(worker.pid), f"child_{name}": worker.child}
        asyncio.run(soak(broker.url, processes))


if __name__ == "__main__":
    main()
