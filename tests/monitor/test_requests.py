"""The request explorer over HTTP: requests, queues, dead letters."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.routing import Route

from golek_client import Golek
from golek_client.queueing import ModelQueue
from golek_monitor.logs.explorer import Explorer
from golek_monitor.logs.records import FoundRequests, LogSummary, Stories
from golek_monitor.web import requests
from golek_monitor.web.app import WORK, application
from golek_monitor.web.mail import LETTERS_LIMIT, Mail
from golek_program.web import openapi
from golek_wire import codec, subjects
from golek_wire.errors import BusUnavailableError
from golek_wire.signals import DeadLetter
from golek_worker.bus.streams import dlq_stream_config
from tests.support import fleets, raw, request_logs
from tests.support.workers import WorkerProcess

SECRET = "what was asked"


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A machine on which one model answered three requests."""
    folder = tmp_path / "machine"
    rows = [request_logs.row(0), request_logs.row(1, status="CANCELLED"), request_logs.row(2, req_id="a/b c")]
    await request_logs.write(folder / "logs" / "golek-tiny.sqlite", *rows)
    return folder


def asking(data: Path, golek: Golek | None = None, *, show_prompts: bool = False) -> httpx2.AsyncClient:
    """A client of a monitor on that machine."""
    more = requests.routes(Explorer(data, show_prompts=show_prompts), golek, show_prompts=show_prompts)
    web = application(fleets.picture(1), golek, more=more)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=web), base_url="http://127.0.0.1")


@pytest.fixture
async def web(data: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with asking(data) as client:
        yield client


async def test_requests_are_searched(web: httpx2.AsyncClient) -> None:
    """Parameters of the query narrow it, and pages follow each other."""
    response = await web.get("/api/requests", params={"limit": 2})
    first = msgspec.json.decode(response.content, type=FoundRequests)
    assert [one.req_id for one in first.requests] == ["a/b c", "label-1"]
    second = await web.get("/api/requests", params={"limit": 2, "before": first.next or ""})
    assert [one["req_id"] for one in second.json()["requests"]] == ["label-0"]
    assert second.json()["next"] is None
    errors = await web.get("/api/requests?errors_only=true&model=golek-tiny")
    assert [one["status"] for one in errors.json()["requests"]] == ["CANCELLED"]
    assert SECRET not in response.text


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/api/requests?limit=0", "limit"),
        ("/api/requests?since=soon", "since"),
        ("/api/requests?colour=red", "colour"),
        ("/api/requests?before=x", "before"),
        ("/api/requests-summary?since=x", "since"),
    ],
)
async def test_a_bad_parameter_is_named(web: httpx2.AsyncClient, path: str, named: str) -> None:
    """400, with the parameter's name."""
    response = await web.get(path)
    assert (response.status_code, response.json()["error"]["param"]) == (400, named)


async def test_one_request_is_found_by_its_ids(web: httpx2.AsyncClient) -> None:
    """Job id, label (slashes and blanks in it too), and a beginning."""
    for name in (f"job{2:023d}", "a%2Fb%20c", "a/b c"):
        response = await web.get(f"/api/requests/{name}")
        story = msgspec.json.decode(response.content, type=Stories).story
        assert story is not None
        assert story.job_id == f"job{2:023d}"
    shared = (await web.get("/api/requests/label")).json()
    assert [one["req_id"] for one in shared["requests"]] == ["label-1", "label-0"]


async def test_a_request_that_is_not_there_says_where_was_looked(web: httpx2.AsyncClient, data: Path) -> None:
    """404 with the logs and the likely causes."""
    response = await web.get("/api/requests/nobody")
    said = response.json()["error"]["message"]
    assert response.status_code == 404
    assert str(data / "logs" / "golek-tiny.sqlite") in said
    assert "GOLEK_LOG_RETENTION_DAYS" in said


@pytest.mark.parametrize("allowed", [False, True])
async def test_texts_are_shown_where_that_is_allowed(data: Path, allowed: bool) -> None:
    """MONITOR_SHOW_PROMPTS alone lets a story have them."""
    async with asking(data, show_prompts=allowed) as web:
        assert (SECRET in (await web.get(f"/api/requests/job{0:023d}")).text) == allowed


async def test_a_summary_is_told(web: httpx2.AsyncClient) -> None:
    """By model."""
    response = await web.get("/api/requests-summary?since=2026-01-01")
    (one,) = msgspec.json.decode(response.content, type=LogSummary).models
    assert (one.model_name, one.requests, one.errors, one.dur_ms_p50) == ("golek-tiny", 3, 1, 100.0)


async def test_without_a_bus_queues_and_letters_say_so(web: httpx2.AsyncClient) -> None:
    """503, while requests are still told."""
    for path in ("/api/queues/golek-tiny", "/api/dead-letters", "/api/dead-letters/x"):
        response = await web.get(path)
        assert (response.status_code, response.json()["error"]["type"]) == (503, "retriable")


async def test_while_the_broker_is_away_queues_and_letters_say_so(data: Path) -> None:
    """Not that JetStream did not answer some question: the broker, and where it should be."""
    seen = fleets.picture(1)
    seen.connected = False
    golek = Golek("nats://127.0.0.1:1")
    web = application(seen, golek, more=requests.routes(Explorer(data), golek))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=web), base_url="http://127.0.0.1") as client:
        for path in ("/api/queues/golek-tiny", "/api/dead-letters", "/api/dead-letters/x"):
            response = await client.get(path)
            assert response.status_code == 503
            assert response.json()["error"]["message"].startswith("the broker at nats://127.0.0.1:1 is away")


async def test_a_queue_is_told(data: Path, nats_server: str, tmp_path: Path) -> None:
    """Who waits and who runs; a model that never had a worker is not found."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        async with Golek(nats_server) as golek, asking(data, golek) as web:
            response = await web.get("/api/queues/echo")
            told = msgspec.json.decode(response.content, type=ModelQueue)
            assert (told.model_name, told.waiting, told.capacity, told.complete) == ("echo", 0, 2000, True)
            assert (await web.get("/api/queues/echo?limit=0")).json()["error"]["param"] == "limit"
            assert (await web.get("/api/queues/never-there")).status_code == 404


@pytest.mark.parametrize("allowed", [False, True])
async def test_dead_letters_are_told(data: Path, nats_server: str, allowed: bool) -> None:
    """The newest first, with what the engine said; the request itself only where prompts may be shown."""
    async with (
        raw.connected(nats_server) as client,
        Golek(nats_server) as golek,
        asking(data, golek, show_prompts=allowed) as web,
    ):
        create = json.dumps(dlq_stream_config()).encode()
        await client.request(f"$JS.API.STREAM.CREATE.{subjects.DLQ_STREAM}", create)
        for number in range(2):
            await client.request(subjects.dead_letter("golek-tiny"), codec.encode(_letter(number)))
        listed: list[dict[str, Any]] = (await web.get("/api/dead-letters?model=golek-tiny")).json()
        assert [(one["job_id"], one["can_retry"]) for one in listed] == [("job1", True), ("job0", True)]
        assert (await web.get("/api/dead-letters?model=other")).json() == []
        one = await web.get("/api/dead-letters/job1")
        assert one.json()["log_tail"] == ["it crashed"]
        assert (SECRET in one.text) == allowed
        assert (await web.get("/api/dead-letters/job9")).status_code == 404


async def test_all_who_ask_for_dead_letters_share_a_reading() -> None:
    """Who asks while one goes on gets the next, with everybody else; one that fails spoils no other."""
    asked: list[str | None] = []
    free = asyncio.Event()

    class Slow(Golek):
        async def dead_letters(self, model: str | None = None, *, newest: int | None = None) -> list[DeadLetter]:
            assert newest == LETTERS_LIMIT
            asked.append(model)
            await free.wait()
            if len(asked) == 2:
                raise BusUnavailableError("away")
            return [_letter(len(asked))]

    mail, golek = Mail(), Slow("nats://127.0.0.1:1")
    first = asyncio.ensure_future(mail.newest(golek))
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(mail.newest(golek)) for _ in range(20)]
    await asyncio.sleep(0)
    assert len(asked) == 1
    free.set()
    told = await asyncio.gather(first, *others, return_exceptions=True)
    assert [one for one in told if not isinstance(one, BusUnavailableError)] == [[_letter(1)], *[[_letter(3)]] * 19]
    assert len(asked) == 3


def _letter(number: int) -> DeadLetter:
    return DeadLetter(
        job_id=f"job{number}", req_id="r", model="golek-tiny", worker_id="w-1", at="2026-01-02T12:00:00.000Z",
        crashes=3, input_sha256="ab", log_tail=["it crashed"], payload=json.dumps({"input": SECRET}),
    )  # fmt: skip


def test_the_document_has_all_routes() -> None:
    """What they take and give stands in /openapi.json."""
    routes: list[Route] = requests.routes(Explorer(Path()), None)
    document = openapi.document(routes, lambda _: True, WORK)
    assert set(document["paths"]) == {
        "/api/requests", "/api/requests-summary", "/api/requests/{id}", "/api/queues/{model}", "/api/dead-letters",
        "/api/dead-letters/{job_id}",
    }  # fmt: skip
    parameters = document["paths"]["/api/requests"]["get"]["parameters"]
    assert {"model", "req_id", "since", "slower_ms", "errors_only", "limit"} <= {one["name"] for one in parameters}
    assert {"FoundRequests", "Stories", "ModelQueue", "DeadLetterRow"} <= set(document["components"]["schemas"])
