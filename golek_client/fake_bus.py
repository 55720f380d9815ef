"""What stands in for the broker in a `FakeFleet`?

A bus in memory: inboxes, one server for everything else, the object store, and the connections of clients.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

from golek_wire import codec, headers, objects
from golek_wire.objects import ObjectInfo

MAX_PAYLOAD: Final = 1024 * 1024
"""Larger bodies and answers travel as they do in a fleet: by reference and in parts."""
Deliver = Callable[[Any], Awaitable[None]]


class FakeMessage(Struct, frozen=True):
    """A message on the in-memory bus."""

    subject: str
    data: bytes = b""
    reply: str = ""
    headers: dict[str, str] | None = None


class Bodies:
    """The object store: what no message carries, until its request comes."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[bytes]] = {}

    def put(self, message: FakeMessage) -> None:
        self._pieces.setdefault(message.subject, []).append(message.data)

    def whole(self, message: FakeMessage) -> FakeMessage:
        """`message` with the body that it names, if it names one, which is then gone."""
        name = (message.headers or {}).get(headers.OBJECT)
        if name is None:
            return message
        (info,) = self._pieces.pop(objects.info_subject(name))
        pieces = self._pieces.pop(objects.piece_subject(codec.decode(info, ObjectInfo).nuid))
        return FakeMessage(message.subject, b"".join(pieces), message.reply, message.headers)


class Bus:
    """Inboxes by their prefix, and one server for everything else."""

    def __init__(self, serve: Callable[[FakeMessage], Awaitable[bool]]) -> None:
        self._serve = serve
        self._inboxes: dict[str, Deliver] = {}
        self._watchers: list[tuple[str, Deliver]] = []

    def watch(self, subject: str, deliver: Deliver) -> None:
        self._watchers.append((subject, deliver))

    def unwatch(self, subject: str, deliver: Deliver) -> None:
        self._watchers.remove((subject, deliver))

    async def tell_watchers(self, message: FakeMessage) -> None:
        for subject, deliver in list(self._watchers):
            if subject == message.subject:
                await deliver(message)

    def listen(self, wildcard: str, deliver: Deliver) -> None:
        self._inboxes[wildcard.removesuffix("*")] = deliver

    def forget(self, wildcard: str) -> None:
        self._inboxes.pop(wildcard.removesuffix("*"), None)

    async def publish(self, message: FakeMessage) -> None:
        if message.subject.startswith("_INBOX."):
            deliver = self._inboxes.get(message.subject[: message.subject.rindex(".") + 1])
            if deliver is not None:
                await deliver(message)
        elif not await self._serve(message) and message.reply:
            await self.publish(FakeMessage(message.reply, headers={headers.NATS_STATUS: headers.NO_RESPONDERS}))


class _Subscribed:
    """What one client listens to."""

    def __init__(self, bus: Bus, subject: str, deliver: Deliver) -> None:
        self._bus = bus
        self._subject = subject
        self._deliver = deliver
        if subject.endswith("*"):
            bus.listen(subject, deliver)
        else:
            bus.watch(subject, deliver)

    async def unsubscribe(self) -> None:
        if self._subject.endswith("*"):
            self._bus.forget(self._subject)
        else:
            self._bus.unwatch(self._subject, self._deliver)


class Connection:
    """A `Transport` to the bus in memory."""

    is_connected = True
    is_closed = False
    """Never for good: a client that was closed may call again."""
    max_payload = MAX_PAYLOAD

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._subscriptions: list[_Subscribed] = []

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        await self._bus.publish(FakeMessage(subject, payload, reply, headers))

    async def subscribe(self, subject: str, *, cb: Deliver) -> _Subscribed:
        subscribed = _Subscribed(self._bus, subject, cb)
        if subject.endswith("*"):  # the others end before the connection does
            self._subscriptions.append(subscribed)
        return subscribed

    async def close(self) -> None:
        for subscribed in self._subscriptions:
            await subscribed.unsubscribe()
        self._subscriptions.clear()
