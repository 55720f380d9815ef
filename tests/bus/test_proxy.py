"""The shipped nginx configuration, run as it is in front of a server: TLS ends there."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_client import BusUnavailableError, Golek
from golek_client.login import Login
from golek_worker.bus import embedded
from tests.support.broker import NatsServer
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

SHIPPED = Path("scripts/nats/nginx.conf")
MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
NGINX = shutil.which("nginx") is not None and MODULE.is_file()
pytestmark = pytest.mark.skipif(not NGINX, reason="no nginx with its stream module")


@pytest.fixture
def proxy(broker: NatsServer, tmp_path: Path) -> Iterator[tuple[str, Authority]]:
    """The proxy's URL, and who signed its certificate."""
    authority, port = Authority(tmp_path / "certs"), free_port()
    signed = authority.sign("golek", "IP:127.0.0.1")
    folder = tmp_path / "proxy"
    folder.mkdir()
    shutil.copy(signed.cert, folder / "golek.pem")
    shutil.copy(signed.key, folder / "golek.key")
    text = SHIPPED.read_text().replace("4443 ssl", f"{port} ssl").replace("127.0.0.1:4222", f"127.0.0.1:{broker.port}")
    (folder / "nginx.conf").write_text(text)
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf"]
    subprocess.run(command, check=True, capture_output=True)  # returns once it listens
    try:
        yield f"tls://127.0.0.1:{port}", authority
    finally:
        subprocess.run([*command, "-s", "stop"], check=True, capture_output=True)


async def test_client_and_worker_go_through_the_proxy(proxy: tuple[str, Authority], tmp_path: Path) -> None:
    """Whole requests and streams, over TLS from the first byte; a client without the authority is told."""
    url, authority = proxy
    login = Login(tls_ca=authority.file, tls_first=True)
    assert await embedded.is_up(url, login=login)
    with WorkerProcess(url, tmp_path / "data", NATS_TLS_CA=authority.file, NATS_TLS_FIRST="true"):
        async with Golek(url, login=login, deadline=10) as golek:
            assert (await golek.ask("echo", "through the proxy")).text == "through the proxy"
            assert "".join([piece async for piece in golek.stream("echo", "a b c")]) == "a b c"
    with pytest.raises(BusUnavailableError, match="is not trusted"):
        await Golek(url, login=Login(tls_first=True)).ask("echo", "hi")
