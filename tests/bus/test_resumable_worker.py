"""What a worker keeps of a resumable stream, as the bare bus shows it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from golek_wire import headers, subjects
from golek_worker.machine import runfile
from tests.support import raw
from tests.support.workers import WorkerProcess

WORKER = runfile.worker_id("echo", 1)
COUNT: dict[str, Any] = {"input": "a", "params": {"max_tokens": 5, "ignore_eos": True}}
KEPT = COUNT | {"resumable": True, "metadata": {"surface": "chat"}}


async def log_of(client: Client, job_id: str) -> list[Msg]:
    """All that lies in the log of a job now."""
    found: list[Msg] = []
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    query = {"seq": 1, "next_by_subj": subjects.tokens(job_id), "batch": 1000}
    await client.publish(f"$JS.API.DIRECT.GET.{subjects.TOKENS_STREAM}", json.dumps(query).encode(), reply=inbox)
    while headers.NATS_STATUS not in ((message := await subscription.next_msg(5)).headers or {}):
        found.append(message)
    return found


async def whole_log_of(client: Client, job_id: str) -> list[Msg]:
    """The same once it has ended, which is a moment after the inbox heard it."""
    async with asyncio.timeout(5):
        while headers.FINAL not in ((found := await log_of(client, job_id))[-1].headers or {}):
            pass
    return found


async def test_the_log_has_what_the_inbox_got_behind_who_asked(nats_server: str, tmp_path: Path) -> None:
    """Opened by one message, then the same chunks and the same final message; who wrote it is told."""
    with WorkerProcess(nats_server, tmp_path / "data", STREAM_GATHER_MS=0):
        async with raw.connected(nats_server) as client:
            streamed = await raw.stream(client, subjects.request("echo"), KEPT)
            await streamed.rest()
            job_id = subjects.job_id(streamed.inbox)
            async with raw.connected(nats_server) as reader:
                opening, *chunks, final = await whole_log_of(reader, job_id)
            opened = json.loads(opening.data)
            assert opened.pop("created") > 1_700_000_000
            assert opened == {
                "job_id": job_id,
                "model": "echo",
                "deadline_ms": 120_000,
                "metadata": {"surface": "chat"},
            }
            *sent, sent_final, end = streamed.messages
            assert [json.loads(m.data) for m in chunks] == [json.loads(m.data) for m in sent]
            assert json.loads(final.data) == json.loads(sent_final.data)
            assert end.data == b""
            for first, *later in (sent, chunks):
                assert first.headers is not None
                assert first.headers[headers.WORKER] == WORKER
                assert all(headers.WORKER not in (m.headers or {}) for m in later)
            for message in (final, sent_final):
                assert message.headers is not None
                assert message.headers[headers.FINAL] == "1"
                assert message.headers[headers.WORKER] == WORKER


async def test_only_what_asks_for_it_is_kept(nats_server: str, tmp_path: Path) -> None:
    """A stream that does not say `resumable` writes nothing; its replies name the replica, errors that it found too."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        async with raw.connected(nats_server) as client:
            streamed = await raw.stream(client, subjects.request("echo"), COUNT)
            await streamed.rest()
            assert await log_of(client, subjects.job_id(streamed.inbox)) == []
            _, whole = await raw.ask(client, subjects.request("echo"), COUNT)
            _, failed = await raw.ask(client, subjects.request("echo"), {"input": "a", "resume": {"text": "b"}})
            for message in (whole, failed):
                assert message.headers is not None
                assert message.headers[headers.WORKER] == WORKER


@pytest.mark.parametrize(
    ("more", "param", "about"),
    [
        ({"resumable": True}, "resumable", {}),
        ({"resumable": True, "stream": True, "resume": {"text": "a #1"}}, "resumable", {}),
        ({"resumable": True, "stream": True, "metadata": {"x": "y" * 20_000}}, "metadata", {}),
        ({"resumable": True, "stream": True}, "resumable", {headers.IDEMPOTENCY_KEY: "k"}),
    ],
    ids=["no stream", "resume", "much metadata", "idempotency key"],
)
async def test_what_cannot_be_kept_is_refused_by_name(
    nats_server: str, tmp_path: Path, more: dict[str, Any], param: str, about: dict[str, str]
) -> None:
    """Error 400, before it queues."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        async with raw.connected(nats_server) as client:
            refused, _ = await raw.ask(client, subjects.request("echo"), COUNT | more, **about)
            assert (refused["error"]["status"], refused["error"]["param"]) == (400, param)


async def test_a_job_that_nobody_ran_ends_its_log(nats_server: str, tmp_path: Path) -> None:
    """The ingress answers for it at its deadline; who reads the log hears that, too."""
    with WorkerProcess(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, ENGINE_STEP_MIN_MS=500):
        async with raw.connected(nats_server) as client:
            busy = await raw.stream(client, subjects.request("echo"), COUNT)
            waiting = await raw.stream(client, subjects.request("echo"), KEPT | {"deadline_ms": 300})
            await waiting.rest()
            opening, final = await whole_log_of(client, subjects.job_id(waiting.inbox))
            assert json.loads(opening.data)["deadline_ms"] == 300
            assert json.loads(final.data)["error"]["code"] == "DEADLINE_EXCEEDED"
            await busy.rest()
