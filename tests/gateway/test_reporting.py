"""What gateways and workers say of themselves on the bus, and what they count."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from golek_client import Golek
from golek_client.watching import Watch
from golek_wire.signals import GatewayReport, Health, LoadReport, Refusals
from tests.gateway.test_health import becomes
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.fronts import GatewayProcess
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

GOOD, FRUGAL, OTHER = (f"{name}-key-0123456789abcdef" for name in ("good", "frugal", "other"))
FILE = f"good:{GOOD}\nfrugal:{FRUGAL} budget=1req/day\nother:{OTHER} models=another\n"
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}


class Ear:
    """What comes on a subject, decoded."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind
        self.came: asyncio.Queue[Any] = asyncio.Queue()

    async def hear(self, message: Msg) -> None:
        self.came.put_nowait(msgspec.json.decode(message.data, type=self._kind))

    async def until(self, holds: Callable[[Any], bool], seconds: float = 15.0) -> Any:
        """The first message from now on of which `holds` is true."""
        async with asyncio.timeout(seconds):
            while True:
                if holds(said := await self.came.get()):
                    return said


async def ear(bus: Client, subject: str, kind: type[Any]) -> Ear:
    made = Ear(kind)
    await bus.subscribe(subject, cb=made.hear)
    await bus.flush()
    return made


@asynccontextmanager
async def asking(url: str, key: str = "") -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(base_url=url, timeout=30, headers=headers) as client:
        yield client


async def test_a_gateway_reports_what_it_answers_until_it_leaves(broker: NatsServer, tmp_path: Path) -> None:
    """At once when asked; the requests that ask a model, with their tokens, and not the looks at its health. Its last
    word is that it takes none."""
    with WorkerProcess(broker.url, tmp_path / "worker"):
        async with raw.connected(broker.url) as bus:
            heard = await ear(bus, "monitoring.gateway.*", GatewayReport)
            with GatewayProcess(broker.url, tmp_path) as gateway:
                first = await heard.until(lambda _: True)
                async with asking(gateway.url) as client:
                    await becomes(client, "/health/ready", {"status": "ready"})
                    await bus.publish("monitoring.ask", b"")
                    ready = await heard.until(lambda said: said.ready, seconds=3)
                    assert (ready.endpoint, ready.traffic.requests) == (gateway.url, 0)
                    assert ready.incarnation == first.incarnation
                    assert ready.seq > first.seq
                    assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
                    assert (await client.post("/v1/chat/completions", json=CHAT | {"model": "no"})).status_code == 404
                    said = await heard.until(lambda said: said.traffic.requests == 2, seconds=5)
                assert (said.traffic.answered, said.traffic.errors, said.traffic.refused) == (1, 0, 0)
                assert said.traffic.tokens_out > 0
                assert said.traffic.answered_ms > 0
                assert said.gateway_id.endswith(str(gateway.port))
                gateway.signal(signal.SIGTERM)
                last = await heard.until(lambda said: not said.ready)
                assert gateway.wait() == 0
            assert last.incarnation == first.incarnation
            assert heard.came.empty()


async def test_refusals_are_counted_by_key_where_they_happen(broker: NatsServer, tmp_path: Path) -> None:
    """What the gateway refuses, it counts, and what the worker does, the worker: nothing is counted as both."""
    file = tmp_path / "api_keys.txt"
    file.write_text(FILE)
    file.chmod(0o600)
    wanted = {"GOLEK_NATS_IDENTITY": "keys", "GOLEK_DATA": tmp_path}
    async with raw.connected(broker.url) as bus:
        gateways = await ear(bus, "monitoring.gateway.*", GatewayReport)
        workers = await ear(bus, "monitoring.inference.*", LoadReport)
        with WorkerProcess(broker.url, tmp_path, **wanted), GatewayProcess(broker.url, tmp_path, **wanted) as gateway:
            for key, statuses in ((GOOD, [200]), (FRUGAL, [200, 429, 429]), (OTHER, [403]), ("wrong" * 5, [401, 401])):
                async with asking(gateway.url, key) as client:
                    for status in statuses:
                        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == status
            answer, _ = await raw.ask(bus, "inference.request.echo", {"input": "hi"}, Authorization=f"Bearer {OTHER}")
            assert answer["error"]["code"] == "FORBIDDEN"
            answer, _ = await raw.ask(bus, "inference.request.echo", {"input": "hi"})
            assert answer["error"]["code"] == "UNAUTHORIZED"
            front = (await gateways.until(lambda said: said.traffic.requests == 7)).traffic
            back = (await workers.until(lambda said: said.traffic.requests == 6)).traffic
    assert front.refusals == [Refusals("anonymous", 401, 2), Refusals("other", 403, 1)]
    assert (front.answered, front.refused, front.errors) == (2, 3, 0)
    assert back.refusals == [Refusals("frugal", 429, 2), Refusals("anonymous", 401, 1), Refusals("other", 403, 1)]
    assert (back.answered, back.refused, back.errors) == (2, 4, 0)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_worker_without_progress_is_out_of_rotation(broker: NatsServer, tmp_path: Path, replicas: int) -> None:
    """Its engine is frozen while it writes: it says `stalled` in heartbeat and report, takes no jobs, and neither it
    nor a gateway without another replica is ready; back by itself once the engine goes on, without a request."""
    address = f"127.0.0.1:{free_port()}"
    given = {"STALL_S": 2, "MODEL_THREADS": 1, "ENGINE_STEP_MIN_MS": 20}
    with (
        WorkerProcess(broker.url, tmp_path / "w", "golek-tiny", HTTP_ADDR=address, **given) as worker,
        GatewayProcess(broker.url, tmp_path) as gateway,
    ):
        others = [WorkerProcess(broker.url, tmp_path / "w", "golek-tiny", n, **given) for n in range(2, replicas + 1)]
        async with Golek(broker.url) as golek, raw.connected(broker.url) as bus, httpx2.AsyncClient() as client:
            try:
                for other in others:
                    other.start()
                await _stall(worker, gateway, golek, bus, client, f"http://{address}", alone=not others)
            finally:
                for other in others:
                    other.end()


async def _stall(
    worker: WorkerProcess,
    gateway: GatewayProcess,
    golek: Golek,
    bus: Client,
    client: httpx2.AsyncClient,
    own: str,
    *,
    alone: bool,
) -> None:
    state = worker.state()
    assert state is not None
    mine = state.worker_id
    beats = await ear(bus, "models.*.heartbeat", Health)
    reports = await ear(bus, "monitoring.inference.*", LoadReport)
    watch = golek.watch()
    await watch.open()
    await becomes(client, f"{gateway.url}/health/ready", {"status": "ready"})
    await _in_rotation(watch, mine, wanted=True)
    asked = [asyncio.create_task(_ask(golek)) for _ in range(4 if alone else 6)]
    busy = await reports.until(lambda said: said.worker_id == mine and said.active_processing > 0)
    assert busy.state == "online"
    assert busy.last_token_age_ms < 2000
    clock, child = asyncio.get_running_loop().time, worker.child
    child.send_signal(signal.SIGSTOP)
    frozen_at = clock()
    stalled = await reports.until(lambda said: said.worker_id == mine and said.state == "stalled")
    assert clock() - frozen_at < 2 + 2.5  # two reports past STALL_S, and what a busy machine takes
    assert stalled.last_token_age_ms >= 2000
    assert stalled.status == "critical"
    await beats.until(lambda said: said.worker_id == mine and said.status == "stalled", seconds=2)
    await _in_rotation(watch, mine, wanted=False)
    assert (await client.get(f"{own}/health/ready")).status_code == 503
    if alone:
        await becomes(client, f"{gateway.url}/health/ready", {"status": "not_ready"})
    else:
        assert (await client.get(f"{gateway.url}/health/ready")).status_code == 200
        for _ in range(2):
            question = {"input": "hi", "params": {"max_tokens": 1}}
            _, answer = await raw.ask(bus, "inference.request.golek-tiny", question)
            assert answer.headers["Golek-Worker"] != mine
    child.send_signal(signal.SIGCONT)
    resumed_at = clock()
    await reports.until(lambda said: said.worker_id == mine and said.state == "online")
    assert clock() - resumed_at < 2.5
    await beats.until(lambda said: said.worker_id == mine and said.status == "online", seconds=2)
    await _in_rotation(watch, mine, wanted=True)
    await becomes(client, f"{own}/health/ready", {"status": "ready"})
    for one in asked:
        assert await one
    last = await reports.until(lambda said: said.worker_id == mine and said.active_processing == 0)
    if alone:
        assert last.traffic.requests == len(asked)  # nobody asked anything of it but these
    assert worker.child.pid == child.pid


async def _ask(golek: Golek) -> str:
    return (await golek.ask("golek-tiny", "Hello!", max_tokens=150, ignore_eos=True, deadline=50)).text


async def _in_rotation(watch: Watch, worker_id: str, *, wanted: bool) -> None:
    async with asyncio.timeout(10):
        while (one := watch.view.replica(worker_id)) is None or one.in_rotation is not wanted:
            await asyncio.sleep(0.02)


async def test_an_idle_worker_is_never_stalled(broker: NatsServer, tmp_path: Path) -> None:
    """Its engine has nothing to write, and says so more often than anybody waits for."""
    with WorkerProcess(broker.url, tmp_path, "golek-tiny", STALL_S=2, MODEL_THREADS=1) as worker:
        async with raw.connected(broker.url) as bus:
            reports = await ear(bus, "monitoring.inference.*", LoadReport)
            for _ in range(5):
                await asyncio.sleep(1)  # longer than STALL_S in all
                await bus.publish("monitoring.ask", b"")
                said = await reports.until(lambda _: True, seconds=5)
                assert (said.state, said.active_processing) == ("online", 0)
                assert said.last_token_age_ms < 2000
        assert worker.log_lines("engine.stalled") == []
