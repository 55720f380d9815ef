"""Which queues hold storage that nobody needs?

The broker sets a queue's whole size aside when it is made, and a queue stays when its workers are gone.
"""

import asyncio
from typing import Any, Final

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_worker.bus.jetstream import BUS_ERRORS, api

NAMED: Final = 6
"""So many are named."""


async def idle_queues(client: BusClient) -> list[str]:
    """Streams of models that hold no job and from which nobody takes any. Raises as `api` does."""
    found = await _listed(client, "STREAM.LIST", "streams")
    names = (stream["config"]["name"] for stream in found if stream["state"]["messages"] == 0)
    empty = [name for name in names if name.startswith(subjects.job_stream(""))]
    consumers = await asyncio.gather(*(_listed(client, f"CONSUMER.LIST.{name}", "consumers") for name in empty))
    return [
        name
        for name, those in zip(empty, consumers, strict=True)
        if not any(consumer.get("num_waiting") or consumer.get("num_ack_pending") for consumer in those)
    ]


async def reserved_bytes(client: BusClient) -> int:
    """What all streams hold together on disk, whether they use it or not. Raises as `api` does."""
    return int((await api(client, "INFO")).get("reserved_storage", 0))


async def advice(client: BusClient) -> str:
    """How to have back what they hold, the beginning of a sentence; empty where there are none."""
    try:
        idle = await idle_queues(client)
    except BUS_ERRORS:
        return ""
    return f"{told(idle)}, " if idle else ""


def told(idle: list[str]) -> str:
    """Which they are, and how one is deleted."""
    named = ", ".join(idle[:NAMED]) + (f" and {len(idle) - NAMED} more" if len(idle) > NAMED else "")
    return (
        f"nobody takes jobs from {len(idle)} empty queues ({named}): delete one whose workers are gone for good, "
        f"`golek req '$JS.API.STREAM.DELETE.{idle[0]}' ''`"
    )


async def _listed(client: BusClient, call: str, what: str) -> list[dict[str, Any]]:
    """All that a list of JetStream has; it comes in pages."""
    found: list[dict[str, Any]] = []
    while True:
        page = await api(client, call, {"offset": len(found)})
        found += page[what] or []
        if not page[what] or len(found) >= page["total"]:
            return found
