"""Nonsense: a worker answers what can be answered, with an error of the caller's own, and stays as it is."""

from pathlib import Path

import pytest

from golek_client import Golek
from tests.support.broker import NatsServer
from tests.support.hostile import WRONG, Volley, connection, messages, of_every_size
from tests.support.workers import WorkerProcess

COUNT = 1500
LIMIT = 1024 * 1024 - 16 * 1024


@pytest.mark.timeout(60)
async def test_nonsense_is_answered_and_changes_nothing(tmp_path: Path) -> None:
    """Each request with an inbox ends in one final message, an error below 500 or an answer; the connection stays."""
    server = NatsServer(tmp_path, "http: 127.0.0.1:-1").start()
    try:
        with WorkerProcess(server.url, tmp_path / "data") as worker:
            before = connection(server, worker.state().worker_id)
            volley = await Volley.open(server.port)
            await volley.fire(messages(COUNT, seed=1))
            await volley.fire(of_every_size(LIMIT, step=64))
            unanswered = await volley.unanswered(10)
            await volley.close()
            assert (len(unanswered), volley.repeated()) == (0, 0)
            assert len(volley.asked) > COUNT / 2
            assert set(volley.classes()) <= WRONG | {200}
            assert volley.classes()[413] >= 16
            assert connection(server, worker.state().worker_id) == before
            assert worker.log_lines("request.failed") == worker.log_lines("nats.reconnected") == []
            async with Golek(server.url, deadline=5) as golek:
                assert (await golek.ask("echo", "still here")).text == "still here"
                assert await golek.dead_letters() == []
                assert [record.name for record in await golek.models()] == ["echo"]
    finally:
        server.kill()
