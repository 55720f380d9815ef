"""A router takes the requests for all models, and has others answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_client import Golek, ModelNotFoundError
from tests.support.workers import WorkerProcess


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[str]:
    """An echo worker and a router."""
    with WorkerProcess(nats_server, tmp_path / "echo"), WorkerProcess(nats_server, tmp_path / "router", "router"):
        yield nats_server


@pytest.mark.usefixtures("fleet")
async def test_auto_is_answered_by_a_worker_of_the_fleet(golek: Golek) -> None:
    """Who asks for `auto` gets a worker's answer, and is told whose."""
    reply = await golek.ask("auto", "one two three")
    assert reply.text == "one two three"
    assert reply.route is not None
    assert reply.route.target == "local:echo"
    assert reply.route.worker
    assert [tried.outcome for tried in reply.route.chain] == ["answered"]


@pytest.mark.usefixtures("fleet")
async def test_auto_is_streamed(golek: Golek) -> None:
    """The pieces of a stream through a router are its text."""
    async with golek.stream("auto", "one two three") as stream:
        pieces = [piece async for piece in stream]
    assert "".join(pieces) == stream.reply.text == "one two three"
    assert stream.reply.route is not None


@pytest.mark.usefixtures("fleet")
async def test_a_models_own_requests_pass_through(golek: Golek) -> None:
    """Requests for a model that a worker serves are answered as without a router, whoever received them."""
    replies = [await golek.ask("echo", f"number {i}") for i in range(40)]
    assert [reply.text for reply in replies] == [f"number {i}" for i in range(40)]
    assert all(reply.route is None and reply.model == "echo" for reply in replies)


@pytest.mark.usefixtures("fleet")
async def test_a_typo_is_told_at_once(golek: Golek) -> None:
    """A name that nobody knows is a 404 with what may have been meant, from the router."""
    with pytest.raises(ModelNotFoundError) as told:
        await golek.ask("ecco", "hello")
    assert told.value.details["did_you_mean"] == "echo"
