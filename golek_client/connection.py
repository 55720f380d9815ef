"""How does a Golek program connect to NATS and publish?

The one place that calls nats-py's `connect` and `publish`. Workers and clients share it.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client

from golek_client.bus_client import BusClient
from golek_client.transport import Transport
from golek_wire.errors import BusUnavailableError, PayloadTooLargeError
from golek_wire.headers import REQUEST_RESERVE, message_size

log = logging.getLogger("golek.bus")

CONNECT_TIMEOUT_S = 2
PING_INTERVAL_S = 2
"""With two outstanding pings a dead server is noticed in about 6 s."""


async def connect(url: str, name: str, *, on_reconnect: Callable[[], Awaitable[None]] | None = None) -> BusClient:
    """A connection that, once it stood, reconnects for ever.

    Raises BusUnavailableError at once, with URL and cause, when nobody answers.
    """

    cause: Exception | None = None
    connected = False

    async def on_error(error: Exception) -> None:
        nonlocal cause
        cause = error
        if connected:
            log.warning("nats: %s: %s", type(error).__name__, error)

    options: dict[str, Any] = {"reconnected_cb": on_reconnect} if on_reconnect else {}
    client = BusClient()
    try:
        await client.connect(
            url,
            name=name,
            error_cb=on_error,
            # The first connect fails fast; patience comes below, once the connection stood.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            **options,
        )
    except (OSError, TimeoutError, nats.errors.Error) as error:
        cause = cause or error
        raise BusUnavailableError(
            f"no NATS server answers at {url} ({type(cause).__name__}: {cause}). "
            "`make nats` starts one on this machine; NATS_URL names another",
            url=url,
        ) from error
    connected = True
    client.options.update(
        allow_reconnect=True, max_reconnect_attempts=-1, reconnect_time_wait=random.uniform(0.25, 2.0)
    )
    return client


async def publish(
    client: Transport, subject: str, payload: bytes, headers: dict[str, str] | None = None, reply: str = ""
) -> None:
    """Publish one message, after checking its whole size: nats-py checks only the payload, and the server answers an
    oversize message by closing the connection.

    Raises PayloadTooLargeError with both sizes, BusUnavailableError when the connection is closed or, while it is being
    restored, its buffer is full.
    """
    size = len(payload)
    if headers and size > client.max_payload - REQUEST_RESERVE:
        size = message_size(payload, headers)  # encodes them: not worth its time for the many small messages
    if size > client.max_payload:
        raise PayloadTooLargeError(
            f"a message of {size} bytes to {subject}; the server takes {client.max_payload}",
            size=size,
            limit=client.max_payload,
        )
    try:
        await client.publish(subject, payload, reply, headers)
    except nats.errors.Error as error:
        raise BusUnavailableError(f"the connection to NATS does not take messages: {error}") from error


async def flush(client: Client) -> None:
    """Return once the server has processed everything subscribed and published before.

    nats-py's own `flush` sends its PING ahead of commands that still wait to be written (2.16, `Client._send_ping`), so
    its PONG says nothing about them; by the second round trip they are out.
    """
    await client.flush()
    await client.flush()
