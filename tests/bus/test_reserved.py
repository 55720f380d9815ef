"""What does a worker say where the broker has set all its storage aside?"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from golek_client.bus_client import BusClient
from golek_client.connection import close, connect
from golek_wire import subjects
from golek_worker.bus import embedded, reserved
from golek_worker.bus.jetstream import api
from golek_worker.bus.streams import MismatchError, NoStorageError, ensure_stream, job_stream_config
from golek_worker.doctor import surroundings
from tests.support.broker import NatsServer
from tests.support.ports import free_port


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[BusClient]:
    """A broker whose storage two models' queues hold."""
    server = NatsServer(tmp_path, jetstream_options="max_file: 4GB").start()
    client = await connect(server.url, "test")
    for name in ("one", "two"):
        await ensure_stream(client, job_stream_config(name, 100))
    yield client
    await close(client)
    server.kill()


async def test_a_queue_that_is_there_is_found_where_no_other_has_room(full: BusClient) -> None:
    """A worker whose queue exists starts on a full broker, and hears of a difference as on any other."""
    await ensure_stream(full, job_stream_config("one", 100))
    with pytest.raises(MismatchError, match="QUEUE_CAPACITY: this worker wants 5, the fleet has 100"):
        await ensure_stream(full, job_stream_config("one", 5))


async def test_a_full_broker_names_the_queues_that_nobody_needs(full: BusClient) -> None:
    """Not those with jobs in them; the command that it gives makes room."""
    await full.jetstream().publish(subjects.job("two"), b"a job")
    with pytest.raises(NoStorageError, match=r"which reserves 2048 MiB; nobody takes jobs from 1 empty queues") as told:
        await ensure_stream(full, job_stream_config("three", 100))
    command = "STREAM.DELETE.GOLEK_JOBS_one"
    assert f"`golek req '$JS.API.{command}' ''`" in str(told.value)
    await api(full, command)
    await ensure_stream(full, job_stream_config("three", 100))
    assert await reserved.idle_queues(full) == ["GOLEK_JOBS_three"]


async def test_doctor_tells_when_the_brokers_storage_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker of this machine answers, and still has no room for another model."""
    url = f"nats://127.0.0.1:{free_port()}"
    monkeypatch.setenv("NATS_URL", url)
    monkeypatch.setattr(embedded, "room", lambda _: 5 * 2**30)
    await embedded.ensure(url, tmp_path)
    try:
        client = await connect(url, "test")
        await ensure_stream(client, job_stream_config("one", 100))
        roomy = await anext(surroundings.findings(tmp_path))
        await ensure_stream(client, job_stream_config("two", 100))
        full = await anext(surroundings.findings(tmp_path))
        await close(client)
    finally:
        embedded.stop(tmp_path)
    assert (roomy.verdict, "streams reserve 2.0 GiB of 5.0 GiB" in roomy.says) == ("ok", True)
    assert (full.verdict, full.says.endswith("no room for another model's queue")) == ("could be", True)
    assert "STREAM.DELETE.GOLEK_JOBS_" in full.do
