"""The nginx of docs/behind-another-gateway.md: the configuration there, run as it stands."""

import asyncio
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from golek_client import Golek
from tests.support import certificates
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")
WORDS = 60
STEP_S = 0.02


class Front(NamedTuple):
    """An nginx with TLS before a gateway."""

    url: str
    trust: ssl.SSLContext


@pytest.fixture
def front(fleet: Fleet, tmp_path: Path) -> Iterator[Front]:
    """nginx as the page has it, with ports and certificates of the test, before a gateway and a slow echo."""
    authority = certificates.Authority(tmp_path)
    signed = authority.sign("llm", "IP:127.0.0.1")
    page = Path("docs/behind-another-gateway.md").read_text("utf-8")
    (block,) = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    port = free_port()
    with (
        WorkerProcess(fleet.nats, tmp_path, "echo", HTTP_ADDR="", ENGINE_STEP_MIN_MS=STEP_S * 1000),
        GatewayProcess(fleet.nats, tmp_path) as gateway,
    ):
        for mine, theirs in (
            ("listen 443", f"listen 127.0.0.1:{port}"),
            ("127.0.0.1:8000", f"127.0.0.1:{gateway.port}"),
            ("/etc/ssl/llm.example.org.pem", signed.cert),
            ("/etc/ssl/llm.example.org.key", signed.key),
        ):
            assert mine in block
            block = block.replace(mine, theirs)
        folders = "".join(f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi"))
        folders += "".join(f"{name}_temp_path {tmp_path}/{name};" for name in ("uwsgi", "scgi"))
        config = tmp_path / "nginx.conf"
        config.write_text(
            f"daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log; events {{}}\n"
            f"http {{ access_log off; {folders}\n{block}\n}}\n"
        )
        assert NGINX is not None
        process = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(config), "-e", f"{tmp_path}/error.log"])
        try:
            yield Front(f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=authority.file))
        finally:
            process.terminate()
            process.wait(10)


def visitor(front: Front) -> httpx2.AsyncClient:
    """Who asks nginx, and trusts its certificate."""
    return httpx2.AsyncClient(base_url=front.url, verify=front.trust, timeout=10)


async def answered(client: httpx2.AsyncClient) -> None:
    """Wait until nginx answers."""
    async with asyncio.timeout(10):
        while True:
            try:
                assert (await client.get("/ping")).status_code == 200
                return
            except httpx2.ConnectError:
                await asyncio.sleep(0.02)


async def test_streams_come_as_they_are_written_and_leaving_cancels(front: Front, fleet: Fleet) -> None:
    """Through TLS and the proxy events are spread over the time of writing; who leaves frees the slot within 1 s."""
    body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "word " * WORDS}]}
    async with visitor(front) as client:
        await answered(client)
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            times = [time.monotonic() async for line in response.aiter_lines() if line.startswith("data:")]
        assert len(times) > WORDS / 2
        assert times[-1] - times[0] > WORDS * STEP_S / 2
        body["messages"] = [{"role": "user", "content": "word " * 1000}]
        async with Golek(fleet.nats) as golek:
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                await anext(response.aiter_lines())
                assert (await golek.health("echo")).active == 1
            async with asyncio.timeout(1):
                while (await golek.health("echo")).active:
                    await asyncio.sleep(0.01)


async def test_the_page_and_its_files_come_through(front: Front) -> None:
    """What the browser loads keeps its kind and its policy behind the proxy."""
    async with visitor(front) as client:
        await answered(client)
        for path, kind in (("/", "text/html"), ("/docs", "text/html"), ("/static/chat.js", "text/javascript")):
            page = await client.get(path)
            assert page.status_code == 200
            assert page.headers["content-type"].startswith(kind)
            assert "default-src 'none'" in page.headers["content-security-policy"]
