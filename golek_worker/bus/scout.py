"""Does a job wait for its next attempt?

Jobs that were delivered once are in no count of those that wait: one whose worker died, or gave it back, is told apart
from one that runs elsewhere only by being handed out. A worker that pulls nothing, for it has no engine, looks with a
pull that does not wait, and gives back what it gets.
"""

import nats.errors
from nats.aio.client import Client

from golek_client.connection import publish
from golek_wire import headers as h
from golek_worker.bus.streams import PRIORITY_GROUP

PULL_PRIORITY = 9
"""Whoever has an engine comes first."""
PATIENCE_S = 2.0
_PULL = b'{"batch":1,"no_wait":true,"group":"%s","priority":%d}' % (PRIORITY_GROUP.encode(), PULL_PRIORITY)


async def finds_job(client: Client, stream: str, consumers: list[str]) -> bool:
    """Whether one of the consumers hands out a job now; it goes back to the queue, one delivery older.

    Raises as nats-py does when the broker is away.
    """
    for consumer in consumers:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        try:
            message = await client.request(subject, _PULL, timeout=PATIENCE_S)
        except (TimeoutError, nats.errors.NoRespondersError):
            continue
        if h.NATS_STATUS not in (message.headers or {}):
            await publish(client, message.reply, b"-NAK")
            return True
    return False
