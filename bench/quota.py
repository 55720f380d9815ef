"""Do keys with limits ever get more than they may, and what does counting cost?

200 calls at once of a key that may make 20, over HTTP through two gateways and two workers, ten times, each with a key
of its own: what was spent, and how many were refused. 20 calls with a second's time are on their way when a gateway and
the worker that has them are killed, and others are started: how long until nothing is held, and what can be spent then.
How many writes 200 reservations take from two processes at once. And the same requests of a key with limits and of one
without, in turn.
"""

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import aiohttp
from support import WorkerProcess, broker, figure, median, note

from golek_client import Golek, InferenceServiceError
from golek_client.connection import connect
from golek_wire.keys import Budget, Key
from golek_worker.admission.quota import Ledger
from golek_worker.bus.quota import stored_records
from golek_worker.charging import Charging
from golek_worker.job import Charge, Job
from tests.support.fronts import GatewayProcess

BENCH = "quota"
RUNS = int(os.environ.get("QUOTA_RUNS", "10"))
CALLS = 200
MAY = 20
REQUESTS = int(os.environ.get("QUOTA_REQUESTS", "1000"))
AT_ONCE = 16


async def outcome(golek: Golek) -> str:
    try:
        await golek.ask("echo", "hi")
    except InferenceServiceError as error:
        return error.code
    return "ok"


async def ask(session: aiohttp.ClientSession, gateway: str, key: str, **body: object) -> int:
    """The status of one request."""
    asked = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]} | body
    about = {"authorization": f"Bearer {key}"}
    async with session.post(f"{gateway}/v1/chat/completions", json=asked, headers=about) as answer:
        await answer.read()
        return answer.status


async def at_once(gateways: Sequence[str], key: str, calls: int) -> Counter[int]:
    """Calls at once, by turns through the gateways: the statuses that came back."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        asked = (ask(session, gateways[number % len(gateways)], key) for number in range(calls))
        return Counter(await asyncio.gather(*asked))


async def account(url: str, key: str, patience_s: float) -> int:
    """Requests that the ledger says were spent, once nothing is held."""
    client = await connect(url, "bench")
    try:
        async with asyncio.timeout(patience_s):
            while True:
                found = (await stored_records(client, Ledger))[f"{key}.total"]
                if not [hold for hold in found.holds.values() if hold.until > time.time()]:
                    return found.spent.requests
                await asyncio.sleep(0.05)
    finally:
        await client.close()


async def burst(url: str, gateways: Sequence[str], number: int) -> tuple[Counter[int], int]:
    """200 calls at once: what came back, and what was spent."""
    met = await at_once(gateways, f"burst-{number}", CALLS)
    return met, await account(url, f"burst-{number}", 10)


async def doomed(gateway: GatewayProcess, slow: WorkerProcess) -> None:
    """20 calls of one second's time, of which none ends before gateway and worker are killed."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        words = " ".join(["word"] * 200)
        asked = {"messages": [{"role": "user", "content": words}], "deadline_ms": 1000}
        calls = [asyncio.create_task(ask(session, gateway.url, "doomed", **asked)) for _ in range(MAY)]
        await asyncio.sleep(0.5)
        gateway.kill()
        slow.kill()
        await asyncio.gather(*calls, return_exceptions=True)


async def writes(url: str) -> tuple[list[float], list[float]]:
    """Writes, and of them those that came too late, of 200 reservations from two processes' ledgers at once."""
    tried, late = [], []
    for number in range(RUNS):
        clients = [await connect(url, f"bench-{side}") for side in (1, 2)]
        sides = [await Charging.open(client, "", time.time) for client in clients]
        charge = Charge(Key(f"writes-{number}", budget=Budget(CALLS, "requests", "total")), 1)
        jobs = [Job(f"j{one}", "", "", False, charge.key.key_id, 0, 10_000, "", {}) for one in range(CALLS)]
        await asyncio.gather(*(sides[one % 2].reserve(job, charge) for one, job in enumerate(jobs)))
        tried.append(float(sum(side.records.writes for side in sides)))
        late.append(float(sum(side.records.conflicts for side in sides)))
        for side, client in zip(sides, clients, strict=True):
            await side.close()
            await client.close()
    return tried, late


async def paces(url: str) -> tuple[list[list[float]], list[list[float]]]:
    """Of a key with limits and of one without: seconds of one request, and requests per second at 16 at once."""
    alone: list[list[float]] = [[], []]
    together: list[list[float]] = [[], []]
    async with Golek(url, key="limited") as limited, Golek(url, key="unlimited") as unlimited:
        for golek in (limited, unlimited):
            assert await outcome(golek) == "ok"
        for _ in range(REQUESTS):
            for index, golek in enumerate((limited, unlimited)):
                began = time.perf_counter()
                await golek.ask("echo", "hi")
                alone[index].append(time.perf_counter() - began)
        for _ in range(RUNS):
            for index, golek in enumerate((limited, unlimited)):
                began = time.perf_counter()
                await asyncio.gather(*(_several(golek, REQUESTS // AT_ONCE // 4) for _ in range(AT_ONCE)))
                together[index].append(REQUESTS // AT_ONCE // 4 * AT_ONCE / (time.perf_counter() - began))
    return alone, together


async def _several(golek: Golek, count: int) -> None:
    for _ in range(count):
        await golek.ask("echo", "hi")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, ExitStack() as stack:
        url = stack.enter_context(broker())
        keys = Path(folder) / "keys.txt"
        bursts = "".join(f"burst-{number}:burst-{number} budget={MAY}req/total\n" for number in range(RUNS))
        limits = f"doomed:doomed budget={MAY}req/total\nlimited:limited rpm=100000000 budget=1000000000\n"
        keys.write_text(f"{bursts}{limits}unlimited:unlimited\n")
        keys.chmod(0o600)
        data = Path(folder)
        slow = WorkerProcess(url, data, "echo", GOLEK_KEY_FILE=keys, ENGINE_STEP_MIN_MS=100)
        with slow, GatewayProcess(url, data, GOLEK_KEY_FILE=keys) as gateway:
            asyncio.run(doomed(gateway, slow))
        killed_at = time.monotonic()
        for number in (1, 2):
            stack.enter_context(WorkerProcess(url, data, "echo", number, GOLEK_KEY_FILE=keys))
        fronts = [stack.enter_context(GatewayProcess(url, data, GOLEK_KEY_FILE=keys)) for _ in range(2)]
        gateways = [one.url for one in fronts]
        spent = asyncio.run(account(url, "doomed", 60))
        figure(BENCH, "held_after_kill", time.monotonic() - killed_at, 35, "s", 1)
        again = asyncio.run(at_once(gateways, "doomed", CALLS))
        figure(BENCH, "spent_after_kill", again[200] + spent, MAY, "requests", 1)
        found = [asyncio.run(burst(url, gateways, number)) for number in range(RUNS)]
        note(", ".join(f"{spent} spent: {dict(met)}" for met, spent in found))
        figure(BENCH, "spent_most", max(spent for _, spent in found), MAY, "requests", RUNS)
        figure(BENCH, "spent_least", min(spent for _, spent in found), MAY, "requests", RUNS)
        refused = [met[429] for met, _ in found]
        figure(BENCH, "refused_least", min(refused), CALLS - MAY, "requests", RUNS)
        figure(BENCH, "refused_most", max(refused), CALLS - MAY, "requests", RUNS)
        tried, late = asyncio.run(writes(url))
        figure(BENCH, "writes_of_200_from_two", median(tried), None, "writes", RUNS)
        figure(BENCH, "writes_too_late", median(late), None, "writes", RUNS)
        alone, together = asyncio.run(paces(url))
        figure(BENCH, "limited_p50", median(alone[0]) * 1e3, median(alone[1]) * 1e3, "ms", REQUESTS)
        figure(BENCH, "limited_at_16", median(together[0]), median(together[1]), "requests/s", RUNS)


if __name__ == "__main__":
    main()
