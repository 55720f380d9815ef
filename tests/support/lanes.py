"""What a router does with lanes, said by hand: who has one, and a job for one replica."""

import asyncio
import json
import time
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from golek_wire import subjects
from golek_wire.lanes import LaneReport
from golek_worker.job import Job, to_headers


async def called(client: Client, count: int, token: str = "echo", patience_s: float = 10.0) -> list[LaneReport]:
    """Ask until so many replicas say that they have a lane; what they say, by worker id."""
    inbox, found = client.new_inbox(), dict[str, LaneReport]()
    answers = await client.subscribe(inbox)
    deadline = time.monotonic() + patience_s
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} replicas say that they have a lane"
        await client.publish(subjects.lanes_called(token), b"", reply=inbox)
        try:
            while True:
                message = await answers.next_msg(0.2)
                if message.data:  # else nobody listens yet
                    report = msgspec.json.decode(message.data, type=LaneReport)
                    found[report.worker_id] = report
        except TimeoutError:
            continue
    await answers.unsubscribe()
    return [found[name] for name in sorted(found)]


async def put(
    client: Client, lane: str, body: dict[str, Any], *, token: str = "echo", tell: bool = True, budget_ms: int = 30_000
) -> Subscription:
    """Store a job on `lane` as a router does; where its answer comes."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    job = Job(
        job_id=subjects.job_id(inbox), req_id="", reply=inbox, stream=bool(body.get("stream")), principal="anonymous",
        seed=1, budget_ms=budget_ms, msg_id=inbox, trace={},
    )  # fmt: skip
    subject = subjects.job(token, "inference", "normal", lane)
    stored = await client.request(subject, json.dumps(body).encode(), headers=to_headers(job))
    assert "seq" in json.loads(stored.data), stored.data
    if tell and lane != subjects.ANY_LANE:
        await client.publish(subjects.stored(token, "inference", "normal", lane), b"")
    return answers


async def answer(answers: Subscription, timeout: float = 10.0) -> tuple[dict[str, Any], str]:
    """The final message there, and which replica wrote it."""
    message = await answers.next_msg(timeout)
    return json.loads(message.data), (message.headers or {}).get("Golek-Worker", "")


async def answered(jobs: list[Subscription], timeout: float = 15.0) -> list[tuple[dict[str, Any], str]]:
    return await asyncio.gather(*(answer(job, timeout) for job in jobs))
