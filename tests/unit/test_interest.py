"""Whether a router still listens that has a step run."""

import asyncio

import pytest

from golek_worker import interest
from golek_worker.interest import Interest


class Router:
    """What hears the words of one step, or does not."""

    def __init__(self) -> None:
        self.deaf = False
        self.told: asyncio.Queue[None] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.times_gone = 0
        self.interest = Interest(self.hear, self.lost)

    async def hear(self) -> None:
        self.told.put_nowait(None)
        if self.deaf:
            self.interest.bounced(0.05)

    def lost(self) -> None:
        self.times_gone += 1
        self.gone.set()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "EVERY_S", 0.002)
    monkeypatch.setattr(interest, "AGAIN_S", 0.01)


async def test_a_router_that_does_not_come_back_is_gone() -> None:
    """Nobody listens for longer than whoever reconnects needs: that is told once, and nobody is asked again."""
    router = Router()
    router.interest.begin()
    await router.told.get()
    router.deaf = True
    async with asyncio.timeout(5):
        await router.gone.wait()
    assert router.told.qsize() > 2
    told = router.told.qsize()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert (router.told.qsize(), router.times_gone) == (told, 1)


async def test_a_router_that_reconnects_is_not_gone() -> None:
    """It may be deaf again and again, each time for a moment."""
    router = Router()
    router.interest.begin()
    for _ in range(5):
        router.deaf = True
        for _ in range(2):
            await router.told.get()
        router.deaf = False
        for _ in range(3):
            await router.told.get()
    router.interest.end()
    assert router.times_gone == 0
