"""How is JetStream asked?

The JSON API as the server speaks it: nats-py has no fields for priority groups or per-message TTL.
Source: https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client

from golek_wire.errors import BusUnavailableError

NS = 1_000_000_000
TIMEOUT_S = 5.0

STREAM_NAME_IN_USE = 10058
CONSUMER_ALREADY_EXISTS = 10148
CONSUMER_NOT_FOUND = 10014
STREAM_NOT_FOUND = 10059
MESSAGES_EXCEEDED = 10077


class JetStreamError(Exception):
    """The server refused an API call; `code` is its `err_code` (server source: errors.json)."""

    def __init__(self, subject: str, error: dict[str, Any]) -> None:
        self.code: int = error.get("err_code", 0)
        self.description: str = error.get("description", "")
        super().__init__(f"{subject}: {self.description} ({self.code})")


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
