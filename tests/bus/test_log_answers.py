"""Requests that workers of other machines answered, asked for over the bus."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from golek_client import Golek
from golek_monitor.logs.asking import Query
from golek_monitor.logs.explorer import Explorer
from golek_wire import codec, headers
from golek_wire.errors import NotFoundError
from golek_wire.logs import LogQuery, LogReport
from tests.support import raw
from tests.support.workers import WorkerProcess

PATIENCE_S = 10.0
SECRET = "nobody elsewhere reads this"


async def settled(look: Callable[[], Awaitable[bool]]) -> None:
    """Rows are written a moment after the answer."""
    until = time.monotonic() + PATIENCE_S
    while not await look():
        assert time.monotonic() < until, "the rows never came"
        await asyncio.sleep(0.05)


async def test_requests_of_other_machines_are_found(nats_server: str, tmp_path: Path) -> None:
    """Each once, though two replicas share one file; with all that the log has but texts."""
    first, second = tmp_path / "first", tmp_path / "second"
    with (
        WorkerProcess(nats_server, first),
        WorkerProcess(nats_server, first, replica=2),
        WorkerProcess(nats_server, second, replica=3),
    ):
        async with raw.connected(nats_server) as client, Golek(nats_server) as golek:
            explorer = Explorer(tmp_path / "monitor", golek=golek)
            for number in range(12):
                body = {"input": SECRET, "req_id": f"label-{number}"}
                await raw.ask(client, "inference.request.echo", body)
            everywhere = Query(everywhere=True)

            async def all_written() -> bool:
                return len((await explorer.search(everywhere)).requests) == 12

            await settled(all_written)
            found = await explorer.search(everywhere)
            assert [one.req_id for one in found.requests] == [f"label-{number}" for number in reversed(range(12))]
            assert {log.path for log in found.logs} <= {
                str(data / "logs" / "echo.sqlite") for data in (first, second)
            }  # fmt: skip
            assert {one.model_name for one in found.requests} == {"echo"}
            assert found.requests[0].input_chars == len(SECRET)
            assert (await explorer.search(Query())).requests == []
            assert SECRET.encode() not in codec.encode(found)

            seen, before = [], ""
            while True:
                page = await explorer.search(Query(everywhere=True, limit=5, before=before))
                seen += [one.req_id for one in page.requests]
                if page.next is None:
                    break
                before = page.next
            assert seen == [f"label-{number}" for number in reversed(range(12))]

            story = (await explorer.find("label-7")).story
            assert story is not None
            assert (story.req_id, story.model_name, story.attempts[0].texts) == ("label-7", "echo", None)
            assert story.attempts[0].phases
            here = Explorer(first, golek=golek, show_prompts=True)
            mixed = await here.search(everywhere)
            assert [one.req_id for one in mixed.requests] == [f"label-{number}" for number in reversed(range(12))]


async def test_a_log_that_cannot_be_read_is_named(nats_server: str, tmp_path: Path) -> None:
    """The worker that has it says why; its fleet is served nevertheless."""
    with WorkerProcess(nats_server, tmp_path) as worker:
        async with Golek(nats_server) as golek:
            assert (await golek.ask("echo", "hi")).text == "hi"
            log = worker.data / "logs" / "echo.sqlite"
            log.rename(log.with_suffix(".away"))
            log.mkdir()
            (report,) = await golek.logged("echo", LogQuery())
            assert (report.requests, report.problem) == ([], "the file is gone")
            assert (await golek.ask("echo", "hi")).text == "hi"


async def test_who_is_asked_for_too_much_refuses(nats_server: str, tmp_path: Path) -> None:
    """A model that nobody knows is an error; a query that is none is refused by its field."""
    with WorkerProcess(nats_server, tmp_path):
        async with Golek(nats_server) as golek, raw.connected(nats_server) as client:
            with pytest.raises(NotFoundError):
                await golek.logged("never-there", LogQuery())
            told, message = await raw.ask(client, "models.echo.log", {"limit": 500})
            assert told["error"]["status"] == 400
            assert "limit" in told["error"]["message"]
            assert (message.headers or {})[headers.ERROR_CODE] == "400"
            _, message = await raw.ask(client, "models.echo.log", b"")
            assert codec.decode(message.data, LogReport).model_name == "echo"
