"""What does nonsense do to a gateway?

FUZZ_N requests with something wrong about them (tests/support/hostile_http.py), at all routes that take a body, over
raw connections, at a gateway in front of three real workers: text, vectors, ranking. `unanswered` got no answer
although they could have, `status_500`, `undocumented` (a status that the OpenAPI document does not have for the route)
and `invalid_bodies` (not as it says) are counted; `rss_growth` is the gateway's memory after all compared with after a
tenth. After that: is a normal request answered, is a slot or a connection still taken?
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import psutil
from support import WorkerProcess, figure, note, server

from golek_client import Golek
from tests.support import minilm, reranker
from tests.support.fronts import GatewayProcess
from tests.support.hostile_http import Range, Shot, Shots, bodies, document

BENCH = "http_fuzz"
N = int(os.environ.get("FUZZ_N", "10000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
TEXT, VECTORS, JUDGE = "echo", "vectors", "judge"
ENDS_S = 10.0


async def fire(gateway: GatewayProcess, worker: WorkerProcess, nats: str) -> None:
    """Everything, and the figures."""
    known = document(gateway.url)
    wanted = bodies(known, TEXT, VECTORS, JUDGE)
    note(f"{len(wanted)} routes: {', '.join(wanted)}")
    shots: Iterator[Shot] = iter(Shots(wanted, SEED))
    at = Range(gateway.url, known)
    processes = {"gateway": psutil.Process(gateway.pid), "worker": psutil.Process(worker.pid)}
    grown = {name: [0.0, 0.0] for name in processes}
    began = time.monotonic()
    for number, part in enumerate((N // 10, N - N // 10)):
        await at.fire(shots, part)
        for name, process in processes.items():
            grown[name][number] = process.memory_info().rss / 2**20
        note(f"{at.fired} fired, {dict(sorted(at.statuses.items()))}, {grown}")
    seconds = time.monotonic() - began
    problems = {
        "unanswered": at.unanswered,
        "status_500": at.failed,
        "undocumented": at.undocumented,
        "invalid_bodies": at.invalid,
        "status_above_500": at.late,
    }
    for name, found in problems.items():
        for one in found[:10]:
            note(f"{name}: {one}")
        figure(BENCH, name, len(found), None, "requests", at.fired)
    for name, (early, late) in grown.items():
        figure(BENCH, f"{name}_rss_growth", late - early, None, "MiB", at.fired)
        figure(BENCH, f"{name}_rss", late, None, "MiB", at.fired)
    figure(BENCH, "normal_request", await normal(gateway.url), None, "status", 1)
    figure(BENCH, "open_slots", await slots(nats), None, "slots", 3)
    figure(BENCH, "open_connections", await connections(processes["gateway"], gateway.port), None, "connections", 1)
    figure(BENCH, "seconds", seconds, None, "s", at.fired)


async def normal(url: str) -> int:
    """The status of a request with nothing wrong about it."""
    async with httpx2.AsyncClient(base_url=url, timeout=10) as client:
        asked = {"model": TEXT, "messages": [{"role": "user", "content": "What is NATS?"}]}
        return (await client.post("/v1/chat/completions", json=asked)).status_code


async def slots(nats: str) -> int:
    """Slots that are taken although everybody has gone, after a while in which that may change."""
    async with Golek(nats) as golek:
        until = time.monotonic() + ENDS_S
        while True:
            taken = sum([(await golek.health(model)).active for model in (TEXT, VECTORS, JUDGE)])
            if not taken or time.monotonic() > until:
                return taken
            await asyncio.sleep(0.1)


async def connections(process: psutil.Process, port: int) -> int:
    """Connections of clients that are open although everybody has gone, after a while in which that may change."""
    until = time.monotonic() + ENDS_S
    while True:
        found = [one for one in process.net_connections("tcp") if one.laddr.port == port and one.status != "LISTEN"]
        if not found or time.monotonic() > until:
            return len(found)
        await asyncio.sleep(0.1)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, server() as nats, ExitStack() as stack:
        data = Path(folder)
        common = {"GOLEK_LOG_LEVEL": "error", "HTTP_ADDR": "", "MODEL_THREADS": 1}
        worker = stack.enter_context(WorkerProcess(nats.url, data / "text", "echo", **common))
        for name, file in ((VECTORS, minilm.model_file()), (JUDGE, reranker.model_file())):
            given = common | {"MODEL_NAME": name, "MODEL_PATH": file}
            stack.enter_context(WorkerProcess(nats.url, data / name, "golek-tiny", **given))
        settings = {"GOLEK_LOG_LEVEL": "error", "INFERENCE_REQUEST_TIMEOUT": 20}
        gateway = stack.enter_context(GatewayProcess(nats.url, data, **settings))
        asyncio.run(fire(gateway, worker, nats.url))


if __name__ == "__main__":
    main()
