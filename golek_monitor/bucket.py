"""How does a monitor read and write what all monitors share?

The bucket GOLEK_MONITOR: made by whoever writes first.
"""

import asyncio
from typing import Any, Final

from golek_client.line import Line
from golek_wire import codec, headers, subjects
from golek_wire.errors import BusUnavailableError
from golek_wire.jetstream import STREAM_NOT_FOUND, PubAck

STREAM: Final = f"KV_{subjects.MONITOR_BUCKET}"
KEY: Final = f"$KV.{subjects.MONITOR_BUCKET}."
_ANSWER_S: Final = 2.0
_COPIES: Final = 3
"""In a cluster."""


async def make(line: Line) -> None:
    """Make the bucket (ADR-8). That it is there already is no error."""
    copies = _COPIES if getattr(line.transport, "cluster", "") else 1
    config = {
        "name": STREAM,
        "subjects": [KEY + ">"],
        "retention": "limits",
        "storage": "file",
        "max_msgs_per_subject": 1,
        "discard": "new",
        "deny_delete": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "num_replicas": copies,
    }
    await ask(line, f"$JS.API.STREAM.CREATE.{STREAM}", config)


async def ask(line: Line, subject: str, body: Any, about: dict[str, str] | None = None) -> PubAck | None:
    """What JetStream says to this; None where no stream takes it. Raises BusUnavailableError, ForbiddenError."""
    until = asyncio.get_running_loop().time() + _ANSWER_S
    answer = await line.ask_once(subject, codec.encode(body), until, about)
    if answer is None:
        raise BusUnavailableError(f"JetStream did not answer on {subject} within {_ANSWER_S:.0f} s")
    if headers.NATS_STATUS in (answer.headers or {}):
        return None
    ack = codec.decode(answer.data, PubAck)
    return None if ack.error is not None and ack.error.err_code == STREAM_NOT_FOUND else ack
