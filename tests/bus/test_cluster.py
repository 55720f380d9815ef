"""Three brokers that are one: what is stored lies on all of them, and one may die at any time."""

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from golek_client import BusUnavailableError, Golek
from golek_client.connection import close, connect, servers
from golek_wire.jetstream import ApiError
from golek_worker import process
from golek_worker.bus import cluster, embedded, streams
from golek_worker.bus.embedded import BrokerError
from golek_worker.bus.jetstream import is_passing
from golek_worker.machine import check, lifecycle
from tests.support import raw
from tests.support.cluster import NODES, NatsCluster, ask
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

PACED = {"ENGINE_STEP_MIN_MS": 10, "WORKER_CONCURRENCY": 8}
LONG = {"max_tokens": 150, "ignore_eos": True}
NUMBERED = "a" + "".join(f" #{n}" for n in range(1, 150))
JOBS = "GOLEK_JOBS_echo"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """A cluster that the tests of this file share; each leaves all nodes running."""
    started = NatsCluster(tmp_path_factory.mktemp("cluster")).start()
    yield started
    started.kill()


async def test_an_answer_outlives_the_leader_of_its_queue(three: NatsCluster, tmp_path: Path) -> None:
    """Every stream lies on three servers. The one that leads the queue is killed: the answer being written comes whole,
    and so does that of a request made meanwhile."""
    with WorkerProcess(three.url, tmp_path / "data", **PACED):
        async with Golek(three.url) as golek, raw.connected(three.url.split(",")) as client:
            listed = (await ask(client, "STREAM.LIST"))["streams"]
            assert {stream["config"]["num_replicas"] for stream in listed} == {NODES}
            assert JOBS in {stream["config"]["name"] for stream in listed}
            leader = await three.leader(client, JOBS)
            first = asyncio.create_task(golek.ask("echo", "a", deadline=40, **LONG))
            while (await golek.health("echo")).active == 0:
                await asyncio.sleep(0.02)
            leader.kill()
            try:
                assert (await golek.ask("echo", "b", deadline=40, max_tokens=1)).text == "b"
                assert (await first).text == NUMBERED
            finally:
                leader.start()


async def test_a_fleet_comes_back_with_its_whole_cluster(three: NatsCluster, tmp_path: Path) -> None:
    """All three servers are killed and started again: the answer that was being written comes, and so do later ones. A
    worker that starts while they elect their leaders waits for them."""
    with WorkerProcess(three.nodes[0].url, tmp_path / "data", **PACED):  # the other servers it learns from this one
        async with Golek(three.url) as golek:
            first = asyncio.create_task(golek.ask("echo", "a", deadline=50, **LONG))
            while (await golek.health("echo")).active == 0:
                await asyncio.sleep(0.02)
            three.kill()
            three.start()
            late = WorkerProcess(three.url, tmp_path / "data", "echo", 2, MODEL_NAME="late")
            try:
                await asyncio.to_thread(late.start)
                assert (await first).text == NUMBERED
                assert {"echo", "late"} <= {record.name for record in await golek.models()}
                assert (await golek.ask("echo", "b", max_tokens=1)).text == "b"
                assert (await golek.ask("late", "c", max_tokens=1)).text == "c"
            finally:
                late.end()


async def test_another_number_of_replicas_is_refused(three: NatsCluster, nats_server: str, tmp_path: Path) -> None:
    """The worker names both numbers and the ways out; on a single server it says that this is no cluster."""
    with WorkerProcess(three.url, tmp_path / "data"):
        pass
    problem = WorkerProcess(three.url, tmp_path / "data", NATS_REPLICAS=1).start_failing()
    assert "num_replicas: this worker wants 1, the fleet has 3; set NATS_REPLICAS=3, or change stream" in problem
    alone = WorkerProcess(nats_server, tmp_path / "data", NATS_REPLICAS=3).start_failing()
    assert alone.startswith("NATS_REPLICAS=3: this broker is a single server, and no cluster; `make nats-cluster`")


async def test_a_cluster_without_room_says_so_at_once(three: NatsCluster) -> None:
    """What the servers have no disk for is no election, and is not waited for."""
    client = await connect(three.url, "test")
    try:
        async with asyncio.timeout(15):
            with pytest.raises(streams.NoStorageError, match="no storage left for stream KV_HUGE"):
                await streams.ensure_stream(client, streams.bucket_config("HUGE") | {"max_bytes": 2**60})
    finally:
        await close(client)


async def test_connecting_goes_on_to_the_next_server(three: NatsCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether nobody listens at the first or the server there hangs; when none answers, all are named."""
    hanging = three.nodes[0]
    nobody = f"nats://127.0.0.1:{free_port()}"
    monkeypatch.setattr(random, "shuffle", lambda _: None)
    os.kill(hanging.pid, signal.SIGSTOP)
    try:
        client = await connect(f"{hanging.url},{nobody},{three.nodes[1].url}", "test")
        assert client.connected_url is not None
        assert client.connected_url.netloc == three.nodes[1].url.partition("//")[2]
        await close(client)
    finally:
        os.kill(hanging.pid, signal.SIGCONT)
    other = f"nats://127.0.0.1:{free_port()}"
    with pytest.raises(BusUnavailableError, match=f"no NATS server answers at {nobody},{other}.*make nats-cluster"):
        await connect(f"{nobody},{other}", "test")


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder; a cluster that runs from it is stopped afterwards."""
    yield tmp_path / "data"
    cluster.stop(tmp_path / "data")


async def test_a_cluster_is_started_mended_and_stopped(data: Path) -> None:
    """Three servers on the port given and two after it; a second start starts what is missing, at its old address, and
    nothing else; no single broker is started beside it."""
    url = f"nats://127.0.0.1:{free_port()}"
    ensured = await cluster.ensure(url, data)
    assert (ensured.started, ensured.nodes[0].url) == ((1, 2, 3), url)
    assert [int(node.url.rpartition(":")[2]) for node in ensured.nodes] == sorted(
        int(one.rpartition(":")[2]) for one in servers(ensured.shown)
    )
    client = await connect(ensured.shown, "test")
    assert client.cluster == "golek"
    await client.jetstream().add_stream(name="S", subjects=["s"], num_replicas=NODES)
    await close(client)
    victim = cluster.running(data)[1]
    os.kill(victim.process.pid, signal.SIGKILL)
    process.wait_or_kill(victim.process, 5)
    with pytest.raises(BrokerError, match=r"the cluster of GOLEK_DATA=.* runs at .*make nats-cluster"):
        await embedded.ensure(url, data)
    with pytest.raises(BrokerError, match=r"the cluster of GOLEK_DATA=.* runs at .*, not at"):
        await cluster.ensure(f"nats://127.0.0.1:{free_port()}", data)
    again = await cluster.ensure(url, data)
    assert (again.started, again.nodes) == ((1,), ensured.nodes)
    assert (await cluster.ensure(ensured.shown, data)).started == ()
    assert not (await embedded.ensure(ensured.shown, data)).started
    said: list[str] = []
    assert lifecycle.stop_broker(data, said.append)
    assert said == [f"broker {node.url} stopped" for node in ensured.nodes]
    assert not await embedded.is_up(ensured.shown)


async def test_a_cluster_takes_nobodys_place(nats_server: str, data: Path) -> None:
    """A broker that answers where the first node should listen is named, and nothing is started."""
    with pytest.raises(BrokerError, match=f"to listen at {nats_server}, where another broker answers"):
        await cluster.ensure(nats_server, data)
    for elsewhere in ("nats://192.0.2.1:4222", f"{nats_server},nats://127.0.0.1:1"):
        with pytest.raises(BrokerError, match="needs one loopback URL, whose port"):
            await cluster.ensure(elsewhere, data)
    assert cluster.running(data) == {}


async def test_a_deployment_of_a_cluster_that_is_down_says_how_to_start_it(tmp_path: Path) -> None:
    """Several URLs are a cluster, and a cluster is not started unasked."""
    url = f"nats://127.0.0.1:{free_port()},nats://127.0.0.1:{free_port()}"
    deployment = tmp_path / "worker.x.env"
    deployment.write_text(f"MODEL_NAME=x\nENGINE=echo\nNATS_URL={url}\nGOLEK_DATA={tmp_path / 'data'}\n")
    (wrong,) = await check.problems(deployment, {})
    assert (
        wrong
        == f"NATS_URL={url}: nobody answers there; `make nats-cluster` starts the servers of a cluster on this machine"
    )


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        ({"code": 503, "err_code": 10008, "description": "JetStream system temporarily unavailable"}, True),
        ({"code": 409, "err_code": 10158, "description": "duplicate message id is in process"}, True),
        ({"code": 503, "description": "raft: not leader"}, True),
        ({"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}, False),
        ({"code": 503, "description": "no space left on device"}, False),
    ],
)
def test_only_an_election_is_worth_another_try(error: dict[str, object], passing: bool) -> None:
    """A publish that a cluster refuses between two leaders is sent again; a full queue and a full disk are told."""
    assert is_passing(msgspec.convert(error, ApiError)) == passing
