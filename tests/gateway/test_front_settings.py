"""TLS, pages from elsewhere, and ports that are taken."""

import json
import socket
import ssl
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.gateway.test_strangers import refused
from tests.support.certificates import Authority
from tests.support.fronts import GatewayProcess
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

HERE = ("IP:127.0.0.1", "DNS:localhost")


async def test_https_at_both_doors(nats_server: str, tmp_path: Path) -> None:
    """With a certificate of an authority that the client trusts; health says so, plain HTTP is not answered. The port
    where the platform asks stays plain."""
    authority = Authority(tmp_path / "tls")
    signed = authority.sign("golek", *HERE)
    tls = {"HTTP_TLS_CERT": signed.cert, "HTTP_TLS_KEY": signed.key}
    port, health_port = free_port(), free_port()
    with (
        WorkerProcess(nats_server, tmp_path / "worker", HTTP_ADDR=f"127.0.0.1:{port}", **tls),
        GatewayProcess(nats_server, tmp_path, GOLEK_HEALTH_PORT=health_port, **tls) as gateway,
    ):
        trusting = ssl.create_default_context(cafile=authority.file)
        async with httpx2.AsyncClient(verify=trusting) as client:
            for at in (port, gateway.port):
                url = f"https://127.0.0.1:{at}"
                body = {"model": "echo", "messages": [{"role": "user", "content": "hello there"}], "stream": True}
                answer = await client.post(f"{url}/v1/chat/completions", json=body)
                assert answer.text.endswith("data: [DONE]\n\n")
                with pytest.raises(httpx2.TransportError):
                    await client.get(f"http://127.0.0.1:{at}/healthz")
            assert (await client.get(f"http://127.0.0.1:{health_port}/")).status_code == 200
        async with httpx2.AsyncClient() as stranger:
            with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await stranger.get(f"https://127.0.0.1:{gateway.port}/healthz")


@pytest.mark.parametrize(
    ("cert", "key", "problem"),
    [
        ("nowhere.pem", "", "HTTP_TLS_CERT=nowhere.pem: No such file or directory"),
        ("{one.cert}", "nowhere.key", "HTTP_TLS_KEY=nowhere.key: No such file or directory"),
        ("{one.cert}", "{two.key}", "no certificate and its key"),
        ("{one.cert}", "", "; HTTP_TLS_KEY, the file with its key, is missing"),
        ("", "{one.key}", "HTTP_TLS_CERT, the certificate to it, is missing"),
    ],
)
def test_a_wrong_certificate_is_a_sentence(nats_server: str, tmp_path: Path, cert: str, key: str, problem: str) -> None:
    """It names the files and says what is wrong with them."""
    authority = Authority(tmp_path / "tls")
    one, two = authority.sign("one", *HERE), authority.sign("two", *HERE)
    given = {"HTTP_TLS_CERT": cert.format(one=one), "HTTP_TLS_KEY": key.format(one=one, two=two)}
    told = refused(nats_server, tmp_path, given | {"INFERENCE_PORT": str(free_port())})
    assert problem in told
    assert given["HTTP_TLS_CERT"] in told
    assert "Traceback" not in told


def test_a_port_that_is_taken_is_a_sentence(nats_server: str, tmp_path: Path) -> None:
    """Which setting, and that somebody listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = refused(nats_server, tmp_path, {"INFERENCE_PORT": port})
        assert told == f"127.0.0.1:{port} cannot be served: something listens there already"
        told = refused(nats_server, tmp_path, {"GOLEK_HEALTH_PORT": port, "INFERENCE_PORT": str(free_port())})
        assert told.startswith(f"GOLEK_HEALTH_PORT={port}: 127.0.0.1:{port} cannot be served")


async def test_pages_of_named_origins_may_ask(nats_server: str, tmp_path: Path) -> None:
    """Their browsers are told so before, without a key, and with each answer, errors too; others are told nothing."""
    (tmp_path / "api_keys.txt").write_text("ann:ann-key-0123456789\n")
    allowed, other = {"origin": "https://a.example"}, {"origin": "https://b.example"}
    before = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    given = {"HTTP_CORS_ORIGINS": "https://a.example, https://c.example/"}
    with GatewayProcess(nats_server, tmp_path, **given) as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:
            told = await client.options("/v1/chat/completions", headers=allowed | before)
            assert told.status_code == 204
            assert told.headers["access-control-allow-origin"] == "https://a.example"
            assert told.headers["access-control-allow-headers"] == "authorization,content-type"
            assert "DELETE" in told.headers["access-control-allow-methods"]
            refused_one = await client.options("/v1/chat/completions", headers=other | before)
            assert "access-control-allow-origin" not in refused_one.headers
            for path, status in (("/healthz", 200), ("/v1/models", 401), ("/nowhere", 401)):
                answer = await client.get(path, headers=allowed)
                assert answer.status_code == status
                assert answer.headers["access-control-allow-origin"] == "https://a.example"
                assert "x-golek-job" in answer.headers["access-control-expose-headers"]
                assert "Origin" in answer.headers["vary"]
                answer = await client.get(path, headers=other)
                assert "access-control-allow-origin" not in answer.headers
                assert "Origin" in answer.headers["vary"]
                assert "vary" not in (await client.get(path)).headers
            for headers, status in ((other, 400), (allowed, 200)):
                answer = await client.get("/socket.io/?EIO=4&transport=polling", headers=headers)
                assert answer.status_code == status


async def test_pages_of_all_origins_may_ask(nats_server: str, tmp_path: Path) -> None:
    """Where `*` says so."""
    with GatewayProcess(nats_server, tmp_path, HTTP_CORS_ORIGINS="*") as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url) as client:
            answer = await client.get("/healthz", headers={"origin": "https://b.example"})
            assert answer.headers["access-control-allow-origin"] == "*"


def test_curl_trusts_the_same_certificate(nats_server: str, tmp_path: Path) -> None:
    """As a person at a shell would try it."""
    authority = Authority(tmp_path / "tls")
    signed = authority.sign("golek", *HERE)
    with GatewayProcess(nats_server, tmp_path, HTTP_TLS_CERT=signed.cert, HTTP_TLS_KEY=signed.key) as gateway:
        command = ["curl", "-sS", "--cacert", authority.file, f"https://localhost:{gateway.port}/ping"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(done.stdout) == {"status": "ok"}
