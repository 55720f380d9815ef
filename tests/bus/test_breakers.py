"""Breakers of several routers, through a real broker."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from golek_client.connection import close, connect, flush
from golek_worker.bus.breakers import SharedBreakers
from golek_worker.router.breakers import Breakers, Ticket


class Router:
    """The breakers of a router on a connection of its own."""

    def __init__(self, client: Client, name: str, shared: SharedBreakers, breakers: Breakers) -> None:
        self.client, self.name, self.shared, self.breakers = client, name, shared, breakers
        self.task = asyncio.create_task(shared.run())

    @classmethod
    async def open(cls, url: str, name: str) -> "Router":
        client = await connect(url, name)
        breakers = Breakers(name, time.monotonic)
        shared = SharedBreakers(client, name, time.time, breakers.hear)
        breakers.share(shared.tell)
        await shared.start()
        await flush(client)
        return cls(client, name, shared, breakers)

    async def becomes(self, target: str, state: str) -> None:
        async with asyncio.timeout(5):
            while self.breakers.state(target) != state:
                await asyncio.sleep(0.01)  # a note of another router is heard, not awaited

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await close(self.client)


@pytest.fixture
async def routers(nats_server: str) -> AsyncIterator[list[Router]]:
    found = [await Router.open(nats_server, name) for name in ("r1", "r2")]
    yield found
    for router in found:
        await router.end()


def break_open(breakers: Breakers, target: str, retry_after_s: float = 60.0) -> None:
    for _ in range(5):
        ticket = breakers.enter(target)
        assert isinstance(ticket, Ticket)
        ticket.failed("refused", retry_after_s)


async def test_every_router_hears_of_a_dead_target(routers: list[Router]) -> None:
    """It opens at one and is open at the other, and an answer at the other closes it at the first."""
    first, second = routers
    break_open(first.breakers, "openai:gpt-5.2")
    await second.becomes("openai:gpt-5.2", "open")
    assert "refused" in second.breakers.described()["openai:gpt-5.2"]
    break_open(first.breakers, "local:a", retry_after_s=0.0)
    await second.becomes("local:a", "half_open")
    probe = second.breakers.enter("local:a")
    assert isinstance(probe, Ticket)
    probe.answered()
    await first.becomes("local:a", "closed")


async def test_a_router_that_starts_knows_what_others_found_out(routers: list[Router], nats_server: str) -> None:
    """The bucket tells, also what it wrote itself before it was started again."""
    break_open(routers[0].breakers, "openai:x")
    await routers[1].becomes("openai:x", "open")
    for name in ("r3", "r1"):
        late = await Router.open(nats_server, name)
        assert late.breakers.state("openai:x") == "open"
        await late.end()


async def test_what_was_missed_is_read_after_a_reconnect(routers: list[Router]) -> None:
    """And what this router knows is said again."""
    first, second = routers
    break_open(first.breakers, "a:b")
    await second.becomes("a:b", "open")
    second.breakers = Breakers("r2", time.monotonic)
    second.shared = SharedBreakers(second.client, "r2", time.time, second.breakers.hear)
    await second.shared.reconnected(second.breakers.notes())
    assert second.breakers.state("a:b") == "open"
