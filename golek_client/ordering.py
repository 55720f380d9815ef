"""How are orders given to all replicas of a model?

Every replica hears an order and answers for itself, so the answers are gathered: all that say within `GATHER_S` that
they heard are waited for.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

from golek_client import discovery, reading
from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_client.transport import Received
from golek_wire import codec, headers
from golek_wire.adapters import AdapterReport
from golek_wire.errors import DeadlineExceededError, NoWorkersError
from golek_wire.signals import Residence

if TYPE_CHECKING:
    from golek_wire.caches import CacheReport
    from golek_wire.logs import LogReport

GATHER_S: Final = 0.5
"""A replica that lives says at once that it heard."""
SILENT_S: Final = 10.0
"""A replica that said so says every second how it goes; after this time without a word it is not waited for."""

Report = TypeVar("Report", Residence, AdapterReport, "LogReport", "CacheReport")
OnStatus = Callable[[Report], object]
"""Called with what a replica says while it does what was ordered."""


async def order(
    line: Line,
    model: str,
    subject: str,
    told: msgspec.Struct,
    kind: type[Report],
    until: float,
    seconds: float,
    *,
    worker_id: str = "",
    on_status: OnStatus[Report] | None = None,
) -> list[Report]:
    """Send an order and gather what is so at each replica afterwards, by worker id.

    `worker_id` is the one replica that the order means, where it means one. Raises ModelNotFoundError and
    NoWorkersError when no replica hears it, what a replica answers when it refuses, and DeadlineExceededError at
    `until` on the loop's clock, `seconds` after the call began.
    """
    gathering = _Gathering(kind, on_status)
    clock = line.loop.time
    with line.mux.open() as inbox:
        inbox.asked = subject
        about = {headers.ACCEPT: "1"} | line.authorization
        await line.send(subject, codec.encode(told), inbox.subject, about)
        gathered_at = min(clock() + GATHER_S, until)
        while (now := clock()) < gathered_at or gathering.waits(now):
            if worker_id and gathering.done:
                break
            if now >= until:
                raise DeadlineExceededError(
                    f"{model}: {', '.join(gathering.open)} did not say within {seconds:g} s that it is done; "
                    "it goes on there",
                    model=model,
                )
            message = await inbox.get(min(until, gathered_at if now < gathered_at else now + SILENT_S))
            if message is not None:
                await _check_heard(line, model, message)
                gathering.take(message, clock())
    if not gathering.done:
        which = f"there is no replica {worker_id!r} of {model}" if worker_id else f"no replica of {model} spoke"
        why = None if worker_id else await discovery.why_nobody(line, model)
        raise why or NoWorkersError(f"{which}; `golek health {model}` names one that lives", model=model)
    return [gathering.done[name] for name in sorted(gathering.done)]


async def _check_heard(line: Line, model: str, message: Received) -> None:
    """Raises what to tell who ordered when the server says that nobody listens."""
    if headers.NATS_STATUS in (message.headers or {}):
        raise await discovery.why_nobody(line, model) or NoWorkersError(
            f"no worker of {model} takes orders at the moment: it starts, or was there a short while ago", model=model
        )


class _Gathering(Generic[Report]):
    """Who heard the order, and who has done it."""

    def __init__(self, kind: type[Report], on_status: OnStatus[Report] | None) -> None:
        self._kind: type[Report] = kind
        self._on_status: OnStatus[Report] | None = on_status
        self._heard: dict[str, tuple[Report, float]] = {}
        self.done: dict[str, Report] = {}

    @property
    def open(self) -> list[str]:
        """Who is still at it."""
        return [worker_id for worker_id in self._heard if worker_id not in self.done]

    def waits(self, now: float) -> bool:
        """Whether somebody is still at it; who fell silent is done with a problem."""
        for worker_id in self.open:
            said, at = self._heard[worker_id]
            if now - at >= SILENT_S:
                problem = f"it fell silent {now - at:.0f} s ago; its log says why"
                self.done[worker_id] = msgspec.structs.replace(said, problem=problem)
        return bool(self.open)

    def take(self, message: Received, now: float) -> None:
        """What a replica says. Raises its refusal."""
        about = message.headers or {}
        if headers.ERROR_CODE in about:
            raise reading.error_in(message, about)
        try:
            said = codec.decode(message.data, self._kind)
        except UNREADABLE as error:
            raise reading.foreign(error) from None
        if headers.STATUS not in about:
            self.done[said.worker_id] = said
        self._heard[said.worker_id] = said, now
        if headers.STATUS in about and self._on_status is not None:
            self._on_status(said)
