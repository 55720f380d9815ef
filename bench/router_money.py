"""What does the ledger add to a call of a cloud?

`reserve_p50_ms`: holding what a call may cost, for a key with a budget in money; a call waits for it.
`reserve_both_p50_ms`: where ROUTER_BUDGET counts as well. One call after the other, and 64 at once, of one key.
"""

import asyncio
import time

from support import broker, figure, median

from golek_client.connection import close, connect
from golek_wire.keys import Budget
from golek_worker.charging import Charging
from golek_worker.job import Job

BENCH = "router"
CALLS = 1000
AT_ONCE = 64
_PLENTY = Budget(10**12, "usd", "total")


async def one(charging: Charging, number: int) -> float:
    """The milliseconds that a call waits for its money."""
    job = Job(f"job-{number}", "", "", False, "ann", 0, 60_000, "", {}, money="1000000000000/total")
    began = time.perf_counter()
    due = await charging.reserve_money(job, 35)
    took = (time.perf_counter() - began) * 1000
    charging.settle_money(due, 35)
    return took


async def measured(url: str) -> None:
    client = await connect(url, "bench")
    try:
        for name, fleet_budget in (("reserve", None), ("reserve_both", _PLENTY)):
            charging = await Charging.open(client, "router", time.time, fleet_budget)
            alone = [await one(charging, number) for number in range(CALLS)]
            figure(BENCH, f"{name}_p50_ms", median(alone), None, "ms", CALLS)
            crowd = list[float]()
            for first in range(0, CALLS, AT_ONCE):
                crowd += await asyncio.gather(*(one(charging, first + number) for number in range(AT_ONCE)))
            figure(BENCH, f"{name}_64_p50_ms", median(crowd), None, "ms", len(crowd))
            await charging.close()
    finally:
        await close(client)


def money() -> None:
    """Print what holding money takes."""
    with broker() as url:
        asyncio.run(measured(url))


if __name__ == "__main__":
    money()
