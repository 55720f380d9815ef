"""What happens to more requests than a queue holds, and to jobs whose time is over?

3,000 requests at concurrency 64 into an echo model whose consumers are paused: how many are refused, how quickly, and
whether all the others are answered once it goes on. Then 100 jobs with a second to live: before an ingress whose engine
takes none, and with the worker killed after they were accepted and started 5 s later.
"""

import asyncio
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from support import WorkerProcess, broker, figure, note

from golek_wire import subjects

BENCH = "overload"
REQUESTS = int(os.environ.get("OVERLOAD_REQUESTS", "3000"))
CAPACITY = int(os.environ.get("OVERLOAD_CAPACITY", "2000"))
CONCURRENCY = 64
EXPIRING = 100
AWAY_S = 5.0
REQUEST = "inference.request.echo"
STREAM = subjects.job_stream("echo")
CONSUMER = f"$JS.API.CONSUMER.PAUSE.{STREAM}.{subjects.consumer('echo')}"


class Answers:
    """Replies as they arrive at one inbox each, with the times they came."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._prefix = client.new_inbox()
        self._accepted: dict[str, asyncio.Future[bool]] = {}
        self.finals: dict[str, tuple[float, dict[str, Any]]] = {}
        self.duplicates = 0

    async def start(self) -> None:
        await self._client.subscribe(f"{self._prefix}.*", cb=self._on, pending_msgs_limit=-1, pending_bytes_limit=-1)

    async def ask(self, name: str, body: dict[str, Any]) -> bool:
        """Send a request that wants to know when it is stored; True when it was, False when it was answered first."""
        settled = self._accepted[name] = asyncio.get_running_loop().create_future()
        inbox = f"{self._prefix}.{name}"
        await self._client.publish(REQUEST, json.dumps(body).encode(), inbox, {"Golek-Accept": "1"})
        return await settled

    async def all(self, count: int, patience_s: float) -> None:
        """Wait until `count` have their final answer, or the patience is over."""
        until = time.perf_counter() + patience_s
        while len(self.finals) < count and time.perf_counter() < until:
            await asyncio.sleep(0.02)

    def codes(self) -> list[str]:
        return [reply.get("error", {}).get("code", "") for _, reply in self.finals.values()]

    async def _on(self, message: Msg) -> None:
        name = message.subject.rpartition(".")[2]
        accepted = bool(message.headers and "Golek-Status" in message.headers)
        if not accepted:
            self.duplicates += name in self.finals
            self.finals[name] = (time.perf_counter(), json.loads(message.data))
        if not self._accepted[name].done():
            self._accepted[name].set_result(accepted)


async def pause(client: Client, until: str = "2100-01-01T00:00:00Z") -> None:
    """Let the server hand out no job; with a time in the past let it go on."""
    await client.request(CONSUMER, json.dumps({"pause_until": until}).encode())


async def go_on(client: Client) -> None:
    await pause(client, "2000-01-01T00:00:00Z")


async def connected(url: str, use: Callable[[Client, Answers], Awaitable[None]]) -> None:
    client = await nats.connect(url, max_reconnect_attempts=-1)
    answers = Answers(client)
    await answers.start()
    try:
        await use(client, answers)
    finally:
        await client.close()


async def flood(client: Client, answers: Answers) -> None:
    """More requests than there are places."""
    await pause(client)
    left, refusals_ms = iter(range(REQUESTS)), list[float]()

    async def caller() -> None:
        for number in left:
            began = time.perf_counter()
            if not await answers.ask(str(number), {"input": "hi", "deadline_ms": 600_000}):
                refusals_ms.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(caller() for _ in range(CONCURRENCY)))
    refused = answers.codes()
    hints = [reply["error"]["details"]["retry_after_ms"] / 1000 for _, reply in answers.finals.values()]
    note(f"{len(refused)} refused with {set(refused)}, told to come back after {min(hints)} to {max(hints)} s")
    await go_on(client)
    await answers.all(REQUESTS, 60)
    stored = REQUESTS - len(refused)
    lost = stored - answers.codes().count("")
    refusals_ms.sort()
    figure(BENCH, "refused", refused.count("QUEUE_FULL"), REQUESTS - CAPACITY, "requests", 1)
    figure(BENCH, "refusal_p99_ms", refusals_ms[int(len(refusals_ms) * 0.99)], None, "ms", len(refusals_ms))
    figure(BENCH, "lost_after_resume", lost, None, "requests", stored)
    figure(BENCH, "answered_twice", answers.duplicates, None, "requests", stored)


async def expire(client: Client, answers: Answers) -> None:
    """Jobs with a second to live that no engine takes; the ingress lives."""
    await pause(client)
    began = time.perf_counter()
    await asyncio.gather(
        *(answers.ask(str(n), {"req_id": "expired", "input": "hi", "deadline_ms": 1000}) for n in range(EXPIRING))
    )
    await answers.all(EXPIRING, 30)
    await go_on(client)
    figure(BENCH, "expired_unanswered", EXPIRING - answers.codes().count("DEADLINE_EXCEEDED"), None, "jobs", EXPIRING)
    figure(BENCH, "expired_last_answer_s", max(at for at, _ in answers.finals.values()) - began, None, "s", EXPIRING)


def outlive(worker: WorkerProcess) -> Callable[[Client, Answers], Awaitable[None]]:
    """Jobs with a second to live whose worker is killed once they are stored, and comes back much later."""

    async def use(client: Client, answers: Answers) -> None:
        await pause(client)
        body = {"req_id": "outlived", "input": "hi", "deadline_ms": 1000}
        await asyncio.gather(*(answers.ask(str(n), body) for n in range(EXPIRING)))
        worker.kill()
        await asyncio.sleep(AWAY_S)
        await go_on(client)
        await asyncio.to_thread(worker.start)
        await answers.all(EXPIRING, 30)
        times = [at for at, _ in answers.finals.values()]
        unanswered = EXPIRING - answers.codes().count("DEADLINE_EXCEEDED")
        figure(BENCH, "outlived_unanswered", unanswered, None, "jobs", EXPIRING)
        figure(BENCH, "outlived_first_to_last_answer_s", max(times) - min(times), None, "s", EXPIRING)

    return use


def ran(data: Path) -> int:
    """How many jobs of the request log were not ended by their deadline before they began."""
    with closing(sqlite3.connect(data / "logs" / "echo.sqlite")) as log:
        ((count,),) = log.execute(
            "SELECT count(*) FROM requests WHERE status != 'DEADLINE_EXCEEDED' OR tokens_out > 0"
        ).fetchall()
    return int(count)


def main() -> None:
    """Each part has a broker of its own, so that no job of the one before is left in its queue."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        for name in ("flood", "expired", "outlived"):
            data = Path(folder) / name
            with broker() as url, WorkerProcess(url, data, QUEUE_CAPACITY=CAPACITY) as worker:
                parts = {"flood": flood, "expired": expire, "outlived": outlive(worker)}
                asyncio.run(connected(url, parts[name]))
                worker.end()
            if name != "flood":
                figure(BENCH, f"{name}_ran", ran(data), None, "jobs", EXPIRING)


if __name__ == "__main__":
    main()
