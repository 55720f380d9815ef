"""Real gateway processes for tests, and what a fleet over HTTP consists of."""

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.broker import NatsServer
from tests.support.ports import free_port
from tests.support.workers import ROOT, WorkerProcess

READY_S = 30.0
_TRUSTING = ssl._create_unverified_context()
"""Whether it answers is asked whatever its certificate is."""


class Fleet(NamedTuple):
    """A broker, a worker of golek-tiny with HTTP of its own, and a gateway."""

    nats: str
    gateway: str
    """`http://127.0.0.1:…`, without `/v1`."""
    worker: str
    """Likewise, of the worker."""
    data: Path


class GatewayProcess:
    """The fleet's gateway in a process of its own, on a free port. Settings override the environment."""

    def __init__(self, nats: str, data: Path, **settings: object) -> None:
        self.port = free_port()
        self.log = data / f"gateway-{self.port}.log"
        self._environment = os.environ | {
            "NATS_URL": nats, "GOLEK_DATA": str(data), "INFERENCE_PORT": str(self.port), "GOLEK_HEALTH_PORT": "0",
        }  # fmt: skip
        self._environment |= {key: str(value) for key, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if 'HTTP_TLS_CERT' in self._environment else 'http'}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "golek_worker.front"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        until = time.monotonic() + READY_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/ping", timeout=5, context=_TRUSTING):
                    return self
            except urllib.error.URLError:
                time.sleep(0.02)
        self.end()
        raise AssertionError(f"no gateway\n{self.log.read_text()}")

    def __exit__(self, *_: object) -> None:
        self.end()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait until it has ended; its status."""
        assert self.process is not None
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def end(self) -> None:
        """SIGTERM, then SIGKILL; leaves no process behind."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


@contextmanager
def fleet(data: Path, workers: dict[str, dict[str, Any]], **gateway: object) -> Iterator[Fleet]:
    """A broker, these deployments with their settings, and a gateway with its own; all end with the block."""
    (data / "nats").mkdir()
    with ExitStack() as stack:
        server = NatsServer(data / "nats").start()
        stack.callback(server.kill)
        started = [WorkerProcess(server.url, data, name, **chosen) for name, chosen in workers.items()]
        for worker in started:
            stack.callback(worker.end)
            worker.start(wait=False)
        front = stack.enter_context(GatewayProcess(server.url, data, **gateway))
        for worker in started:
            worker.wait_for("online")
        address = workers.get("golek-tiny", {}).get("HTTP_ADDR", "")
        yield Fleet(server.url, front.url, f"http://{address}" if address else "", data)
