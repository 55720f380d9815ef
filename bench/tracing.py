"""What do traces cost? Requests a second through a worker, as ratios to one that traces nothing.

Four workers of the echo engine on one broker, asked in turn, so that noise of the machine meets all: without tracing,
with every request sent to a receiver, with a sampler that leaves all out, and with a receiver that is not there.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from support import WorkerProcess, broker, ended, figure, median, note

from golek_client import Golek

REQUESTS = 3000
TOGETHER = 64
ROUNDS = 7
DEAD = "http://127.0.0.1:9"


class Sink(BaseHTTPRequestHandler):
    """Takes spans and forgets them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


def receive() -> None:
    """Be a receiver, in a process of its own: it must not take the asking program's time."""
    server = HTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextmanager
def receiver() -> Iterator[str]:
    """Where one listens."""
    command = [sys.executable, __file__, "receive"]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE)) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdout.close()


async def rate(golek: Golek, model: str) -> float:
    """Requests a second."""
    left = iter(range(REQUESTS))

    async def ask() -> None:
        for _ in left:
            await golek.ask(model, "ping", max_tokens=1)

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(TOGETHER)))
    return REQUESTS / (time.perf_counter() - began)


async def rates(url: str, models: list[str]) -> dict[str, list[float]]:
    """Those of each model, asked in turn; the first round warms up."""
    found: dict[str, list[float]] = {model: [] for model in models}
    async with Golek(url) as golek:
        for number in range(ROUNDS + 1):
            for model in models:
                measured = await rate(golek, model)
                note(f"round {number}: {model} {measured:.0f}/s")
                if number:
                    found[model].append(measured)
    return found


def main() -> None:
    with ExitStack() as stack:
        url = stack.enter_context(broker())
        endpoint = stack.enter_context(receiver())
        ways = {
            "off": {},
            "on": {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER": "always_on"},
            "unsampled": {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER": "always_off"},
            "dead": {"OTEL_EXPORTER_OTLP_ENDPOINT": DEAD, "OTEL_TRACES_SAMPLER": "always_on"},
        }
        for name, settings in ways.items():
            data = Path(stack.enter_context(TemporaryDirectory(prefix="golek-bench-")))
            more = {"MODEL_NAME": name, "GOLEK_LOG_LEVEL": "warning", "WORKER_CONCURRENCY": 16}
            stack.enter_context(WorkerProcess(url, data, "echo", **settings, **more))
        found = asyncio.run(rates(url, list(ways)))
        off = median(found["off"])
        for name in ("on", "unsampled", "dead"):
            ratios = [ours / peer for ours, peer in zip(found[name], found["off"], strict=True)]
            figure("tracing", f"requests_per_s_{name}", median(ratios) * off, off, "requests/s", ROUNDS)


if __name__ == "__main__":
    receive() if sys.argv[1:] == ["receive"] else main()
