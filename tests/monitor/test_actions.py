"""What operators order over HTTP: real nats-server, real worker."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from golek_client import Golek
from golek_monitor.observer import Observer
from golek_monitor.picture import Picture
from golek_wire import codec, subjects
from golek_wire.signals import DeadLetter, Health, ModelInfo, Residence
from tests.support import sample_monitor
from tests.support.scripted_worker import ScriptedWorker
from tests.support.workers import WorkerProcess

JOB = "abcdefghijklmnopqrstuvwxyz"
PATIENCE_S = 10.0


@pytest.fixture
def seen() -> Picture:
    return Picture()


@pytest.fixture
def noted() -> list[tuple[str, ...]]:
    """The lines of the event log: level, code, message, model, worker id."""
    return []


@pytest.fixture
async def web(nats_server: str, noted: list[tuple[str, ...]], seen: Picture) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        Golek(nats_server, deadline=10.0) as golek,
        sample_monitor.serving(seen, golek=golek, note=lambda *said: noted.append(said)) as url,
        httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S) as client,
    ):
        yield client


@pytest.fixture
async def scripted(nats_server: str) -> AsyncIterator[ScriptedWorker]:
    worker = await ScriptedWorker.start(nats_server)
    yield await worker.listen()
    await worker.close()


async def bury(worker: ScriptedWorker, *job_ids: str, **fields: str) -> None:
    """Letters as a worker writes them."""
    jetstream = worker.client.jetstream()
    await jetstream.add_stream(name=subjects.DLQ_STREAM, subjects=[subjects.DLQ_SUBJECTS])
    for job_id in job_ids:
        letter = DeadLetter(job_id, "r", "tiny", "w", "2026-01-02T03:04:05Z", 3, "00", ["abort"], **fields)  # type: ignore[arg-type]
        await jetstream.publish(subjects.dead_letter("tiny"), codec.encode(letter))


async def test_a_model_is_unloaded_loaded_and_drained(
    nats_server: str, web: httpx2.AsyncClient, noted: list[tuple[str, ...]], tmp_path: Path
) -> None:
    """Each replica answers for itself; who ordered what, and its end, stand in the event log."""
    with WorkerProcess(nats_server, tmp_path / "data") as worker:
        (found,) = (await web.post("/api/models/echo/unload", json={"force": True})).json()
        assert (found["model_name"], found["status"]) == ("echo", "unloaded")
        worker_id = found["worker_id"]
        (found,) = (await web.post("/api/models/echo/load", json={"worker_id": worker_id})).json()
        assert found["status"] == "online"
        assert [(level, code, said) for level, code, said, *_ in noted] == [
            ("info", "model.unload.ordered", "anonymous@127.0.0.1 ordered: unload of echo by force"),
            (
                "info",
                "model.unload.done",
                f"unload of echo by force: {worker_id} unloaded (ordered by anonymous@127.0.0.1)",
            ),
            ("info", "model.load.ordered", f"anonymous@127.0.0.1 ordered: load of echo at {worker_id}"),
            (
                "info",
                "model.load.done",
                f"load of echo at {worker_id}: {worker_id} online (ordered by anonymous@127.0.0.1)",
            ),
        ]
        assert noted[-1][3:] == ("echo", worker_id)
        (found,) = (await web.post("/api/models/echo/drain", json={})).json()
        assert found["status"] == "offline"
        assert worker.process is not None
        assert await asyncio.to_thread(worker.process.wait, PATIENCE_S) == 0


async def test_a_worker_says_with_which_settings_it_runs(
    nats_server: str, web: httpx2.AsyncClient, seen: Picture, tmp_path: Path
) -> None:
    """Those that differ from their defaults, without secrets; one that is gone is not waited for."""
    with WorkerProcess(nats_server, tmp_path / "data", MODEL_TTL="1h", GOLEK_API_KEY="s3cret"):
        async with Golek(nats_server) as golek, asyncio.timeout(PATIENCE_S):
            observed = asyncio.create_task(follow(golek, seen))
            while not seen.replicas() or not seen.replicas()[0].incarnation:
                await asyncio.sleep(0.02)
                seen.tick()
            (row,) = seen.replicas()
            told = (await web.get(f"/api/replicas/{row.worker_id}")).json()
            observed.cancel()
    assert told["row"]["worker_id"] == told["health"]["worker_id"] == row.worker_id
    assert told["settings"]["MODEL_TTL"] == "1h"
    assert "s3cret" not in str(told)
    seen.missed(row.worker_id, "gone")
    seen.tick()
    assert "settings" not in (await web.get(f"/api/replicas/{row.worker_id}")).json()


async def follow(golek: Golek, seen: Picture) -> None:
    """Hear the fleet."""
    async with Observer(golek, seen) as observer:
        await observer.run()


async def test_what_an_order_came_to_is_told_of_each_replica(
    web: httpx2.AsyncClient, noted: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that kept its model did not do it, and says why; the order is not called done then."""
    kept = Residence("echo", "w2", "online", 0.1, "5 jobs waited")

    async def unload(*_: Any, **__: Any) -> list[Residence]:
        return [Residence("echo", "w1", "unloaded", 0.1), kept]

    monkeypatch.setattr(Golek, "unload", unload)
    assert (await web.post("/api/models/echo/unload", json={})).status_code == 200
    said = "unload of echo: w2 kept: 5 jobs waited; w1 unloaded (ordered by anonymous@127.0.0.1)"
    assert noted[-1] == ("warning", "model.unload.partly", said, "echo", "")


async def test_an_order_that_nobody_can_follow_says_why(
    web: httpx2.AsyncClient, scripted: ScriptedWorker, noted: list[tuple[str, ...]]
) -> None:
    """With the status of its error, in the event log as well."""
    await scripted.register("2026-01-02T03:04:05Z", "online")
    response = await web.post("/api/models/tinny/drain", json={})
    assert (response.status_code, response.json()["error"]["details"]["did_you_mean"]) == (404, "tiny")
    assert noted[-1][:2] == ("warning", "model.drain.failed")
    assert "did you mean tiny?" in noted[-1][2]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("models/echo/drain", '{"force": true}', "force: only an unload may be forced"),
        ("models/echo/load", '{"worker_id": 3}', "worker_id: Expected `str`, got `int`"),
        ("models/echo/drain", '{"workerId": "echo-1"}', "workerId: no such field; there are worker_id, force"),
        ("models/echo/unload", '{"worker": "x", "a": 1}', "worker, a: no such field; there are worker_id, force"),
        (f"jobs/{JOB}/cancel", '{"job_id": "x"}', "job_id: no such field; this order has none"),
        ("models/a b/load", "{}", "model: 'a b' is no name"),
        ("models/echo/load", '{"worker_id": "a\\nb"}', "worker_id: at most 256 printable"),
        ("jobs/nothing/cancel", "", "job_id: 26 characters"),
        ("dead-letters/nothing/drop", "", "job_id: 26 characters"),
    ],
)
async def test_a_wrong_order_is_told_what_is_wrong(
    web: httpx2.AsyncClient, noted: list[tuple[str, ...]], path: str, body: str, words: str
) -> None:
    """400, naming the field; the event log does not hold what anybody makes up."""
    response = await web.post(f"/api/{path}", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(words)
    assert noted == []


async def test_a_job_is_told_to_stop(
    web: httpx2.AsyncClient, scripted: ScriptedWorker, noted: list[tuple[str, ...]]
) -> None:
    """Its worker hears it."""
    response = await web.post(f"/api/jobs/{JOB}/cancel", json={})
    assert (response.status_code, response.json()) == (202, {"job_id": JOB, "status": "cancelling"})
    assert await scripted.next_cancel() == JOB
    assert noted[0][2] == f"anonymous@127.0.0.1 ordered: cancel of job {JOB}"


async def test_a_dead_letter_is_asked_once_more(web: httpx2.AsyncClient, scripted: ScriptedWorker) -> None:
    """The letter is gone then; what was answered is not shown, for callers' texts are not the operator's."""
    await bury(scripted, JOB, payload='{"input": "hi"}')
    asking = asyncio.ensure_future(web.post(f"/api/dead-letters/{JOB}/retry", json={}))
    job = await scripted.next()
    assert job.request.input == "hi"
    await job.final("a secret")
    response = await asking
    assert (response.status_code, response.json()["job_id"], "secret" in response.text) == (200, JOB, False)
    response = await web.post(f"/api/dead-letters/{JOB}/retry", json={})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "job_id")


async def test_a_dead_letter_is_dropped(web: httpx2.AsyncClient, scripted: ScriptedWorker) -> None:
    """With all its copies; what is not there is 404."""
    await bury(scripted, JOB, JOB)
    assert (await web.post(f"/api/dead-letters/{JOB}/drop", json={})).json() == {"job_id": JOB, "copies": 2}
    assert (await web.post(f"/api/dead-letters/{JOB}/drop", json={})).status_code == 404


async def test_while_the_broker_is_away_that_is_what_is_told(
    web: httpx2.AsyncClient, seen: Picture, noted: list[tuple[str, ...]], nats_server: str
) -> None:
    """With its address: 503, at once, and nothing is ordered; not that no worker speaks, of which nobody knows."""
    seen.connected = False
    for path in ("models/echo/unload", f"jobs/{JOB}/cancel", f"dead-letters/{JOB}/drop"):
        response = await web.post(f"/api/{path}", json={})
        said = response.json()["error"]
        assert (response.status_code, said["code"]) == (503, "BUS_UNAVAILABLE")
        assert said["message"].startswith(f"the broker at {nats_server} is away")
    assert noted == []


async def test_a_worker_that_nobody_is_called_is_not_found(
    nats_server: str, web: httpx2.AsyncClient, seen: Picture, tmp_path: Path
) -> None:
    """404 with those there are, and not 503, which says that trying again may help."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        seen.heartbeat(Health("echo", "online", "", [], "", "", "", ModelInfo(), worker_id="echo-1"))
        seen.tick()
        response = await web.post("/api/models/echo/unload", json={"worker_id": "nosuch"})
    said = response.json()["error"]
    assert (response.status_code, said["param"]) == (404, "worker_id")
    assert said["message"] == "worker_id: echo has no worker 'nosuch'; there are echo-1"
