"""A model's worker in trouble, with a router beside it: callers are answered by others where that is allowed, and are
told why not where it is not.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_client import Golek
from golek_wire.errors import InferenceServiceError, RateLimitedError
from tests.support.broker import NatsServer
from tests.support.troubled import Fault, Troubled

REQUESTS = 100
SHIPPED = ("ping_interval: 2s", "ping_max: 2", "write_deadline: 5s")
"""What the broker that Golek starts is told: by that it notices a frozen worker."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "broker").mkdir()
    server = NatsServer(tmp_path / "broker", *SHIPPED).start()
    yield server.url
    server.kill()


@pytest.mark.parametrize("fault", ["killed", "full", "stalled", "frozen"])
async def test_nothing_fails_where_a_cloud_may_answer(url: str, tmp_path: Path, fault: Fault) -> None:
    """Streams and single answers, those that wait and those that run when it happens."""
    async with Troubled(url, tmp_path, fault) as fleet:
        told = await fleet.load(REQUESTS)
    assert (told.errors, told.broken) == ({}, [])
    assert told.answered == REQUESTS
    assert told.by("standin:large")


@pytest.mark.timeout(120)
async def test_a_slow_worker_keeps_what_it_can_do_in_time(url: str, tmp_path: Path) -> None:
    """Five seconds to the first token, and more requests than fit into their deadlines: the cloud takes the rest."""
    async with Troubled(url, tmp_path, "slow") as fleet:
        told = await fleet.load(REQUESTS, callers=REQUESTS)
    assert (told.errors, told.broken) == ({}, [])
    assert told.by("standin:large")
    assert told.by("")


@pytest.mark.parametrize(
    ("fault", "errors"),
    [
        ("killed", {"DEADLINE_EXCEEDED", "NO_WORKERS"}),
        ("full", {"QUEUE_FULL"}),
        ("stalled", {"DEADLINE_EXCEEDED", "NO_WORKERS"}),
    ],
)
async def test_the_right_error_where_none_may(url: str, tmp_path: Path, fault: Fault, errors: set[str]) -> None:
    """A model that is its own workers' alone is answered by nobody else."""
    async with Troubled(url, tmp_path, fault, cloud=False) as fleet:
        told = await fleet.load(REQUESTS, deadline_s=8)
        assert fleet.cloud.asked == []
    assert set(told.errors) <= errors
    assert told.errors
    assert told.broken == []


async def test_a_dead_cloud_makes_five_requests_slow_and_comes_back(url: str, tmp_path: Path) -> None:
    """64 at once, at two routers: five wait for a cloud that hangs, the others go elsewhere. When it answers again it
    is asked again.
    """
    async with Troubled(url, tmp_path, routers=2) as fleet:
        fleet.cloud.always = "hang"
        async with Golek(url, deadline=10) as golek:
            await asyncio.gather(*(golek.ask("cloudy", "one") for _ in range(64)))
            waited = len(fleet.cloud.asked)
            assert waited <= 5
            fleet.cloud.always = None
            async with asyncio.timeout(20):
                while (await golek.ask("cloudy", "one")).text != fleet.cloud.text:
                    await asyncio.sleep(0.05)


async def test_a_cloud_that_refuses_costs_nothing(url: str, tmp_path: Path) -> None:
    """After five failures it is not asked, and requests are answered as quickly as without it."""
    async with Troubled(url, tmp_path) as fleet:
        fleet.cloud.always = "500"
        async with Golek(url, deadline=10) as golek:
            for _ in range(20):
                assert (await golek.ask("cloudy", "one")).text == "one"
            assert len(fleet.cloud.asked) <= 6  # a probe may have been due


async def test_a_pause_that_a_cloud_asks_for_is_kept(url: str, tmp_path: Path) -> None:
    """Retry-After: 7 means that it is not asked for seven seconds."""
    async with Troubled(url, tmp_path) as fleet:
        fleet.cloud.then("429")
        async with Golek(url, deadline=20) as golek:
            await golek.ask("cloudy", "one")
            began = time.monotonic()
            assert len(fleet.cloud.asked) == 1
            while len(fleet.cloud.asked) == 1:
                await golek.ask("cloudy", "one")
                await asyncio.sleep(0.02)
    assert 6.5 < time.monotonic() - began < 9


async def test_who_asks_a_cloud_that_pauses_hears_for_how_long(url: str, tmp_path: Path) -> None:
    """RATE_LIMITED and the rest of the pause, without asking it again; first by its word, then by what is known."""
    async with Troubled(url, tmp_path) as fleet:
        fleet.cloud.then("429")
        async with Golek(url, deadline=5) as golek:
            for _ in range(5):
                with pytest.raises(RateLimitedError) as told:
                    await golek.ask("standin:large", "one")
                assert 4000 < told.value.retry_after_ms <= 7000
            assert len(fleet.cloud.asked) == 1


async def test_without_anybody_else_the_error_is_the_clouds(url: str, tmp_path: Path) -> None:
    """Who asks the cloud's own model hears what it says, at once when its breaker is open."""
    async with Troubled(url, tmp_path) as fleet:
        fleet.cloud.always = "500"
        async with Golek(url, deadline=10) as golek:
            codes = list[str]()
            for _ in range(5):
                with pytest.raises(InferenceServiceError) as told:
                    await golek.ask("standin:large", "one")
                codes.append(told.value.code)
            assert codes[0] == "PROVIDER_FAILED"
            assert codes[-1] == "NO_WORKERS"
            assert len(fleet.cloud.asked) == 5


async def test_a_stream_that_lost_its_worker_goes_on_elsewhere(url: str, tmp_path: Path) -> None:
    """What was handed out stays, and the cloud writes behind it."""
    words = "one two three four " * 100
    async with Troubled(url, tmp_path, "killed") as fleet, Golek(url, deadline=30) as golek:
        pieces = list[str]()
        while not pieces:  # where the worker is slow to begin, the cloud writes all of it
            async with golek.stream("echo", words) as stream:
                first = await anext(stream)
                if words.startswith(first):
                    fleet.strike()
                    pieces = [first, *[piece async for piece in stream]]
    text = "".join(pieces)
    begun = text.removesuffix(fleet.cloud.text)
    assert text != begun
    assert begun
    assert words.startswith(begun)
    assert stream.reply.text == text
