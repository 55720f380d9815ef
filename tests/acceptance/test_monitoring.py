"""All that the first document says of monitoring, on a fleet that runs: URLs and messages have the keys and types that
it prints. The lines that it has people type are in the command book."""

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from tests.support.ports import free_port
from tests.support.serving_process import Project, Serving
from tests.support.workers import ROOT

SERVICE = """{
  "model_name": "qwen3-4b",
  "status": "online",
  "capabilities": ["text-generation", "embeddings", "reasoning", "tool-calling"],
  "model_info": {"architecture": "qwen3", "embedding_size": 2560, "parameter_count": "4.0B"},
  "queue_metrics": {"pending_messages": 0, "active_processing": 0, "queue_capacity": 2000},
  "backpressure_status": {"level": "healthy", "utilization": 0.0},
  "first_seen": "2025-09-25T15:12:48+02:00",
  "uptime": 300000000000
}"""
HEALTH = """{
  "model_name": "gemma3-270m",
  "status": "online",
  "last_activity": "2025-09-25T10:30:15Z",
  "capabilities": ["text-generation", "embeddings", "reasoning", "grammar-constrained"],
  "endpoint": "http://localhost:5770",
  "nats_topic": "inference.request.gemma3-270m",
  "version": "1.0.0",
  "model_info": {
    "architecture": "gemma3",
    "modalities": ["text", "embeddings"],
    "parameter_count": "268M",
    "context_size": 8192,
    "embedding_size": 640,
    "quantization": "Q4_K_M",
    "model_family": "gemma"
  }
}"""
LOAD = """{
  "model_name": "gemma3-270m",
  "pending_messages": 3,
  "active_processing": 2,
  "timestamp": "2025-09-23T18:30:15Z",
  "worker_count": 2,
  "queue_capacity": 2000,
  "status": "warning"
}"""
EVENTS_WAIT_S = 15.0

Mismatch = Callable[[dict[str, Any], int, str, dict[str, str]], str | None]


class Fleet:
    """golek-tiny, and the monitor's page at both of its addresses."""

    def __init__(self, project: Project, page: str) -> None:
        self.project = project
        self.page = page

    def get(self, path: str, at: str = "") -> tuple[int, str, str]:
        """Status, media type and text of an answer."""
        with urllib.request.urlopen(f"{at or self.project.monitor}{path}", timeout=10) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read().decode()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    project = Project(tmp_path_factory.mktemp("monitoring"))
    second = f"127.0.0.1:{free_port()}"
    assert project.golek("worker", "start", "golek-tiny", HTTP_ADDR=f":{free_port()}").returncode == 0
    command = [sys.executable, "-m", "golek_worker.cli", "monitor", "dashboard"]
    try:
        with Serving(project, command, {"MONITOR_DASHBOARD_ADDR": second}) as serving:
            serving.wait_for("the fleet is heard")
            yield Fleet(project, f"http://{second}")
            assert serving.end() == 0
    finally:
        project.golek("worker", "stop")


@pytest.fixture
def mismatch(monkeypatch: pytest.MonkeyPatch) -> Mismatch:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from command_book.expect import mismatch  # type: ignore[import-not-found]

    return mismatch  # type: ignore[no-any-return]


@pytest.fixture
async def bus(fleet: Fleet) -> AsyncIterator[Client]:
    client = await nats.connect(fleet.project.url)
    yield client
    await client.close()


@pytest.mark.parametrize("path", ["/api/services", "/api/services/golek-tiny"])
def test_services_are_told_as_printed(fleet: Fleet, mismatch: Mismatch, path: str) -> None:
    """Each with the nine keys, a list where all are asked for; on the port of the API and on that of the page."""
    for at in (fleet.project.monitor, fleet.page):
        status, media, text = fleet.get(path, at)
        assert (status, media) == (200, "application/json")
        assert mismatch({"reply": "service"}, 0, text, {"service": SERVICE}) is None
        assert isinstance(json.loads(text), list if path == "/api/services" else dict)


def test_events_come_by_themselves(fleet: Fleet) -> None:
    """Server-sent events: the whole fleet first, then what changes, while nobody asks."""
    with urllib.request.urlopen(f"{fleet.project.monitor}/api/events", timeout=EVENTS_WAIT_S) as answer:
        assert answer.headers.get_content_type() == "text/event-stream"
        names, bodies = [], []
        while len(bodies) < 2:
            line = answer.readline().decode()
            if line.startswith("event: "):
                names.append(line.removeprefix("event: ").strip())
            if line.startswith("data: "):
                bodies.append(json.loads(line.removeprefix("data: ")))
    assert names[:2] == ["snapshot", "update"]
    assert [one["model_name"] for one in bodies[0]["services"]] == ["golek-tiny"]
    assert all(one["overview"]["workers_online"] == 1 for one in bodies)


def test_the_page_is_where_it_is_opened(fleet: Fleet) -> None:
    """On the API's port and on the dashboard's."""
    for at in (fleet.project.monitor, fleet.page):
        status, media, text = fleet.get("/", at)
        assert (status, media, text.lower().startswith("<!doctype html>")) == (200, "text/html", True)


def test_health_is_where_the_document_says(fleet: Fleet) -> None:
    """`/healthz` of the monitor, as of every worker."""
    assert json.loads(fleet.get("/healthz")[2]) == {"status": "ok"}
    (service,) = json.loads(fleet.get("/api/services")[2])
    assert json.loads(fleet.get("/healthz", service["endpoints"][0])[2]) == {"status": "ok"}


def test_figures_are_where_the_document_says(fleet: Fleet) -> None:
    """`/metrics`, in the form that Prometheus reads."""
    status, media, text = fleet.get("/metrics")
    assert (status, media) == (200, "text/plain")
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures['golek_model_up{model="golek-tiny"}']) == 1


async def test_health_on_the_bus_is_told_as_printed(bus: Client, mismatch: Mismatch) -> None:
    """`nats req models.golek-tiny.health`."""
    answer = await bus.request("models.golek-tiny.health", b"{}", timeout=5)
    assert mismatch({"reply": "health"}, 0, answer.data.decode(), {"health": HEALTH}) is None


@pytest.mark.parametrize(
    ("subject", "printed"),
    [("models.*.heartbeat", HEALTH), ("monitoring.inference.*", LOAD)],
    ids=["heartbeat", "load"],
)
async def test_signals_are_told_as_printed(bus: Client, mismatch: Mismatch, subject: str, printed: str) -> None:
    """Heartbeats and load reports; asked for, they need not be waited for."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Any) -> None:
        heard.put_nowait(message.data.decode())

    await bus.subscribe(subject, cb=hear)
    await bus.publish("monitoring.ask")
    assert mismatch({"reply": "said"}, 0, await asyncio.wait_for(heard.get(), 12), {"said": printed}) is None


async def test_the_whole_fleet_is_told_every_second(bus: Client) -> None:
    """`monitoring.aggregate`, which the document leaves open: models, workers, queue and rates of all."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def hear(message: Any) -> None:
        heard.put_nowait(json.loads(message.data))

    await bus.subscribe("monitoring.aggregate", cb=hear)
    first, second = [await asyncio.wait_for(heard.get(), 10) for _ in range(2)]
    assert (first["models_online"], first["workers_online"], first["queue_capacity"]) == (1, 1, 2000)
    assert second["seq"] > first["seq"]


async def test_an_alert_fires_and_is_resolved(bus: Client, fleet: Fleet) -> None:
    """`monitoring.alerts`: a worker that dies, and comes back."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def hear(message: Any) -> None:
        heard.put_nowait(json.loads(message.data))

    await bus.subscribe("monitoring.alerts", cb=hear)
    project = fleet.project
    assert (await asyncio.to_thread(project.golek, "worker", "start", "echo")).returncode == 0
    await _until(fleet, lambda names: "echo" in names)

    os.kill(project.pid("echo"), signal.SIGKILL)
    fired = await asyncio.wait_for(heard.get(), 45)
    assert (fired["kind"], fired["state"], fired["model"]) == ("worker_lost", "firing", "echo")
    assert (await asyncio.to_thread(project.golek, "worker", "start", "echo")).returncode == 0
    resolved = await asyncio.wait_for(heard.get(), 45)
    assert (resolved["id"], resolved["state"]) == (fired["id"], "resolved")


async def _until(fleet: Fleet, true: Callable[[list[str]], bool]) -> None:
    """Until the names of the services are so."""
    async with asyncio.timeout(10):
        while True:
            services = json.loads((await asyncio.to_thread(fleet.get, "/api/services"))[2])
            if true([one["model_name"] for one in services if one["status"] == "online"]):
                return
            await asyncio.sleep(0.05)
