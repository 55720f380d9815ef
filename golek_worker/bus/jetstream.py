"""How is JetStream asked?

The JSON API as the server speaks it: nats-py has no fields for priority groups or per-message TTL.
Source: https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client

from golek_client.bus_client import BusClient
from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_wire.jetstream import ELECTING, MESSAGE_GONE, ApiError

NS = 1_000_000_000
TIMEOUT_S = 5.0
ELECTIONS_S = 20.0
"""How long a cluster may be between two leaders: an election takes up to 9 s (nats-server's `maxElectionTimeout`), one
that nobody wins is repeated, and a server just started first reads its streams."""
PAUSE_S = 0.25

STREAM_NAME_IN_USE = 10058
CONSUMER_ALREADY_EXISTS = 10148
MESSAGES_EXCEEDED = 10077
NO_STORAGE = 10047
WRONG_LAST_SEQUENCE = 10071
"""Compare-and-set found another entry than expected."""
NO_PEERS = 10005
REPLICAS_NEED_CLUSTER = 10074
ALREADY_ON_ITS_WAY = 10158
"""A message with this id was proposed to the replicas, and they have not agreed yet."""


class JetStreamError(Exception):
    """The server refused an API call; `code` is its `err_code` (server source: errors.json)."""

    def __init__(self, subject: str, error: dict[str, Any]) -> None:
        self.code: int = error.get("err_code", 0)
        self.description: str = error.get("description", "")
        if self.code == NO_PEERS and "insufficient storage" in self.description:
            self.code = NO_STORAGE  # a cluster's word for it: no peer has the room
        super().__init__(f"{subject}: {self.description} ({self.code})")


BUS_ERRORS = (InferenceServiceError, JetStreamError, nats.errors.Error, TimeoutError, OSError)
"""What a step over the bus may raise while the broker is away, elects a leader or is short of something."""


Found = TypeVar("Found")


async def patiently(client: BusClient, step: Callable[[], Awaitable[Found]]) -> Found:
    """What `step` gives; in a cluster it is tried again for ELECTIONS_S, while JetStream is silent or has no leader.

    A single server elects nobody: there the first failure counts. `step` must do no harm when it is done twice.
    """
    deadline = time.monotonic() + (ELECTIONS_S if client.cluster else 0.0)
    while True:
        try:
            return await step()
        except BUS_ERRORS as error:
            refused = isinstance(error, JetStreamError) and error.code not in (*ELECTING, NO_PEERS)
            if refused or client.is_closed or time.monotonic() >= deadline:
                raise
        await asyncio.sleep(PAUSE_S)


def is_passing(error: ApiError) -> bool:
    """True for a refused publish that is worth another try: between two leaders a cluster stored nothing, or may have.

    The old leader refuses in Raft's own words, without a code of JetStream's.
    """
    raft = error.err_code == 0 and "not leader" in error.description
    return raft or error.err_code in (*ELECTING, ALREADY_ON_ITS_WAY)


async def store(
    client: Client,
    subject: str,
    payload: bytes,
    headers: dict[str, str] | None = None,
    *,
    timeout: float = TIMEOUT_S,
) -> int:
    """Publish into a stream and wait until it is stored; its sequence. Raises as `api` does."""
    try:
        message = await client.request(subject, payload, timeout=timeout, headers=headers)
    except (nats.errors.Error, TimeoutError) as error:
        raise BusUnavailableError(f"no stream stores {subject}: {type(error).__name__}") from error
    answer: dict[str, Any] = msgspec.json.decode(message.data)
    if "error" in answer:
        raise JetStreamError(subject, answer["error"])
    return int(answer["seq"])


class ServerClock:
    """The broker's clock, so that a deadline does not depend on whose clock runs fast.

    JetStream writes its time into every answer about a consumer; the offset with the shortest round trip is kept.
    """

    def __init__(self) -> None:
        self._offset_s = 0.0
        self._round_trip_s = float("inf")

    def observe(self, stamp: str, sent_at: float, received_at: float) -> None:
        """Learn from `stamp` (RFC 3339), asked for and received at these epoch seconds of ours."""
        round_trip_s = received_at - sent_at
        # Later answers count a little even when slower, because clocks drift.
        if round_trip_s <= self._round_trip_s * 1.5:
            self._round_trip_s = round_trip_s
            offset_s = _epoch_s(stamp) - (sent_at + received_at) / 2
            # The stamp was made at some moment of the round trip: within that the two clocks agree.
            self._offset_s = offset_s if abs(offset_s) > round_trip_s / 2 else 0.0

    def now(self) -> float:
        """The broker's time in epoch seconds."""
        return time.time() + self._offset_s


def _epoch_s(stamp: str) -> float:
    """RFC 3339 with nanoseconds, which datetime does not read, as epoch seconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", stamp)).timestamp()


async def api(client: Client, call: str, body: Any = None, *, timeout: float = TIMEOUT_S) -> dict[str, Any]:
    """The answer to `$JS.API.<call>`.

    Raises JetStreamError when refused, BusUnavailableError when JetStream does not answer.
    """
    payload = b"" if body is None else msgspec.json.encode(body)
    try:
        message = await client.request(f"$JS.API.{call}", payload, timeout=timeout)
    except (nats.errors.Error, TimeoutError) as error:
        raise BusUnavailableError(f"JetStream does not answer {call}: {type(error).__name__}") from error
    answer: dict[str, Any] = msgspec.json.decode(message.data)
    if "error" in answer:
        raise JetStreamError(call, answer["error"])
    return answer


class StoredMessage(Struct, frozen=True):
    """A message as it lies in a stream."""

    seq: int
    data: bytes
    headers: dict[str, str]
    subject: str
    time: str = ""
    """When it was stored, by the broker's clock (RFC 3339)."""

    @property
    def stored_at(self) -> float:
        """That, in epoch seconds."""
        return _epoch_s(self.time)


async def stored_message(client: BusClient, stream: str, query: dict[str, Any]) -> StoredMessage | None:
    """What `STREAM.MSG.GET` finds, by `seq` or `last_by_subj`; None for a message that is gone. Raises as `api` does.

    An election is waited out. The stream's leader answers, so that what was acknowledged is seen; a direct get may ask
    a follower that lags.
    """
    return await patiently(client, lambda: _get(client, stream, query))


async def walk(client: BusClient, stream: str, beginning: str, seq: int = 1) -> AsyncIterator[StoredMessage]:
    """The messages of `stream` from `seq` on whose subjects have this beginning. Raises as `api` does, also during an
    election: who walks again then begins anew.
    """
    query = {"next_by_subj": f"{beginning}>"}
    while (found := await _get(client, stream, query | {"seq": seq})) is not None:
        yield found
        seq = found.seq + 1


async def _get(client: BusClient, stream: str, query: dict[str, Any]) -> StoredMessage | None:
    try:
        found = (await api(client, f"STREAM.MSG.GET.{stream}", query))["message"]
    except JetStreamError as error:
        if error.code in MESSAGE_GONE:
            return None
        raise
    data, headers = base64.b64decode(found.get("data", "")), _headers_in(found.get("hdrs", ""))
    return StoredMessage(found["seq"], data, headers, found["subject"], found.get("time", ""))


def _headers_in(encoded: str) -> dict[str, str]:
    """A header block (NATS/1.0) that the JSON API gave in base64."""
    lines = base64.b64decode(encoded).decode("utf-8", "replace").split("\r\n")[1:]
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
