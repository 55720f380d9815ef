"""What does a job that crashes its engine cost the others?

First POISON_RUNS times (20): a crasher among seven others that share its batch on one replica of 8 slots. Wrongly
buried is a dead letter of another job, and a crasher without one; a neighbour is unanswered when its text is not whole.

Then POISON_S seconds (60) of closed loops, 12 clients on two replicas, in halves that alternate: with a crasher every
10 s and without any; `ours` is answers per second with them, `peer` without, as medians of the halves. Each crasher
kills three engines before it is buried.
"""

import asyncio
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from support import WorkerProcess, broker, figure, median, note

from golek_client import Golek, InferenceServiceError, PoisonJobError

BENCH = "poison"
RUNS = int(os.environ.get("POISON_RUNS", "20"))
SECONDS = float(os.environ.get("POISON_S", "60"))
HALVES = 6
EVERY_S = 10.0
"""A half with crashers has one of them per so many seconds, at least one."""
CLIENTS = 12
SETTINGS = {"ENGINE_STEP_MIN_MS": 5, "WORKER_CONCURRENCY": 8, "GOLEK_LOG_LEVEL": "warning"}
CRASHER = "GOLEK_ECHO_CRASH"
TOKENS = 40
WHOLE = "a" + "".join(f" #{n}" for n in range(1, TOKENS))
DEADLINE_S = 60.0


async def among_seven(url: str) -> tuple[int, int, list[int]]:
    """Wrongly buried jobs, unanswered neighbours, and the crashes of each crasher."""
    wrong, unanswered, crashes = 0, 0, list[int]()
    async with Golek(url, deadline=DEADLINE_S) as golek:
        for run in range(RUNS):
            neighbours = [asyncio.create_task(answered(golek)) for _ in range(7)]
            await asyncio.sleep(0.05)
            try:
                await golek.ask("echo", CRASHER, req_id=f"crasher-{run}")
            except PoisonJobError as error:
                crashes.append(error.details["crashes"])
            unanswered += 7 - sum(await asyncio.gather(*neighbours))
            letters = await golek.dead_letters()
            buried = [letter.req_id for letter in letters]
            wrong += (buried.count(f"crasher-{run}") == 0) + sum(not name.startswith("crasher-") for name in buried)
            for letter in letters:
                await golek.drop(letter.job_id)
            note(f"crasher {run + 1} of {RUNS}: {len(buried)} letter(s), {crashes[-1:]} crashes")
    return wrong, unanswered, crashes


async def answered(golek: Golek) -> bool:
    """Whether one ordinary request comes back whole."""
    try:
        return (await golek.ask("echo", "a", max_tokens=TOKENS, ignore_eos=True)).text == WHOLE
    except InferenceServiceError as error:
        note(f"a neighbour got {error.code}")
        return False


async def throughput(url: str, seconds: float, crashers: int) -> float:
    """Answers per second of CLIENTS closed loops while so many crashers come, evenly spread."""
    async with Golek(url, deadline=DEADLINE_S) as golek:
        began, ends = time.monotonic(), time.monotonic() + seconds

        async def loop() -> int:
            done = 0
            while time.monotonic() < ends:
                done += await answered(golek)
            return done

        loops = [asyncio.create_task(loop()) for _ in range(CLIENTS)]
        poisons = []
        for _ in range(crashers):
            poisons.append(asyncio.create_task(golek.ask("echo", CRASHER)))
            await asyncio.sleep(seconds / crashers)
        answers = sum(await asyncio.gather(*loops))
        took = time.monotonic() - began
        ended = await asyncio.gather(*poisons, return_exceptions=True)
        if not all(isinstance(end, PoisonJobError) for end in ended):
            raise RuntimeError(f"crashers ended as {ended}")
        return answers / took


async def halves(url: str) -> tuple[list[float], list[float]]:
    """Rates with crashers and without, interleaved."""
    seconds = SECONDS / HALVES
    crashers = max(1, round(seconds / EVERY_S))
    with_them, without = [], []
    await throughput(url, 1.0, 0)
    for number in range(HALVES // 2):
        without.append(await throughput(url, seconds, 0))
        with_them.append(await throughput(url, seconds, crashers))
        note(f"halves {number + 1}: {without[-1]:.0f}/s without, {with_them[-1]:.0f}/s with {crashers} crasher(s)")
    return with_them, without


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        with broker() as url, WorkerProcess(url, Path(folder) / "one", **SETTINGS):
            wrong, unanswered, crashes = asyncio.run(among_seven(url))
        figure(BENCH, "buried_wrong", wrong, None, "jobs", RUNS)
        figure(BENCH, "crashes_per_poison", sum(crashes) / len(crashes), None, "crashes", RUNS)
        figure(BENCH, "neighbours_unanswered", unanswered, None, "answers", RUNS)
        with ExitStack() as stack:
            url = stack.enter_context(broker())
            for number in (1, 2):
                stack.enter_context(WorkerProcess(url, Path(folder) / "two", "echo", number, **SETTINGS))
            with_them, without = asyncio.run(halves(url))
        figure(BENCH, "throughput_of_others", median(with_them), median(without), "answers/s", HALVES)


if __name__ == "__main__":
    main()
