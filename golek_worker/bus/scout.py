"""Does a job wait for its next attempt?

Jobs that were delivered once are in no count of those that wait: one whose worker died, or gave it back, is told apart
from one that runs elsewhere only by being handed out. A worker that pulls nothing, for it has no engine, looks with a
pull that does not wait, and gives back what it gets.
"""

import asyncio

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire import headers as h
from golek_worker.bus.streams import PRIORITY_GROUP

PULL_PRIORITY = 9
"""Whoever has an engine comes first."""
PATIENCE_S = 2.0
_PULL = b'{"batch":1,"no_wait":true,"group":"%s","priority":%d}' % (PRIORITY_GROUP.encode(), PULL_PRIORITY)


async def finds_job(client: BusClient, stream: str, consumers: list[str]) -> bool:
    """Whether one of the consumers hands out a job now; it goes back to the queue, one delivery older.

    Raises as `publish` does; TimeoutError when the server is silent.
    """
    answers: asyncio.Queue[Delivery] = asyncio.Queue()
    inbox = client.new_inbox()  # of its own: a job comes with its own subject, by which nobody finds a shared one
    hearing = await client.subscribe_direct(inbox, answers.put)
    try:
        for consumer in consumers:
            await publish(client, f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", _PULL, reply=inbox)
            async with asyncio.timeout(PATIENCE_S):
                answer = await answers.get()
            if h.NATS_STATUS not in (answer.headers or {}):
                await publish(client, answer.reply, b"-NAK")
                return True
        return False
    finally:
        await client.withdraw(hearing)
