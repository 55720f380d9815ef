"""What do callers notice when a model's worker is in trouble and a router may ask a cloud, and when it may not?

One echo worker with eight slots, a router, and a stand-in cloud on a real socket. FAULTS_N requests of golek_client,
every second one streamed, deadline 30 s, by 64 callers (256 with `slow`): worker killed; its queue full; its engine
stopped; the worker itself stopped; five seconds to the first token. With the cloud allowed nothing may fail; without
it callers hear why. FAULTS names the rounds to run.

*Added* is what an answer of the cloud took longer than one of the cloud's model itself through the same router. Then
the breaker: how many requests a cloud that hangs makes slow, what the next ones take, and when it is back.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

from support import broker, figure, median, note

from golek_client import Golek
from tests.support.troubled import FAULTS, Fault, Told, Troubled

BENCH = "router_faults"
REQUESTS = int(os.environ.get("FAULTS_N", "1000"))
ROUNDS = os.environ.get("FAULTS", ",".join([*FAULTS, "breaker"])).split(",")
SHIPPED = ("ping_interval: 2s", "ping_max: 2", "write_deadline: 5s")
SLOW_S = 1.0
"""A request that takes longer is slow: without a fault one takes a tenth of that."""


async def fault(name: Fault, *, cloud: bool) -> None:
    """One round."""
    with tempfile.TemporaryDirectory() as folder, broker(*SHIPPED) as url:
        async with Troubled(url, Path(folder), name, cloud=cloud) as fleet:
            usual = await direct(fleet) if cloud else []
            told = await fleet.load(REQUESTS, callers=256 if name == "slow" else 64)
    kind = f"{name}_{'cloud' if cloud else 'alone'}"
    for line in told.broken[:5]:
        note(line)
    failed = sum(told.errors.values()) + len(told.broken)
    figure(BENCH, f"{kind}_failed", failed, None, f"of {REQUESTS} {dict(told.errors) or ''}".strip(), 1)
    if cloud:
        others = told.by("standin:large")
        figure(BENCH, f"{kind}_by_cloud", len(others), None, "requests", 1)
        for share in (0.5, 0.99, 1.0) if others else ():
            added_s = others[min(int(len(others) * share), len(others) - 1)] - median(usual)
            figure(BENCH, f"{kind}_added_p{share * 100:.0f}", added_s, None, "s", 1)


async def direct(fleet: Troubled) -> list[float]:
    """What requests take that ask for the cloud's model."""
    took = []
    async with Golek(fleet.url, deadline=30) as golek:
        for _ in range(50):
            began = time.monotonic()
            await golek.ask("standin:large", "hello")
            took.append(time.monotonic() - began)
    return took


async def breaker() -> None:
    """A cloud that hangs, asked by 64 callers at once with the model's worker as the second choice."""
    with tempfile.TemporaryDirectory() as folder, broker(*SHIPPED) as url:
        async with Troubled(url, Path(folder), routers=2) as fleet:
            await asyncio.sleep(3)  # until all have heard of each other
            fleet.cloud.always = "hang"
            told = await fleet.load(REQUESTS, model="cloudy")
            report(told, "dead")
            fleet.cloud.always = None
            began = time.monotonic()
            async with Golek(fleet.url, deadline=30) as golek:
                while (await golek.ask("cloudy", "hello")).text != fleet.cloud.text:
                    await asyncio.sleep(0.05)
            figure(BENCH, "breaker_back", time.monotonic() - began, None, "s", 1)


def report(told: Told, name: str) -> None:
    seconds = sorted(took for took, _ in told.seconds)
    figure(BENCH, f"breaker_{name}_slow", sum(took > SLOW_S for took in seconds), None, f"of {REQUESTS}", 1)
    figure(BENCH, f"breaker_{name}_failed", sum(told.errors.values()), None, f"of {REQUESTS}", 1)
    figure(BENCH, f"breaker_{name}_p50", median(seconds), None, "s", 1)


async def main() -> None:
    for name in ROUNDS:
        if name == "breaker":
            await breaker()
        for one in FAULTS:
            if one == name:
                await fault(one, cloud=True)
                await fault(one, cloud=False)


if __name__ == "__main__":
    asyncio.run(main())
