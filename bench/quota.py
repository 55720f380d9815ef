"""Do keys with limits ever get more than they may, and what does counting cost?

200 calls at once of a key that may make 20, over two workers, ten times, each with a key of its own: what was spent,
and how many were refused. How many writes 200 reservations take from two processes at once. And the same requests of a
key with limits and of one without, in turn.
"""

import asyncio
import os
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from support import WorkerProcess, broker, figure, median, note

from golek_client import Golek, InferenceServiceError
from golek_client.connection import connect
from golek_wire.keys import Budget, Key
from golek_worker.admission.quota import Ledger
from golek_worker.bus.quota import stored_records
from golek_worker.charging import Charging
from golek_worker.job import Charge, Job

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


async def burst(url: str, number: int) -> tuple[Counter[str], int]:
    """200 calls at once: what came back, and what the ledger says was spent once nothing is held."""
    async with Golek(url, key=f"burst-{number}", deadline=30) as golek:
        met = Counter(await asyncio.gather(*(outcome(golek) for _ in range(CALLS))))
    client = await connect(url, "bench")
    try:
        async with asyncio.timeout(10):
            while True:
                account = (await stored_records(client, Ledger))[f"burst-{number}.total"]
                if not account.holds:
                    return met, account.spent.requests
                await asyncio.sleep(0.02)
    finally:
        await client.close()


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
        keys.write_text(f"{bursts}limited:limited rpm=100000000 budget=1000000000\nunlimited:unlimited\n")
        keys.chmod(0o600)
        for number in (1, 2):
            stack.enter_context(WorkerProcess(url, Path(folder), "echo", number, GOLEK_KEY_FILE=keys))
        found = [asyncio.run(burst(url, number)) for number in range(RUNS)]
        note(", ".join(f"{spent} spent: {dict(met)}" for met, spent in found))
        figure(BENCH, "spent_most", max(spent for _, spent in found), MAY, "requests", RUNS)
        figure(BENCH, "spent_least", min(spent for _, spent in found), MAY, "requests", RUNS)
        refused = [met["RATE_LIMITED"] for met, _ in found]
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
