"""Fixtures of tests against a monitor of a fleet that is not there."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from golek_monitor.picture import Picture
from tests.support import fleets, sample_monitor
from tests.support.fleets import Time


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def seen(time: Time) -> Picture:
    """Five workers of five models, which are heard for so long that they have rates."""
    picture = fleets.picture(5, time)
    time.passed += 3
    return picture


@pytest.fixture
async def url(seen: Picture) -> AsyncIterator[str]:
    async with sample_monitor.serving(seen) as url:
        yield url


@pytest.fixture
async def web(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url) as client:
        yield client
