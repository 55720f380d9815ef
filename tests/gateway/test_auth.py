"""Who gets in where: every route of the application, with every kind of key.

The routes are those of the application itself, so that a new one is in the table by being there.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import httpx2
import pytest
import socketio
from starlette.routing import Route

from golek_client.testing import FakeFleet
from golek_program.settings.http import Gateway
from golek_worker.gateway import app
from golek_worker.gateway.door import Door
from golek_worker.gateway.metrics import Meters
from tests.gateway.test_strangers import refused
from tests.support.broker import NatsServer
from tests.support.fronts import GatewayProcess
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

GOOD, GONE, OTHER, SPENT, LATE, FRUGAL = (
    f"{name}-key-0123456789abcdef" for name in ("good", "gone", "other", "spent", "late", "frugal")
)
UNKNOWN = "Zgood-key-0123456789abcde"
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
FILE = f"""
good:{GOOD}
gone:{GONE}
other:{OTHER} models=another
spent:{SPENT} budget=1req
frugal:{FRUGAL} budget=20req/day
late:{LATE} expires={YESTERDAY}
"""
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
ASKING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/chat/completions": CHAT,
    "/v1/completions": {"model": "echo", "prompt": "hi"},
    "/completions": {"model": "echo", "prompt": "hi"},
    "/v1/inference_sse": {"model": "echo", "prompt": "hi"},
    "/v1/responses": {"model": "echo", "input": "hi", "max_output_tokens": 16},
    "/responses": {"model": "echo", "input": "hi", "max_output_tokens": 16},
    "/v1/messages": CHAT,
    "/messages": CHAT,
}
"""Paths where a text is written, with what asks for one."""


class Way(NamedTuple):
    method: str
    path: str


class NoKeys:
    """A fleet without keys."""

    known: ClassVar[dict[str, Any]] = {}

    async def find(self, digest: str) -> None: ...


def ways() -> list[Way]:
    """Every method of every route."""
    routes = app.routes_of(Meters(Door(FakeFleet().client(), Gateway(), NoKeys())))
    found = {(method, one.path) for one in routes if isinstance(one, Route) for method in one.methods or ()}
    assert len(found) > 20
    return [Way(method, path) for method, path in sorted(found) if method != "HEAD"]


KEYED = [way for way in ways() if not app.is_open(way.path)]
OPEN = [way for way in ways() if app.is_open(way.path)]
ASKED = [way for way in KEYED if way.path in ASKING]


@pytest.fixture(scope="module")
def broker_of_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    folder = tmp_path_factory.mktemp("nats")
    server = NatsServer(folder).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def keyed(broker_of_keys: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A worker's and a gateway's address in a fleet that wants keys; `gone` was revoked after both had started."""
    data = tmp_path_factory.mktemp("keyed")
    file = data / "api_keys.txt"
    file.write_text(FILE)
    file.chmod(0o600)
    address = f"127.0.0.1:{free_port()}"
    url = broker_of_keys.url
    identity = {"GOLEK_NATS_IDENTITY": "keys"}
    with (
        WorkerProcess(url, data, HTTP_ADDR=address, ENGINE_STEP_MIN_MS=5, **identity),
        GatewayProcess(url, data, **identity) as gateway,
    ):
        file.write_text(FILE.replace(f"gone:{GONE}\n", ""))
        for one in (f"http://{address}", gateway.url):
            asyncio.run(_until_refused(one, GONE))
        yield f"http://{address}", gateway.url


async def _until_refused(url: str, key: str) -> None:
    async with httpx2.AsyncClient(base_url=url) as client, asyncio.timeout(20):
        while (await client.get("/v1/models", headers=bearer(key))).status_code != 401:
            await asyncio.sleep(0.05)


@pytest.fixture(params=["worker", "gateway"])
async def front(request: pytest.FixtureRequest, keyed: tuple[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the worker, then of the gateway."""
    url = keyed[0] if request.param == "worker" else keyed[1]
    async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
        yield client


async def test_what_a_key_may_still_spend_is_told(keyed: tuple[str, str]) -> None:
    """In OpenAI's headers; a budget of requests among the requests, where no rate stands there."""
    async with httpx2.AsyncClient(base_url=keyed[1], timeout=30) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT, headers=bearer(FRUGAL))
        told = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}
    assert float(told.pop("x-ratelimit-reset-requests").removesuffix("s")) > 0
    assert told == {"x-ratelimit-limit-requests": "20", "x-ratelimit-remaining-requests": "19"}


async def test_a_key_for_some_models_is_not_told_of_others(keyed: tuple[str, str]) -> None:
    """What there is not for it, is not suggested to it either."""
    async with httpx2.AsyncClient(base_url=keyed[1], timeout=30) as client:
        for headers, near in ((bearer(OTHER), None), (bearer(GOOD), "echo")):
            answer = await client.get("/v1/models/ech", headers=headers)
            assert (answer.status_code, answer.json()["error"]["details"]["did_you_mean"]) == (404, near)


async def test_a_head_writes_no_text(keyed: tuple[str, str]) -> None:
    """HEAD where GET would have a model asked is 405: nobody would get the answer that it costs. All that the path
    takes is told.
    """
    async with httpx2.AsyncClient(base_url=keyed[1], timeout=30) as client:
        answer = await client.head("/v1/inference_sse", params={"prompt": "hi", "model": "echo"}, headers=bearer(GOOD))
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


async def ask(client: httpx2.AsyncClient, way: Way, headers: dict[str, str]) -> httpx2.Response:
    """Go this way, with something for each parameter and a body that asks where the path writes texts."""
    path = way.path
    for name in (
        "{model:path}",
        "{session_id:path}",
        "{name:path}",
        "{name}",
        "{job_id}",
        "{file}",
        "{file:path}",
        "{response_id}",
    ):
        path = path.replace(name, "echo")
    assert "{" not in path, f"what stands for the parameter of {path}?"
    body = ASKING.get(way.path, {"model": "echo"}) if way.method in ("POST", "PUT") else None
    query = {"prompt": "hi", "model": "echo"} if way == Way("GET", "/v1/inference_sse") else None
    return await client.request(way.method, path, headers=headers, json=body, params=query)


@pytest.mark.parametrize("way", KEYED, ids=str)
async def test_a_keyed_route_wants_a_key(front: httpx2.AsyncClient, way: Way) -> None:
    """No key, a wrong one, one that was revoked, one that has expired: 401, in the form of every error, saying what is
    wanted. A good key, in either header, gets past that."""
    for key in ("", UNKNOWN, GONE, LATE):
        answer = await ask(front, way, bearer(key))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), key
        error = answer.json()["error"]
        assert error.get("code", error.get("type")) in ("UNAUTHORIZED", "authentication_error")
    assert (await ask(front, way, {"Authorization": f"Basic {GOOD}"})).status_code == 401
    for headers in (bearer(GOOD), {"x-api-key": GOOD}):
        assert (await ask(front, way, headers)).status_code != 401


@pytest.mark.parametrize("way", OPEN, ids=str)
async def test_an_open_route_wants_none(front: httpx2.AsyncClient, way: Way) -> None:
    """Nor minds one that nobody knows."""
    for key in ("", UNKNOWN):
        assert (await ask(front, way, bearer(key))).status_code in (200, 404, 503), key


@pytest.mark.parametrize("way", ASKED, ids=str)
async def test_a_model_that_the_key_is_not_for_is_refused(front: httpx2.AsyncClient, way: Way) -> None:
    """403 wherever a text is asked for."""
    assert (await ask(front, way, bearer(OTHER))).status_code == 403


@pytest.mark.parametrize("way", ASKED, ids=str)
async def test_a_spent_budget_is_refused(front: httpx2.AsyncClient, way: Way) -> None:
    """429 wherever a text is asked for, at every door alike: the one request of the budget was made somewhere."""
    await ask(front, Way("POST", "/v1/chat/completions"), bearer(SPENT))
    answer = await ask(front, way, bearer(SPENT))
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize("how", ["auth", "header"])
@pytest.mark.parametrize("which", [0, 1], ids=["worker", "gateway"])
async def test_sockets_have_the_same_gate(keyed: tuple[str, str], which: int, how: str) -> None:
    """Without a good key there is no connection; another model is error 403, a spent budget 429."""
    url = keyed[which]
    for key in ("", UNKNOWN, GONE, LATE):
        refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        client = socketio.AsyncClient(reconnection=False)
        client.on("connect_error", refused.set_result)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(url, **_with(key, how))
        told = await asyncio.wait_for(refused, 5)
        assert (told["data"]["status"], told["data"]["error"]["code"]) == (401, "UNAUTHORIZED")
    async with httpx2.AsyncClient(base_url=url) as http:
        await ask(http, Way("POST", "/v1/chat/completions"), bearer(SPENT))
    for key, status in ((OTHER, 403), (SPENT, 429), (GOOD, 200)):
        assert await _prompted(url, _with(key, how)) == status


def _with(key: str, how: str) -> dict[str, Any]:
    return {"auth": {"token": key}} if how == "auth" else {"headers": bearer(key)}


async def _prompted(url: str, given: dict[str, Any]) -> int:
    """The status that a prompt ends in; 200 for an answer."""
    ended: asyncio.Queue[int] = asyncio.Queue()
    client = socketio.AsyncClient(reconnection=False)

    async def failed(told: dict[str, Any]) -> None:
        ended.put_nowait(told["status"])

    async def done(_: dict[str, Any]) -> None:
        ended.put_nowait(200)

    client.on("inference_error", failed)
    client.on("inference_complete", done)
    await client.connect(url, **given)
    try:
        await client.emit("inference_prompt", {"prompt": "hi", "model": "echo"})
        return await asyncio.wait_for(ended.get(), 10)
    finally:
        await client.disconnect()


async def test_a_key_that_is_revoked_ends_a_connection_that_stands(nats_server: str, tmp_path: Path) -> None:
    """Its next prompt is error 401."""
    file = tmp_path / "api_keys.txt"
    file.write_text(FILE)
    with (
        WorkerProcess(nats_server, tmp_path, GOLEK_NATS_IDENTITY="keys"),
        GatewayProcess(nats_server, tmp_path, GOLEK_NATS_IDENTITY="keys") as gateway,
    ):
        client = socketio.AsyncClient(reconnection=False)
        told: asyncio.Queue[int] = asyncio.Queue()

        async def failed(error: dict[str, Any]) -> None:
            told.put_nowait(error["status"])

        client.on("inference_error", failed)
        await client.connect(gateway.url, auth={"token": GONE})
        file.write_text(FILE.replace(f"gone:{GONE}\n", ""))
        await _until_refused(gateway.url, GONE)
        await client.emit("inference_prompt", {"prompt": "hi", "model": "echo"})
        assert await asyncio.wait_for(told.get(), 10) == 401
        await client.disconnect()


def test_a_public_address_without_keys_is_not_served(nats_server: str, tmp_path: Path) -> None:
    """It names what would help; GOLEK_ALLOW_ANON=1 is one such."""
    public = {"INFERENCE_HOST": "0.0.0.0", "INFERENCE_PORT": str(free_port())}
    problem = refused(nats_server, tmp_path, public)
    assert "can be reached by others, and nobody has a key" in problem
    assert "GOLEK_ALLOW_ANON=1" in problem
    with GatewayProcess(nats_server, tmp_path, INFERENCE_HOST="0.0.0.0", GOLEK_ALLOW_ANON=1) as gateway:
        assert httpx2.get(f"{gateway.url}/v1/models").status_code == 200


async def test_a_public_address_stays_closed_when_the_last_key_goes(nats_server: str, tmp_path: Path) -> None:
    """401 for everybody, with the old key, another one or none; the next key that is made is let in at once."""
    file = tmp_path / "api_keys.txt"
    file.write_text(f"gone:{GONE}\n")
    with GatewayProcess(nats_server, tmp_path, INFERENCE_HOST="0.0.0.0") as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:
            assert (await client.get("/v1/models", headers=bearer(GONE))).status_code == 200
            file.write_text("")
            await _until_refused(gateway.url, GONE)
            for key in ("", UNKNOWN, GONE):
                assert (await client.get("/v1/models", headers=bearer(key))).status_code == 401, key
            file.write_text(f"good:{GOOD}\n")
            async with asyncio.timeout(10):
                while (await client.get("/v1/models", headers=bearer(GOOD))).status_code != 200:
                    await asyncio.sleep(0.05)


async def test_pages_of_others_get_nothing_out_of_a_door_without_keys(nats_server: str, tmp_path: Path) -> None:
    """A page in a browser on this machine reaches loopback: by a form, a picture, or a name of its own that leads here.
    Programs, our own pages, and what has no key anyhow are served."""
    foreign: list[dict[str, str]] = [
        {"host": "evil.example:8000"},
        {"origin": "https://evil.example", "content-type": "text/plain"},
        {"sec-fetch-site": "cross-site"},
    ]
    with WorkerProcess(nats_server, tmp_path, HTTP_ADDR=""), GatewayProcess(nats_server, tmp_path) as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:
            home = {"origin": gateway.url, "sec-fetch-site": "same-origin"}
            for headers in foreign:
                answer = await client.post("/v1/chat/completions", content=json.dumps(CHAT), headers=headers)
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN"), headers
                assert (await client.get("/v1/models", headers=headers)).status_code == 403
                assert (await client.get("/healthz", headers=headers)).status_code == 200
            for headers in ({}, home):
                assert (await client.post("/v1/chat/completions", json=CHAT, headers=headers)).status_code == 200
        page = socketio.AsyncClient(reconnection=False)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await page.connect(gateway.url, headers={"host": "evil.example:8000"})


def test_a_public_worker_without_keys_does_not_start(nats_server: str, tmp_path: Path) -> None:
    """The same at a worker's HTTP_ADDR."""
    worker = WorkerProcess(nats_server, tmp_path, HTTP_ADDR=f"0.0.0.0:{free_port()}")
    assert "can be reached by others, and nobody has a key" in worker.start_failing()
