"""What do callers notice of a member in trouble while several models answer them, in all five modes?

Three workers whose models are played (tests/support/played_worker.py: real workers, a text for each step), and a
router; FAULTS_N requests, one of each row of tests/support/step_faults.py after the other, by 16 callers, every second
one streamed, deadline 20 s. While they run the member `v`, whom every request has a step of, is killed and started
again after RESTART_S (`killed`), killed for good (`gone`), stopped as long by SIGSTOP (`frozen`); in every tenth
request it asks for a pause (`limited`); or the router is killed, with another one beside it (`router`). FAULTS names
the rounds to run.

For each round: how the requests ended; `hung`, past their deadline; `lost`, without any word of the fleet; `broken`,
whose pieces are not their text; `orphans`, jobs that are left in a queue, or ended later than 2 s after their request;
and what the median and the slowest answer took longer than without a fault.
"""

import asyncio
import os
import random
import signal
import tempfile
from collections import Counter
from pathlib import Path

from support import broker, figure, median, note

from golek_client import Golek
from tests.support import raw
from tests.support.players import MODELS, SETTLE_S, Players, Told
from tests.support.step_faults import ROWS, VICTIM, Row

BENCH = "orchestration_faults"
REQUESTS = int(os.environ.get("FAULTS_N", "300"))
FAULTS = ("killed", "gone", "frozen", "limited", "router")
ROUNDS = os.environ.get("FAULTS", ",".join(FAULTS)).split(",")
CALLERS = 16
DEADLINE_S = 20.0
STRIKE_AFTER = 0.2
"""Of the requests."""
RESTART_S = 3.0
PAUSE = {"code": "RATE_LIMITED", "details": {"retry_after_ms": 250}}
SHIPPED = ("ping_interval: 2s", "ping_max: 2", "write_deadline: 5s")


class Round:
    """One fault."""

    def __init__(self, fleet: Players, fault: str) -> None:
        self._fleet = fleet
        self._fault = fault
        self._striking: asyncio.Task[None] | None = None
        self._random = random.Random(1)

    async def run(self) -> list[Told]:
        """All requests, and what their callers were told."""
        numbers, tolds = iter(range(REQUESTS)), list[Told]()

        async def caller(golek: Golek) -> None:
            for number in numbers:
                if number == int(REQUESTS * STRIKE_AFTER):
                    self._striking = asyncio.create_task(self._strike())
                tolds.append(await self._ask(golek, number))

        async with Golek(self._fleet.url) as golek:
            await asyncio.gather(*(caller(golek) for _ in range(CALLERS)))
        if self._striking is not None:
            await self._striking
        return tolds

    async def _ask(self, golek: Golek, number: int) -> Told:
        row = ROWS[number % len(ROWS)]
        act = [PAUSE, row.victims_own] if self._fault == "limited" and self._random.random() < 0.1 else None
        return await self._fleet.ask(
            golek, row, f"{self._fault}-{number}-", row.prompt(act), streamed=number % 2 == 1, deadline_s=DEADLINE_S
        )

    async def _strike(self) -> None:
        worker = self._fleet.members[VICTIM]
        match self._fault:
            case "killed":
                worker.kill()
                await asyncio.sleep(RESTART_S)
                await asyncio.to_thread(worker.start)
            case "gone":
                worker.kill()
            case "frozen":
                worker.signal(signal.SIGSTOP)
                await asyncio.sleep(RESTART_S)
                worker.signal(signal.SIGCONT)
            case "router":
                self._fleet.routers[0].kill()
            case _:
                pass


async def orphans(fleet: Players, tolds: list[Told]) -> int:
    """What is left in queues, and what ended later than its request."""
    async with raw.connected(fleet.url) as client, Golek(fleet.url) as golek:
        left = sum(lies for lies, _, _ in (await fleet.settle(client)).values())
        for name in MODELS:
            await fleet.until_active(golek, name, 0, DEADLINE_S)
    await asyncio.sleep(1)  # logs are written a moment later
    late = sum(
        row["ts"] > told.ended_at + SETTLE_S
        for told in tolds
        for name in MODELS
        for row in fleet.rows(name, told.req_id)
    )
    return left + late


async def fault(name: str, usual: dict[str, list[float]]) -> None:
    """One round; `usual` has what each row takes without a fault, and is made by the round `none`."""
    with (
        tempfile.TemporaryDirectory() as folder,
        broker(*SHIPPED) as url,
        Players(url, Path(folder) / "fleet", routers=2) as fleet,
    ):
        if name == "router":
            await asyncio.to_thread(fleet.add_router)
        await Round(fleet, "warm").run()
        tolds = await Round(fleet, name).run()
        if name == "gone":  # whoever comes back later must find nothing of it
            await asyncio.to_thread(fleet.members[VICTIM].start)
        left = await orphans(fleet, tolds)
    for told in tolds:
        if name == "none" and told.end == "whole":
            usual.setdefault(told.row.name, []).append(told.took_s)
    report(name, tolds, left, usual)


def report(name: str, tolds: list[Told], left: int, usual: dict[str, list[float]]) -> None:
    ends = Counter(told.end for told in tolds)
    note(f"{name}: {dict(ends)}")
    errors = [told for told in tolds if told.error is not None]
    told_by_client = [told for told in errors if told.took_s >= DEADLINE_S]
    kinds = {
        "whole": ends["whole"],
        "partial": sum(count for end, count in ends.items() if end.startswith("partial")),
        "errors": len(errors),
        "hung": sum(told.took_s > DEADLINE_S + 0.5 for told in tolds),
        "lost": len(told_by_client),
        "broken": sum(told.reply is not None and told.pieces not in (None, told.reply.text) for told in tolds),
        "orphans": left,
    }
    for kind, count in kinds.items():
        unit = f"of {len(tolds)}"
        if kind == "errors" and errors:
            unit += f" {dict(Counter(told.end for told in errors))}"
        figure(BENCH, f"{name}_{kind}", count, None, unit, 1)
    answered = [told for told in tolds if told.reply is not None]
    added = sorted(told.took_s - _usual_s(told.row, usual) for told in answered)
    if added and name != "none":
        figure(BENCH, f"{name}_added_p50", 1000 * median(added), None, "ms", 1)
        figure(BENCH, f"{name}_added_p99", 1000 * added[int(len(added) * 0.99)], None, "ms", 1)
        figure(BENCH, f"{name}_added_max", 1000 * added[-1], None, "ms", 1)


def _usual_s(row: Row, usual: dict[str, list[float]]) -> float:
    return median(usual[row.name])


async def main() -> None:
    usual: dict[str, list[float]] = {}
    for name in ("none", *(one for one in FAULTS if one in ROUNDS)):
        await fault(name, usual)


if __name__ == "__main__":
    asyncio.run(main())
