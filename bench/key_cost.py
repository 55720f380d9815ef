"""What does a key cost a request, on the bus and over HTTP?

Two fleets of one echo worker and one gateway each: one that asks for keys, and has a thousand, and one that serves
everybody. Both are asked the same in turn, on a connection that stays open; medians of KEY_COST_REQUESTS.
"""

import asyncio
import http.client
import json
import os
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import nats
from gateway import started
from support import ROOT, broker, figure, median, worker

from tests.support.ports import free_port

BENCH = "key_cost"
REQUESTS = int(os.environ.get("KEY_COST_REQUESTS", "2000"))
OTHERS = 1000
"""Keys in the file beside the one that is used."""
KEY = secrets.token_hex(16)
PROMPT = "What is a lease?"


class Fleet(NamedTuple):
    """Where it is asked."""

    url: str
    port: int
    headers: dict[str, str]


class Medians(NamedTuple):
    """Milliseconds of a request."""

    keyed: float
    open: float


@contextmanager
def fleet(*, keyed: bool) -> Iterator[Fleet]:
    """Broker, echo worker and gateway."""
    with ExitStack() as stack:
        url = stack.enter_context(broker())
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="golek-bench-")))
        settings = {"STREAM_GATHER_MS": "0"}
        if keyed:
            settings |= {"GOLEK_KEY_FILE": str(_keys(data)), "GOLEK_NATS_IDENTITY": "keys"}
        stack.enter_context(worker(url, **settings))
        port = free_port()
        said = {"NATS_URL": url, "INFERENCE_PORT": str(port), "GOLEK_DATA": str(data), "PYTHONPATH": str(ROOT)}
        said |= {"GOLEK_HEALTH_PORT": "0", "GOLEK_LOG_LEVEL": "warning"} | settings
        stack.enter_context(started([sys.executable, "-m", "golek_worker.front"], said, data))
        headers = {"Authorization": f"Bearer {KEY}"} if keyed else {}
        _until_answered(port, headers)
        if keyed and _answered(port, {}):
            raise RuntimeError("a fleet that asks for keys answered somebody without one")
        yield Fleet(url, port, headers)


def _keys(folder: Path) -> Path:
    file = folder / "api_keys.txt"
    file.touch(0o600)
    file.write_text("".join(f"id-{number}:{secrets.token_hex(16)}\n" for number in range(OTHERS)) + f"bench:{KEY}\n")
    return file


def on_the_bus(keyed: Fleet, open_to_all: Fleet) -> Medians:
    """Of a raw request."""

    async def measure() -> Medians:
        body = json.dumps({"input": PROMPT}).encode()
        clients = [(await nats.connect(fleet.url), fleet.headers or None) for fleet in (keyed, open_to_all)]
        taken: tuple[list[float], list[float]] = ([], [])
        for number in range(REQUESTS + 50):
            for index in random.sample((0, 1), 2):
                client, headers = clients[index]
                began = time.perf_counter()
                answer = await client.request("inference.request.echo", body, timeout=10, headers=headers)
                if number >= 50:
                    taken[index].append((time.perf_counter() - began) * 1e3)
                if b'"text"' not in answer.data:
                    raise RuntimeError(answer.data.decode())
        for client, _ in clients:
            await client.close()
        return Medians(median(taken[0]), median(taken[1]))

    return asyncio.run(measure())


def over_http(keyed: Fleet, open_to_all: Fleet) -> Medians:
    """Of `POST /v1/chat/completions`."""
    fleets = (keyed, open_to_all)
    connections = [http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=10) for fleet in fleets]
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(REQUESTS + 50):
        for index in random.sample((0, 1), 2):
            began = time.perf_counter()
            _post(connections[index], fleets[index].headers)
            if number >= 50:
                taken[index].append((time.perf_counter() - began) * 1e3)
    for connection in connections:
        connection.close()
    return Medians(median(taken[0]), median(taken[1]))


def _post(connection: http.client.HTTPConnection, headers: dict[str, str]) -> None:
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": PROMPT}]})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"} | headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {content!r}")


def _until_answered(port: int, headers: dict[str, str], patience_s: float = 30.0) -> None:
    until = time.monotonic() + patience_s
    while not _answered(port, headers):
        if time.monotonic() > until:
            raise TimeoutError(f"the gateway answered nothing within {patience_s} s")
        time.sleep(0.1)


def _answered(port: int, headers: dict[str, str]) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        _post(connection, headers)
    except (OSError, RuntimeError):
        return False
    finally:
        connection.close()
    return True


def measured() -> tuple[Medians, Medians]:
    """On the bus, and over HTTP."""
    with fleet(keyed=True) as keyed, fleet(keyed=False) as open_to_all:
        return on_the_bus(keyed, open_to_all), over_http(keyed, open_to_all)


def main() -> None:
    for name, found in zip(("bus", "http"), measured(), strict=True):
        figure(BENCH, name, found.keyed, found.open, "ms", REQUESTS)


if __name__ == "__main__":
    main()
