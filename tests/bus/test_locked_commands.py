"""What do the commands say to a tenant of a locked fleet, and a worker that was not told of tenants?"""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_client import ForbiddenError, Golek
from golek_client.login import Login
from golek_wire import subjects
from tests.bus.test_acl import ALICE, PASSWORDS, SHIPPED, locked
from tests.support import programs
from tests.support.broker import NatsServer
from tests.support.certificates import Authority
from tests.support.workers import WorkerProcess

WORKER = {"NATS_USER": "worker", "NATS_PASSWORD": "worker-pw"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    """The shipped configuration, and no worker yet."""
    server = locked(tmp_path)
    try:
        yield server
    finally:
        server.kill()


async def golek(server: NatsServer, *args: str) -> tuple[int | None, str, str, float]:
    """Status, output, errors and seconds of `golek` as alice."""
    began = time.monotonic()
    done = await programs.golek(server.url, *args, NATS_USER="alice", NATS_PASSWORD="alpha-pw")
    return *done, time.monotonic() - began


async def test_a_result_without_its_principal_names_the_option(broker: NatsServer, tmp_path: Path) -> None:
    """With --wait as well, at once; with the principal the answer comes."""
    with WorkerProcess(broker.url, tmp_path / "data", **WORKER, GOLEK_NATS_IDENTITY="accounts"):
        status, out, _, _ = await golek(broker, "submit", "echo", "hello")
        assert status == 0
        job_id = out.strip()
        for wait in ([], ["--wait"]):
            status, out, err, seconds = await golek(broker, "result", job_id, *wait)
            assert (status, out) == (1, "")
            assert err.startswith("error FORBIDDEN: this login reads no answers of anonymous")
            assert "--principal WHO" in err
            assert seconds < 5
        found = await golek(broker, "result", job_id, "--wait", "--principal", "ALPHA/alice")
        assert found[:2] == (0, "hello\n")
        _, _, err, _ = await golek(broker, "result", job_id, "--wait", "--principal", "BETA/bob", "--timeout", "3s")
        assert err.startswith(f"waiting for job {job_id} of BETA/bob: no answer yet")


async def test_what_a_tenant_may_not_is_said_at_once(broker: NatsServer) -> None:
    """By the server's word, instead of silence until a timeout."""
    asked = {
        ("dlq", "list"): "publish to $JS.API.STREAM.MSG.GET.GOLEK_DLQ",
        ("req", "no.such.thing", "{}", "--timeout", "12s"): "publish to no.such.thing",
        ("sub", "monitoring.inference.*"): "subscribe to monitoring.inference.*",
    }
    for args, what in asked.items():
        status, out, err, seconds = await golek(broker, *args)
        assert (status, out) == (1, "")
        said = f"error FORBIDDEN: not permitted: the NATS server does not let this login {what};"
        assert said.lower() in err.lower()
        assert "it may succeed" not in err
        assert seconds < 8


async def test_an_operator_without_results_yet_is_no_tenant(broker: NatsServer) -> None:
    """There is no bucket before the first worker: that is no result, and not somebody else's."""
    login = Login(user="worker", password="worker-pw")
    async with Golek(broker.url, login=login, deadline=5) as client:
        assert await client.result(subjects.job_id("_INBOX.a")) is None


def test_the_shipped_file_names_its_variables_and_listens_here(tmp_path: Path) -> None:
    """At its head; what it offers for TLS is a configuration once its comment signs are gone."""
    text = SHIPPED.read_text()
    head, _, rest = text.partition("\nmax_payload")
    variables = {name for name in re.findall(r": \$([A-Z_]+)", rest) if name != "TENANT"}
    assert variables == {"GOLEK_STORE", *PASSWORDS}
    assert [name for name in variables if name not in head] == []
    assert '\nlisten: "127.0.0.1:' in head
    mine = Authority(tmp_path).sign("server", "IP:127.0.0.1")
    block = head[head.index("# tls {") :].replace("# ", "", 1).replace("\n# ", "\n")
    block = block.replace("/etc/golek/server.pem", mine.cert).replace("/etc/golek/server.key", mine.key)
    server = NatsServer(tmp_path, block, jetstream=False).start()
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            assert b'"tls_required":true' in line.recv(4096)
    finally:
        server.kill()


async def test_a_worker_that_was_not_told_of_tenants_refuses_them(broker: NatsServer, tmp_path: Path) -> None:
    """A job would be kept for `anonymous`, where no tenant may read it."""
    with WorkerProcess(broker.url, tmp_path / "data", **WORKER) as worker:
        async with Golek(broker.url, login=ALICE, deadline=5) as client:
            for _ in range(2):
                with pytest.raises(ForbiddenError, match="GOLEK_NATS_IDENTITY=accounts"):
                    await client.submit("echo", "hi")
                with pytest.raises(ForbiddenError, match="GOLEK_NATS_IDENTITY=accounts"):
                    await client.ask("echo", "hi")
        assert worker.log.read_text().count("identity.tenants") == 1
