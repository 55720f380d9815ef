"""GOLEK_AUTH: a program says who asks."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.fronts import GatewayProcess
from tests.support.workers import ROOT, WorkerProcess

SECRET = "a-secret-of-at-least-32-characters-for-tests"
ASKED = {"model": "echo", "messages": [{"role": "user", "content": "hello there"}]}


def token(key: str = SECRET, algorithm: str = "HS256", **claims: Any) -> dict[str, str]:
    """The header with a token that is good for a minute, but for what `claims` say."""
    told = {"sub": "ann", "exp": time.time() + 60, **claims}
    return {"Authorization": f"Bearer {jwt.encode(told, key, algorithm=algorithm)}"}


@pytest.fixture
def worker(nats_server: str, tmp_path: Path) -> Iterator[str]:
    """A broker with a worker that wants keys; its URL."""
    with WorkerProcess(nats_server, tmp_path / "worker", GOLEK_NATS_IDENTITY="keys"):
        yield nats_server


def lines(data: Path) -> list[dict[str, Any]]:
    text = (data / "logs" / "api_access.log").read_text()
    return [json.loads(line) for line in text.splitlines() if "chat" in line]


async def keys_in(url: str) -> list[str]:
    """The rows of the bucket."""
    async with raw.connected(url) as client:
        bucket = await client.jetstream().key_value("GOLEK_KEYS")
        return await bucket.keys() if (await bucket.status()).values else []


async def test_a_token_says_who_asks_and_what_it_may(worker: str, tmp_path: Path) -> None:
    """A good one is answered, under its subject's name; with other models 403; a bad one 401. Limits count, at the
    worker, and are those of the newest token. Nothing of it is left in the fleet afterwards."""
    with GatewayProcess(worker, tmp_path, GOLEK_AUTH="examples.jwt_auth:principal", JWT_SECRET=SECRET) as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:

            async def status(headers: dict[str, str]) -> int:
                return (await client.post("/v1/chat/completions", json=ASKED, headers=headers)).status_code

            assert await status(token()) == 200
            assert await status(token(sub="auth0|x.y")) == 200
            assert await status(token(golek={"models": ["other"]})) == 403
            for wrong in (
                {}, {"Authorization": "Bearer nonsense"}, token(exp=time.time() - 60), token(SECRET + "x"),
            ):  # fmt: skip
                assert await status(wrong) == 401
            assert [await status(token(sub="bob", golek={"rpm": 2})) for _ in range(3)] == [200, 200, 429]
            async with asyncio.timeout(10):  # the workers hear of the new limit a moment later
                while await status(token(sub="bob", golek={"rpm": 1000})) != 200:
                    await asyncio.sleep(0.05)
            assert (await client.get("/grammars", headers=token())).status_code == 200
            assert (await client.get("/healthz")).status_code == 200
        assert len(await keys_in(worker)) == 3
    told = [line["key_id"] for line in lines(tmp_path)]
    assert told[0] == "ann"
    assert told[1].startswith("auth0_x_y-")
    assert told[3:7] == [""] * 4
    assert await keys_in(worker) == []


async def test_a_public_key_verifies_too(worker: str, tmp_path: Path) -> None:
    """And is no secret to sign with."""
    pytest.importorskip("cryptography", reason="PyJWT verifies RSA with it")
    for command in (
        ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "private.pem"],
        ["pkey", "-in", "private.pem", "-pubout", "-out", "public.pem"],
    ):
        subprocess.run(["openssl", *command], cwd=tmp_path, check=True, capture_output=True)
    private = (tmp_path / "private.pem").read_text()
    given = {"GOLEK_AUTH": "examples.jwt_auth:principal", "JWT_PUBLIC_KEY": tmp_path / "public.pem"}
    with GatewayProcess(worker, tmp_path, **given) as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:
            for headers, status in ((token(private, "RS256"), 200), (token(), 401)):
                answer = await client.post("/v1/chat/completions", json=ASKED, headers=headers)
                assert answer.status_code == status


async def test_any_callable_will_do(worker: str, tmp_path: Path) -> None:
    """Also an asynchronous one that gives a name; it replaces the keys."""
    with GatewayProcess(worker, tmp_path, GOLEK_AUTH="tests.support.admission:by_header") as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:
            assert (await client.post("/v1/chat/completions", json=ASKED)).status_code == 401
            answer = await client.post("/v1/chat/completions", json=ASKED, headers={"X-Name": "carol"})
            assert answer.status_code == 200
    assert [line["key_id"] for line in lines(tmp_path)] == ["", "carol"]


@pytest.mark.parametrize(("name", "logged"), [("broken", "auth.failed"), ("wrong", "auth.wrong")])
async def test_a_program_that_fails_lets_nobody_in(worker: str, tmp_path: Path, name: str, logged: str) -> None:
    """500, and the log says how."""
    with GatewayProcess(worker, tmp_path, GOLEK_AUTH=f"tests.support.admission:{name}") as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:
            answer = await client.get("/v1/models")
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL")
            assert (await client.get("/healthz")).status_code == 200
        assert f'"{logged}"' in gateway.log.read_text()


async def test_without_the_broker_nobody_new_is_let_in(broker: NatsServer, tmp_path: Path) -> None:
    """503, to be tried again: it is no fault of the program, nor of who asks."""
    with GatewayProcess(broker.url, tmp_path, GOLEK_AUTH="tests.support.admission:by_header") as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url, timeout=30) as client:
            broker.kill()
            answer = await client.get("/v1/models", headers={"X-Name": "carol"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "BUS_UNAVAILABLE")
            assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"GOLEK_AUTH": "nonsense"}, "GOLEK_AUTH=nonsense: of the form module:callable"),
        ({"GOLEK_AUTH": "no.such:thing"}, "GOLEK_AUTH=no.such:thing: no.such cannot be imported: ModuleNotFoundError"),
        ({"GOLEK_AUTH": "tests.support.admission:nobody"}, "tests.support.admission has no nobody that can be called"),
        ({"GOLEK_AUTH": "tests.support.admission:not_callable"}, "has no not_callable that can be called"),
        ({"GOLEK_AUTH": "examples.jwt_auth:principal", "JWT_SECRET": "short"}, "JWT_SECRET has at least 32 characters"),
        (
            {"GOLEK_AUTH": "tests.support.admission:by_header", "GOLEK_NATS_IDENTITY": "accounts"},
            "does not go with GOLEK_NATS_IDENTITY=accounts",
        ),
    ],
)
def test_a_wrong_setting_refuses_to_start(
    nats_server: str, tmp_path: Path, given: dict[str, str], problem: str
) -> None:
    """With a sentence that says why."""
    assert problem in refused(nats_server, tmp_path, given)


def refused(url: str, data: Path, given: dict[str, str]) -> str:
    """What a gateway says that cannot start."""
    environment = os.environ | {"NATS_URL": url, "GOLEK_DATA": str(data), "GOLEK_HEALTH_PORT": "0"} | given
    done = subprocess.run(
        [sys.executable, "-m", "golek_worker.front"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "gateway.failed" in done.stderr, done.stderr
    (line,) = [json.loads(one) for one in done.stderr.splitlines() if '"gateway.failed"' in one]
    problem: str = line["problem"]
    return problem


async def test_the_first_who_is_let_into_an_open_fleet_is_somebody(nats_server: str, tmp_path: Path) -> None:
    """The workers knew no key, so that they look for it: limits count from the first request on, and a conversation is
    its owner's."""
    with (
        WorkerProcess(nats_server, tmp_path / "worker"),
        GatewayProcess(nats_server, tmp_path, GOLEK_AUTH="examples.jwt_auth:principal", JWT_SECRET=SECRET) as gateway,
    ):
        async with httpx2.AsyncClient(base_url=gateway.url, headers=token(golek={"rpm": 2})) as client:
            asked = [client.post("/v1/chat/completions", json={**ASKED, "session_id": "s"}) for _ in range(5)]
            assert sorted(answer.status_code for answer in await asyncio.gather(*asked)) == [200, 200, 429, 429, 429]
        async with raw.connected(nats_server) as client:
            told, _ = await raw.ask(client, "sessions.get", b'{"session_id": "s"}')
            assert told["error"]["code"] == "NOT_FOUND"
            key = {"Authorization": "Bearer made-up"}
            for _ in range(2):  # who brings what nobody knows, was anonymous as long as nobody had a key
                told, _ = await raw.ask(client, "inference.request.echo", b'{"input": "hi"}', **key)
                assert told["error"]["code"] == "UNAUTHORIZED"


async def test_a_made_up_key_is_served_while_nobody_has_one(nats_server: str, tmp_path: Path) -> None:
    """Programs that cannot ask without a key send some; however many at once."""
    with WorkerProcess(nats_server, tmp_path):
        async with raw.connected(nats_server) as client:
            asked = [
                raw.ask(client, "inference.request.echo", b'{"input": "hi"}', Authorization="Bearer made-up")
                for _ in range(50)
            ]
            assert {told["text"] for told, _ in await asyncio.gather(*asked)} == {"hi"}
