"""A caller that knows NATS and nothing of Golek: what `nats req` would see."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription


@asynccontextmanager
async def connected(url: str | list[str], reconnect_time_wait: float = 0.1) -> AsyncIterator[Client]:
    client = await nats.connect(url, reconnect_time_wait=reconnect_time_wait, max_reconnect_attempts=-1)
    try:
        yield client
    finally:
        await client.close()


async def ask(
    client: Client, subject: str, body: Any, timeout: float = 10.0, **headers: str
) -> tuple[dict[str, Any], Msg]:
    """One request, one reply: its JSON and the message."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = await client.request(subject, payload, timeout=timeout, headers=headers or None)
    return json.loads(message.data), message


class Streamed:
    """A stream as it arrives on an inbox of its own."""

    def __init__(self, client: Client, inbox: str, subscription: Subscription) -> None:
        self._client = client
        self.inbox = inbox
        self._subscription = subscription
        self.messages: list[Msg] = []

    async def next(self, timeout: float = 10.0) -> Msg:
        message = await self._subscription.next_msg(timeout)
        self.messages.append(message)
        return message

    @property
    def pending(self) -> int:
        """Messages that came and were not read yet."""
        return self._subscription.pending_msgs

    async def rest(self, timeout: float = 10.0) -> None:
        """Read up to and with the empty message."""
        while (await self.next(timeout)).data:
            pass

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(m.data) for m in self.messages if m.headers and "Golek-Attempt" in m.headers]

    @property
    def final(self) -> dict[str, Any]:
        (final,) = [json.loads(m.data) for m in self.messages if m.headers and "Golek-Final" in m.headers]
        return final

    def joined(self, attempt: int | None = None) -> str:
        """The text of one attempt (the last one), as a caller without the client library would join it."""
        attempts = [
            int(m.headers["Golek-Attempt"]) for m in self.messages if m.headers and "Golek-Attempt" in m.headers
        ]
        wanted = attempt if attempt is not None else max(attempts)
        return "".join(chunk["delta"] for chunk, number in zip(self.chunks, attempts, strict=True) if number == wanted)


async def stream(client: Client, subject: str, body: dict[str, Any], **headers: str) -> Streamed:
    """Send a streaming request; its messages come from the result."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    streamed = Streamed(client, inbox, subscription)
    await client.publish(subject, json.dumps(body | {"stream": True}).encode(), reply=inbox, headers=headers or None)
    return streamed


async def collect(client: Client, subject: str, count: int, timeout: float = 10.0) -> list[dict[str, Any]]:
    """The next `count` messages on `subject`."""
    queue: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await client.subscribe(subject, cb=queue.put)
    try:
        return [json.loads((await asyncio.wait_for(queue.get(), timeout)).data) for _ in range(count)]
    finally:
        await subscription.unsubscribe()
