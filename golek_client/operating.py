"""How is a model's residency changed: loaded, unloaded, drained?

Every replica hears an order and answers for itself, so the answers are gathered: all that say within `GATHER_S` that
they heard are waited for.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from golek_client import discovery, reading
from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_client.transport import Received
from golek_wire import codec, headers, subjects
from golek_wire.errors import DeadlineExceededError, NoWorkersError
from golek_wire.signals import Order, Residence
from golek_wire.subjects import Verb

GATHER_S: Final = 0.5
"""A replica that lives says at once that it heard."""
SILENT_S: Final = 10.0
"""A replica that said so says every second how it goes; after this time without a word it is not waited for."""

OnStatus = Callable[[Residence], object]
"""Called with what a replica says while it does what was ordered."""


async def order(
    line: Line, model: str, verb: Verb, told: Order, until: float, seconds: float, on_status: OnStatus | None
) -> list[Residence]:
    """Order `verb` and gather what is so at each replica afterwards, by worker id.

    Raises ModelNotFoundError and NoWorkersError when no replica hears it, what a replica answers when it refuses, and
    DeadlineExceededError at `until` on the loop's clock, `seconds` after the call began.
    """
    gathering = _Gathering(on_status)
    clock = asyncio.get_running_loop().time
    with line.mux.open() as inbox:
        inbox.asked = subjects.order(model, verb)
        about = {headers.ACCEPT: "1"} | line.authorization
        await line.send(inbox.asked, codec.encode(told), inbox.subject, about)
        gathered_at = clock() + GATHER_S
        while (now := clock()) < gathered_at or gathering.waits(now):
            if told.worker_id and gathering.done:
                break
            if now >= until:
                raise DeadlineExceededError(
                    f"{model}: {', '.join(gathering.open)} did not say within {seconds:g} s that it is done; "
                    "it goes on there",
                    model=model,
                )
            message = await inbox.get(min(until, gathered_at if now < gathered_at else now + SILENT_S))
            if message is None:
                continue
            if headers.NATS_STATUS in (message.headers or {}):
                raise await discovery.why_nobody(line, model) or NoWorkersError(
                    f"no worker of {model} takes orders at the moment: it starts, or was there a short while ago",
                    model=model,
                )
            gathering.take(message, clock())
    if not gathering.done:
        which = (
            f"there is no replica {told.worker_id!r} of {model}" if told.worker_id else f"no replica of {model} spoke"
        )
        raise NoWorkersError(f"{which}; `golek health {model}` names one that lives", model=model)
    return sorted(gathering.done.values(), key=lambda residence: residence.worker_id)


class _Gathering:
    """Who heard the order, and who has done it."""

    def __init__(self, on_status: OnStatus | None) -> None:
        self._on_status = on_status
        self._heard: dict[str, tuple[Residence, float]] = {}
        self.done: dict[str, Residence] = {}

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
                self.done[worker_id] = Residence(said.model_name, worker_id, said.status, said.seconds, problem)
        return bool(self.open)

    def take(self, message: Received, now: float) -> None:
        """What a replica says. Raises its refusal."""
        about = message.headers or {}
        if headers.ERROR_CODE in about:
            raise reading.error_in(message, about)
        try:
            said = codec.decode(message.data, Residence)
        except UNREADABLE as error:
            raise reading.foreign(error) from None
        if headers.STATUS not in about:
            self.done[said.worker_id] = said
        self._heard[said.worker_id] = said, now
        if headers.STATUS in about and self._on_status is not None:
            self._on_status(said)
