"""A client and a scripted worker on a real server."""

from collections.abc import AsyncIterator

import pytest

from golek_client import Golek
from tests.support.scripted_worker import ScriptedWorker


@pytest.fixture
async def mute(nats_server: str) -> AsyncIterator[ScriptedWorker]:
    """A scripted worker that does not take requests yet."""
    scripted = await ScriptedWorker.start(nats_server)
    yield scripted
    await scripted.close()


@pytest.fixture
async def worker(mute: ScriptedWorker) -> ScriptedWorker:
    """A scripted worker that takes the requests for the model `tiny`."""
    return await mute.listen()


@pytest.fixture
async def golek(nats_server: str) -> AsyncIterator[Golek]:
    """A client."""
    async with Golek(nats_server, deadline=10.0) as client:
        yield client
