"""Who answers questions about this worker?

Health on `models.<model>.health`, cancels, and NATS micro's `$SRV.PING|INFO|STATS` (ADR-32), so that `nats micro ls`
lists the fleet. Only at an inbox: anywhere else a worker would write where the caller may not.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire.signals import EngineStats, Health
from golek_worker.bus.identity import Headers

SERVICE_NAME = "golek"
SETTINGS_BYTES = 4096
"""Of the settings that a worker tells: all workers of a fleet may answer one question."""
_PREFIX = "io.nats.micro.v1"


class ServiceIdentity(msgspec.Struct, frozen=True):
    """Who answers on `$SRV`."""

    id: str
    version: str
    description: str
    started: str
    """RFC 3339."""
    endpoint: subjects.Kind
    """What is asked for; the endpoint's name."""
    endpoint_subject: str
    queue_group: str = subjects.QUEUE_GROUP


class ServiceCounts(msgspec.Struct, frozen=True):
    """The figures of `$SRV.STATS`."""

    num_requests: int
    num_errors: int
    processing_time_ns: int
    last_error: str = ""
    engine: EngineStats | None = None
    """What stands in the endpoint's `data`, which is for the service to fill (ADR-32)."""


async def serve_health(client: Client, name: str, health: Callable[[], Health]) -> None:
    """Answer on the literal and the token subject, one replica per question."""

    async def answer(message: Msg) -> None:
        if subjects.is_reply_inbox(message.reply):
            await publish(client, message.reply, codec.encode(health()))

    for spelling in subjects.spellings(name):
        await client.subscribe(subjects.health(spelling), queue=subjects.QUEUE_GROUP, cb=answer)


async def serve_cancels(
    client: Client, cancel: Callable[[str], Awaitable[None]], meant: Callable[[str, Headers], str]
) -> None:
    """Hear every cancel: any replica may run the job, any ingress may hold it. `meant` is what it may mean."""

    async def hear(message: Msg) -> None:
        if job_id := meant(message.subject.rpartition(".")[2], message.headers):
            await cancel(job_id)

    await client.subscribe(subjects.ALL_CANCELS, cb=hear)


async def serve_watchers(client: Client, tell: Callable[[], Awaitable[None]]) -> None:
    """Say unasked what who begins to watch would wait for. `tell` must not raise."""

    async def hear(_: Msg) -> None:
        await tell()

    await client.subscribe(subjects.SIGNALS_ASKED, cb=hear)


async def serve_ping(client: Client, incarnation: str, version: str, worker_id: str) -> None:
    """Answer who asks after this process, from the first moment on: it may be long until there is a model."""
    answer = msgspec.json.encode(
        {
            "type": f"{_PREFIX}.ping_response",
            "name": SERVICE_NAME,
            "id": incarnation,
            "version": version,
            "metadata": {"worker_id": worker_id},
        }
    )

    async def respond(message: Msg) -> None:
        if subjects.is_reply_inbox(message.reply):
            await publish(client, message.reply, answer)

    await client.subscribe(subjects.micro("PING", incarnation), cb=respond)


async def serve_micro(
    client: Client,
    identity: ServiceIdentity,
    metadata: Callable[[], dict[str, str]],
    settings: dict[str, str],
    counts: Callable[[], ServiceCounts],
) -> None:
    """Answer PING, INFO and STATS for all services and for `golek`, INFO and STATS for this replica (`serve_ping` does
    PING). INFO has the `settings` that differ from their defaults in its metadata.
    """
    told = said_of(settings)

    def about(verb: str) -> dict[str, Any]:
        return {
            "type": f"{_PREFIX}.{verb}_response",
            "name": SERVICE_NAME,
            "id": identity.id,
            "version": identity.version,
            "metadata": metadata(),
        }

    def endpoint() -> dict[str, Any]:
        return {"name": identity.endpoint, "subject": identity.endpoint_subject, "queue_group": identity.queue_group}

    def info() -> dict[str, Any]:
        said = about("info") | {"description": identity.description, "endpoints": [endpoint()]}
        said["metadata"] |= told
        return said

    def stats() -> dict[str, Any]:
        now = counts()
        average = now.processing_time_ns // now.num_requests if now.num_requests else 0
        figures: dict[str, Any] = {
            "num_requests": now.num_requests,
            "num_errors": now.num_errors,
            "last_error": now.last_error,
            "processing_time": now.processing_time_ns,
            "average_processing_time": average,
        }
        if now.engine is not None:
            figures["data"] = now.engine
        return about("stats") | {"started": identity.started, "endpoints": [endpoint() | figures]}

    answers = {"PING": lambda: about("ping"), "INFO": info, "STATS": stats}
    for verb, answer in answers.items():
        for subject in (f"$SRV.{verb}", subjects.micro(verb), subjects.micro(verb, identity.id)):
            if subject != subjects.micro("PING", identity.id):
                await client.subscribe(subject, cb=_responder(client, answer))


def said_of(settings: dict[str, str]) -> dict[str, str]:
    """`settings` as metadata: a JSON text of at most SETTINGS_BYTES, and the names of those that found no place."""
    kept, left_out = dict(settings), list[str]()
    while len(text := msgspec.json.encode(kept)) > SETTINGS_BYTES:
        longest = max(kept, key=lambda key: len(kept[key]))
        left_out.append(longest)
        del kept[longest]
    said = {"settings": text.decode()}
    return said | {"settings_left_out": " ".join(sorted(left_out))} if left_out else said


def _responder(client: Client, answer: Callable[[], dict[str, Any]]) -> Callable[[Msg], Awaitable[None]]:
    async def respond(message: Msg) -> None:
        if subjects.is_reply_inbox(message.reply):
            await publish(client, message.reply, msgspec.json.encode(answer()))

    return respond
