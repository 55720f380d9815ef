"""Which alerts fired when a monitor spoke last?

Who speaks keeps them in the bucket GOLEK_MONITOR, and who speaks next goes on with them: what still holds is not told
anew, and what does no longer is resolved.
"""

from typing import Final

from msgspec import Struct

from golek_client import stored
from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_monitor import bucket
from golek_wire import codec, subjects
from golek_wire.errors import BusUnavailableError
from golek_wire.signals import Alert

SUBJECT: Final = f"{bucket.KEY}alerts.firing"
"""No model's token has a dot."""
KEPT: Final = 1000
"""Alerts. A message of NATS has a megabyte, and a sentence a few hundred bytes."""


class Kept(Struct, frozen=True):
    """What lies there."""

    alerts: list[Alert]


async def read(line: Line) -> list[Alert]:
    """Those of the last word. Raises BusUnavailableError when JetStream does not answer."""
    entry = await stored.last(line, bucket.STREAM, SUBJECT)
    try:
        return codec.decode(entry.data, Kept).alerts if entry is not None else []
    except UNREADABLE:  # deleted, or of a later release
        return []


async def write(line: Line, firing: list[Alert]) -> None:
    """These fire. Raises BusUnavailableError, ForbiddenError where this login may not write."""
    kept = Kept(firing[:KEPT])
    ack = await bucket.ask(line, SUBJECT, kept)
    if ack is None:
        await bucket.make(line)
        ack = await bucket.ask(line, SUBJECT, kept)
    if ack is None or ack.error is not None:
        raise BusUnavailableError(f"{subjects.MONITOR_BUCKET} does not take what fires: {ack and ack.error}")
