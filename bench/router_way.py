"""What does the way through a router cost, and how soon does it refuse?

`added_p50`: the same client asks an echo worker and, in turns, `auto` through a router that has nobody else to ask; the
figure is what the router's way takes more, as a share of the straight one. Medians of 5 interleaved runs.

`typo_*`: a name that nobody knows, while a router, a monitor and a plain listener for heartbeats run: 1,000 requests
over NATS and 1,000 over HTTP, each a 404 with the name that was meant. `gone_*`: the same for a model whose worker was
stopped for good: 503.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nats
from support import broker, ended, figure, median, note, worker

from golek_client import Golek, InferenceServiceError
from golek_client.discovery import LEAVING_S
from tests.support.fronts import GatewayProcess
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

BENCH = "router"
RUNS = 5
REQUESTS = 200
REFUSALS = 1000
TEXT = "Explain machine learning in simple words. " * 8


async def _median_ms(act: Callable[[], Awaitable[object]]) -> float:
    taken = []
    for _ in range(REQUESTS):
        start = time.perf_counter()
        await act()
        taken.append((time.perf_counter() - start) * 1e3)
    return median(taken)


async def _added(url: str) -> None:
    straight, routed = list[float](), list[float]()
    async with Golek(url) as golek:
        for _ in range(RUNS):
            straight.append(await _median_ms(lambda: golek.ask("echo", TEXT, max_tokens=50)))
            routed.append(await _median_ms(lambda: golek.ask("auto", TEXT, max_tokens=50)))
    ours, peer = median(routed), median(straight)
    note(f"straight {peer:.2f} ms, through the router {ours:.2f} ms")
    figure(BENCH, "added_p50", (ours - peer) / peer, None, "share", RUNS)


async def _refusals(url: str, name: str, code: str) -> tuple[list[float], int]:
    """How long each took in ms, and how many said `code`."""
    taken, right = [], 0
    async with Golek(url, deadline=10) as golek:
        for _ in range(REFUSALS):
            start = time.perf_counter()
            try:
                await golek.ask(name, "hi")
            except InferenceServiceError as error:
                right += error.code == code and (code != "MODEL_NOT_FOUND" or error.details["did_you_mean"] == "echo")
            taken.append((time.perf_counter() - start) * 1e3)
    return taken, right


def _refusals_http(base: str, name: str, status: int) -> tuple[list[float], int]:
    taken, right = [], 0
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "hi"}]}).encode()
    for _ in range(REFUSALS):
        asked = urllib.request.Request(f"{base}/v1/chat/completions", body, {"content-type": "application/json"})
        start = time.perf_counter()
        try:
            urllib.request.urlopen(asked, timeout=10).read()
        except urllib.error.HTTPError as error:
            error.read()
            right += error.code == status
        taken.append((time.perf_counter() - start) * 1e3)
    return taken, right


def _tell(name: str, found: tuple[list[float], int]) -> None:
    taken, right = found
    taken.sort()
    figure(BENCH, f"{name}_right", right, None, "requests", REFUSALS)
    figure(BENCH, f"{name}_p99_ms", taken[len(taken) * 99 // 100], None, "ms", REFUSALS)


async def _heard(url: str, stop: asyncio.Event) -> None:
    """A plain program that listens to heartbeats, as `nats sub` does."""
    client = await nats.connect(url)
    await client.subscribe("models.*.heartbeat")
    await stop.wait()
    await client.close()


async def _refused(url: str, base: str) -> None:
    stop = asyncio.Event()
    heard = asyncio.create_task(_heard(url, stop))
    _tell("typo_nats", await _refusals(url, "ecco", "MODEL_NOT_FOUND"))
    _tell("typo_http", await asyncio.to_thread(_refusals_http, base, "ecco", 404))
    _tell("gone_nats", await _refusals(url, "gone", "NO_WORKERS"))
    _tell("gone_http", await asyncio.to_thread(_refusals_http, base, "gone", 503))
    stop.set()
    await heard


@contextmanager
def _monitor(url: str, data: Path) -> Iterator[None]:
    about = os.environ | {"NATS_URL": url, "GOLEK_DATA": str(data), "MONITOR_ADDR": f"127.0.0.1:{free_port()}"}
    command = [sys.executable, "-m", "golek_monitor", "serve"]
    with ended(subprocess.Popen(command, env=about, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)):
        yield


def way() -> None:
    """Print what the way costs, and how soon a router refuses."""
    with broker() as url, TemporaryDirectory(prefix="golek-bench-") as folder:
        data = Path(folder)
        with worker(url), worker(url, "router"):
            asyncio.run(_added(url))
            with WorkerProcess(url, data / "gone", "golek-tiny", ENGINE="echo", MODEL_NAME="gone"):
                pass
            time.sleep(LEAVING_S + 1)  # so long one that leaves may be replaced
            with _monitor(url, data), GatewayProcess(url, data) as gateway:
                asyncio.run(_refused(url, gateway.url))


if __name__ == "__main__":
    way()
