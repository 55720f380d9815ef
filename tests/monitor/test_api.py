"""What programs are told of the fleet over HTTP."""

from typing import Any

import httpx2
import msgspec
import pytest

from golek_monitor.picture import Picture
from golek_monitor.records import GatewayRow, History, ReplicaDetail, ReplicaRow, Service
from golek_wire.signals import Aggregate, Alert, ModelRecord

AS_PRINTED = {
    "model_name": str, "status": str, "capabilities": list, "model_info": dict, "queue_metrics": dict,
    "backpressure_status": dict, "first_seen": str, "uptime": int,
}  # fmt: skip
"""The keys that programs which were written before us read, with their types."""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/services", list[Service]),
        ("/api/services/qwen3-4b", Service),
        ("/api/replicas", list[ReplicaRow]),
        ("/api/replicas/qwen3-4b-host1-1", ReplicaDetail),
        ("/api/gateways", list[GatewayRow]),
        ("/api/overview", Aggregate),
        ("/api/alerts", list[Alert]),
        ("/api/history?seconds=60", History),
        ("/api/history/qwen3-4b", History),
    ],
)
async def test_it_is_told_as_the_records_say(web: httpx2.AsyncClient, path: str, kind: Any) -> None:
    """Each answer is JSON of its record, not empty, and not to be kept."""
    response = await web.get(path)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["cache-control"] == "no-store"
    told = msgspec.json.decode(response.content, type=kind)
    assert told or path == "/api/alerts"


async def test_a_service_has_the_keys_that_programs_know(web: httpx2.AsyncClient) -> None:
    """Named, typed and in the order as they always were."""
    (service, *_) = (await web.get("/api/services")).json()
    first = list(service)[: len(AS_PRINTED)]
    assert {key: type(service[key]) for key in first} == AS_PRINTED
    assert set(service["queue_metrics"]) == {"pending_messages", "active_processing", "queue_capacity"}
    assert set(service["backpressure_status"]) == {"level", "utilization"}


async def test_a_name_may_have_slashes(web: httpx2.AsyncClient, seen: Picture) -> None:
    """`org/model` is one name in a path, in a service's as in a history's."""
    record = ModelRecord("org/model", ["inference"], "offline", deployment="x", last_seen="2026-01-02T11:59:50.000Z")
    seen.know([record])
    for path in ("/api/services/org/model", "/api/history/org/model"):
        assert (await web.get(path)).json()["model_name"] == "org/model"


async def test_a_typo_is_told_what_was_meant(web: httpx2.AsyncClient) -> None:
    """404, with the nearest name and with all."""
    for path in ("/api/services/qwen3-4", "/api/history/qwen3-4"):
        response = await web.get(path)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (404, "MODEL_NOT_FOUND")
        assert error["details"]["did_you_mean"] == "qwen3-4b"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/replicas/nobody", 404, "worker_id: there is none that is called 'nobody'"),
        ("/api/history?seconds=soon", 400, "seconds: Expected `float`, got 'soon'"),
        ("/api/history?seconds=0", 400, "seconds: Expected `float` >= 1.0, got '0'"),
        ("/api/history?seconds=nan", 400, "seconds: Expected `float`"),
        ("/api/log-events?after=-1", 400, "after: Expected `int` >= 0, got '-1'"),
        ("/api/log-events?limit=9999", 400, "limit: Expected `int` <= 1000, got '9999'"),
        ("/api/history?minutes=5", 400, "minutes: no such parameter; there are seconds"),
        ("/api/nothing", 404, "GET /api/nothing: there is no such path"),
    ],
)
async def test_a_wrong_question_is_told_why(web: httpx2.AsyncClient, path: str, status: int, words: str) -> None:
    """The error names field, value and limit."""
    response = await web.get(path)
    assert response.status_code == status
    assert response.json()["error"]["message"].startswith(words)


async def test_another_method_is_told_which_there_are(web: httpx2.AsyncClient) -> None:
    """405, with `allow`."""
    response = await web.post("/api/services")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


async def test_a_monitor_that_hears_nothing_is_alive_and_not_ready(web: httpx2.AsyncClient, seen: Picture) -> None:
    """`/healthz` is of the process, `/health/ready` of the bus."""
    assert (await web.get("/health/ready")).json() == {"status": "ready"}
    seen.connected = False
    assert (await web.get("/healthz")).json() == {"status": "ok"}
    response = await web.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (503, "not ready")
