"""What does it cost that a model comes and goes?

RESIDENCY_CYCLES times (100) a model, the file ENGINE_MODEL or else golek-tiny, is unloaded and loaded; every tenth
time by requests that come while it is not there. Then workers are started RESIDENCY_ROUNDS times (5): how long the
first load of a start takes, when the file is warm, and how long the next one of the same worker. Last, a worker with
a MODEL_TTL of RESIDENCY_TTL_S seconds is asked how it is, and monitored, until it has unloaded its model.
"""

import asyncio
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

import psutil
from support import WorkerProcess, broker, figure, median, note

from golek_client import Golek
from golek_wire import subjects
from golek_worker.machine import runfile
from tests.support import raw

BENCH = "residency"
CYCLES = int(os.environ.get("RESIDENCY_CYCLES", "100"))
ROUNDS = int(os.environ.get("RESIDENCY_ROUNDS", "5"))
TTL_S = float(os.environ.get("RESIDENCY_TTL_S", "5"))
MODEL = os.environ.get("ENGINE_MODEL", "")
NAME = "golek-tiny"
CALLERS = 8
SETTINGS = {"CTX_SIZE": 512, "GOLEK_LOG_LEVEL": "info"} | ({"MODEL_PATH": MODEL} if MODEL else {})
MIB = 2**20


def family(worker: WorkerProcess) -> int:
    """How many processes the worker has beside itself."""
    return len(psutil.Process(worker.pid).children(recursive=True))


async def cycles(url: str, worker: WorkerProcess) -> None:
    """Unload and load, and look what is left each time."""
    process, resident, left, loads, answers = psutil.Process(worker.pid), [], 0, [], []
    async with Golek(url, deadline=60) as golek:
        for cycle in range(CYCLES):
            (gone,) = await golek.unload(NAME, worker_id=runfile.worker_id(NAME, 1))
            assert gone.problem is None, gone
            left += family(worker)
            resident.append(process.memory_info().rss / MIB)
            if cycle % 10 == 9:
                asked = [golek.ask(NAME, "hi", max_tokens=4, ignore_eos=True, raw=True) for _ in range(CALLERS)]
                answers += await asyncio.gather(*asked, return_exceptions=True)
                continue
            (back,) = await golek.load(NAME, worker_id=runfile.worker_id(NAME, 1))
            assert back.status == "online", back
            loads.append(back.seconds)
    began = worker.log_lines("model.loading")
    figure(BENCH, "processes_left", left, None, "processes", CYCLES)
    figure(BENCH, "worker_rss_last_mib", median(resident[-10:]), median(resident[:10]), "MiB", CYCLES)
    figure(BENCH, "worker_rss_most_mib", max(resident), None, "MiB", CYCLES)
    figure(
        BENCH,
        "answered_during_load",
        sum(not isinstance(a, BaseException) for a in answers),
        len(answers),
        "answers",
        len(answers),
    )
    figure(BENCH, "loads", len(began), CYCLES + 1, "loads", 1)
    figure(BENCH, "load_s", median(loads), None, "s", len(loads))


def between(worker: WorkerProcess, first: str, second: str) -> float:
    """Seconds in the worker's log between its first lines of two events."""
    times = [datetime.fromisoformat(worker.log_lines(event)[0]["timestamp"]) for event in (first, second)]
    return (times[1] - times[0]).total_seconds()


async def second_load(url: str) -> float:
    """Seconds of a load in a worker that had the model before."""
    async with Golek(url) as golek:
        await golek.unload(NAME, worker_id=runfile.worker_id(NAME, 1))
        (back,) = await golek.load(NAME, worker_id=runfile.worker_id(NAME, 1))
    return back.seconds


async def polled(url: str, worker: WorkerProcess) -> float:
    """Seconds until a model that everybody asks about, and nobody asks anything, is gone; at most three MODEL_TTL."""
    began = time.monotonic()
    async with raw.connected(url) as client, Golek(url) as golek:
        await client.subscribe(subjects.load_report(NAME))
        await client.subscribe(subjects.heartbeat(NAME))
        while family(worker) and time.monotonic() - began < 3 * TTL_S:
            await golek.health(NAME)
            await raw.ask(client, "$SRV.STATS.golek", {})
            await golek.models()
            await asyncio.sleep(0.02)
    return time.monotonic() - began


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, broker() as url:
        data = Path(folder)
        note(f"{CYCLES} cycles")
        with WorkerProcess(url, data / "cycles", NAME, **SETTINGS) as worker:
            asyncio.run(cycles(url, worker))
        first, second = [], []
        for number in range(ROUNDS):
            with WorkerProcess(url, data / str(number), NAME, **SETTINGS) as worker:
                first.append(between(worker, "model.loading", "model.loaded"))
                second.append(asyncio.run(second_load(url)))
        figure(BENCH, "second_load_s", median(second), median(first), "s", ROUNDS)
        with WorkerProcess(url, data / "ttl", NAME, MODEL_TTL=f"{TTL_S:g}s", **SETTINGS) as worker:
            figure(BENCH, "polled_until_unloaded_s", asyncio.run(polled(url, worker)), 2 * TTL_S, "s", 1)


if __name__ == "__main__":
    main()
