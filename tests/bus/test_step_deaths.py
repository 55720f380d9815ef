"""Who dies or leaves while models answer together, over a real bus: a step's worker, the router, the caller.

In each step of each mode (tests/support/step_faults.py), streamed and not.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from golek_client import Golek, JobCancelledError
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.played_worker import HANGS, HANGS_FIRST
from tests.support.players import SETTLE_S, Players, Told
from tests.support.step_ends import BOTH, all_at_once, check, check_nothing_is_left
from tests.support.step_faults import ROWS, VICTIM, Row

RUNNING = 2 * sum(row.counts for row in ROWS)
"""Steps of `v` that run once all rows have come to the step that is to fail."""
GONE = ("DEADLINE_EXCEEDED", "NO_WORKERS")
"""What a step of a worker that is not there any more ends in: that is known at once, or not before its time is over."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Players]:
    """Three workers whose models are played, and a router."""
    folder: Path = tmp_path_factory.mktemp("faults")
    (folder / "broker").mkdir()
    server = NatsServer(folder / "broker").start()
    with Players(server.url, folder / "fleet", routers=2) as made:
        yield made
    server.kill()


async def test_the_worker_of_a_step_is_killed_and_stays_away(fleet: Players) -> None:
    """While all steps run that are to fail. It is gone then for the steps behind them as well."""
    worker = fleet.members[VICTIM]
    async with Golek(fleet.url) as golek:
        asked = asyncio.create_task(all_at_once(fleet, golek, "killed", ROWS, HANGS, deadline_s=6.0))
        await fleet.until_active(golek, VICTIM, RUNNING)
        worker.kill()
        try:
            tolds = await asked
        finally:
            worker.start()
        for told in tolds:
            told.row = told.row.when_gone
            check(told, *GONE)
        await check_nothing_is_left(fleet, golek, tolds, VICTIM)


async def test_the_worker_of_a_step_is_killed_and_comes_back(fleet: Players) -> None:
    """Its steps run again once their leases have ended, and nobody notices but by the time."""
    async with Golek(fleet.url) as golek:
        asked = asyncio.create_task(run_again(fleet, golek, "back"))
        await fleet.until_hung(VICTIM, "back", RUNNING)
        fleet.members[VICTIM].kill()
        fleet.members[VICTIM].start(wait=False)
        await check_nothing_is_left(fleet, golek, check_well(await asked), VICTIM)


async def test_a_cancel_in_each_step(fleet: Players) -> None:
    """`golek cancel` ends the request, whatever runs of it: its caller hears CANCELLED, and never a partial answer."""
    async with Golek(fleet.url, deadline=20) as golek:
        receipts, streams = [], []
        for row in ROWS:
            req_id = row.req_id("cancel", streamed=False)
            receipts.append(await golek.submit(row.model, f"{req_id} {row.prompt(HANGS)}", req_id=req_id, **row.wish()))
            req_id = row.req_id("cancel", streamed=True)
            stream = golek.stream(row.model, f"{req_id} {row.prompt(HANGS)}", req_id=req_id, **row.wish())
            streams.append(await stream.__aenter__())
        await fleet.until_active(golek, VICTIM, RUNNING)
        for job in (*receipts, *streams):
            assert job.job_id is not None
            await golek.cancel(job.job_id)
        await fleet.until_active(golek, VICTIM, 0, SETTLE_S)
        for receipt in receipts:
            with pytest.raises(JobCancelledError):
                await golek.wait(receipt, 10)
        for stream in streams:
            with pytest.raises(JobCancelledError):
                _ = [piece async for piece in stream]
        await check_all_were_cancelled(fleet, golek, "cancel")


async def test_a_caller_who_leaves_in_each_step(fleet: Players) -> None:
    """Over NATS and over HTTP, waiting or reading: nothing of the request goes on."""
    async with Golek(fleet.url, deadline=20) as golek, httpx2.AsyncClient(base_url=fleet.http, timeout=20) as http:
        asked: list[asyncio.Task[Any]] = []
        for row in ROWS:
            for streamed in BOTH:
                req_id, prompt = row.req_id("left", streamed=streamed), row.prompt(HANGS)
                one = fleet.ask(golek, row, req_id, prompt, streamed=streamed, deadline_s=20)
                asked += [asyncio.create_task(one), asyncio.create_task(posted(http, row, streamed=streamed))]
        await fleet.until_active(golek, VICTIM, 2 * RUNNING)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await http.aclose()
        await fleet.until_active(golek, VICTIM, 0, SETTLE_S)
        await check_all_were_cancelled(fleet, golek, "left")
        await check_all_were_cancelled(fleet, golek, "http")


async def posted(http: httpx2.AsyncClient, row: Row, *, streamed: bool) -> Any:
    """One request over HTTP."""
    req_id = row.req_id("http", streamed=streamed)
    turns = [{"role": "user", "content": f"{req_id} {row.prompt(HANGS)}"}]
    body = {"model": row.model, "messages": turns, "stream": streamed} | row.wish()
    return await http.post("/v1/chat/completions", json=body, headers={"x-request-id": req_id})


async def check_all_were_cancelled(fleet: Players, golek: Golek, way: str) -> None:
    """Nothing is left of the requests of all rows, and the logs of router and worker say CANCELLED of what ran."""
    await check_nothing_is_left(fleet, golek, [])
    for row in ROWS:
        for streamed in BOTH:
            req_id = row.req_id(way, streamed=streamed)
            wanted, until = (["CANCELLED"], ["CANCELLED"] * row.counts), time.monotonic() + 10
            while (found := (fleet.ended("router", req_id, ""), fleet.ended(VICTIM, req_id, row.step))) != wanted:
                assert time.monotonic() < until, (req_id, found)  # logs are written a moment later
                await asyncio.sleep(0.05)


async def test_a_router_is_killed_while_steps_run(fleet: Players) -> None:
    """Another one takes its requests up and asks anew; what the first one had asked is not gone on with. A caller who
    only knows NATS gets one final message, too.
    """
    row = ROWS[-1]
    body = {"input": row.prompt(row.victims_own + HANGS_FIRST), "req_id": "router-plain", "deadline_ms": 24_000}
    async with Golek(fleet.url) as golek, raw.connected(fleet.url) as client:
        plain = await raw.stream(client, f"inference.request.{row.model}", body | row.wish())
        asked = asyncio.create_task(run_again(fleet, golek, "router"))
        await fleet.until_hung(VICTIM, "router", RUNNING + 1)
        fleet.routers[0].kill()
        fleet.add_router()
        await fleet.until_active(golek, VICTIM, 0)
        await check_nothing_is_left(fleet, golek, check_well(await asked))
        await plain.rest(24)
        assert (plain.final["text"], plain.joined(), plain.pending) == (row.well, row.well, 0)


async def run_again(fleet: Players, golek: Golek, fault: str) -> list[Told]:
    """All rows, where `v` hangs the first time that it is asked the step."""
    return await asyncio.gather(
        *(
            fleet.ask(
                golek, row, row.req_id(fault, streamed=streamed), row.prompt(row.victims_own + HANGS_FIRST),
                streamed=streamed, deadline_s=24,
            )
            for row in ROWS
            for streamed in BOTH
        )
    )  # fmt: skip


def check_well(tolds: list[Told]) -> list[Told]:
    for told in tolds:
        check(told, ends="well")
    return tolds
