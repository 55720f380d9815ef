"""What does a worker answer as a service of NATS micro (ADR-32)?

`PING` tells that it lives, `INFO` what it is and with which settings it runs. It answers under its incarnation, so that
a worker which was restarted is not taken for the one that was asked.
"""

import asyncio
from typing import Final, Literal

import msgspec
from msgspec import Struct, field

from golek_client.line import Line
from golek_client.stored import UNREADABLE
from golek_wire import headers, subjects
from golek_wire.errors import InternalError, NotFoundError

ANSWER_S: Final = 2.0
"""How long a worker may take to answer."""
Pinged = float | Literal["gone"] | None
"""Seconds until the answer came; `gone` where the bus knows nobody who would; None where none came in time."""


class WorkerInfo(Struct, frozen=True):
    """The answer on `$SRV.INFO.golek.<incarnation>`."""

    id: str
    """The worker's incarnation."""
    version: str = ""
    description: str = ""
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    """model, worker_id, engine, device, …"""

    @property
    def worker_id(self) -> str:
        """Which replica it is."""
        return self.metadata.get("worker_id", "")

    @property
    def settings(self) -> dict[str, str]:
        """Those that differ from their defaults, as they may be shown: without secrets. Those that found no place in a
        message stand in `settings_left_out`.
        """
        try:
            return msgspec.json.decode(self.metadata.get("settings", "{}"), type=dict[str, str])
        except UNREADABLE:
            return {}

    @property
    def settings_left_out(self) -> list[str]:
        """Keys of further settings that differ, whose values are too long to be told."""
        return self.metadata.get("settings_left_out", "").split()


async def ping(line: Line, incarnation: str, seconds: float = ANSWER_S) -> Pinged:
    """Ask a worker whether it is there. Raises as `Line.ask_once` does."""
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    said = await line.ask_once(subjects.micro("PING", incarnation), b"", asked_at + seconds)
    if said is None:
        return None
    if (said.headers or {}).get(headers.NATS_STATUS) == headers.NO_RESPONDERS:
        return "gone"
    return loop.time() - asked_at


async def info(line: Line, worker: str, until: float) -> WorkerInfo:
    """What a worker tells of itself by `until` on the loop's clock, by its incarnation or its worker id.

    Raises NotFoundError where no such worker answers.
    """
    said = None
    if subjects.is_plain(worker) and "." not in worker:
        said = await line.ask_once(subjects.micro("INFO", worker), b"", until)
    if said is not None and headers.NATS_STATUS not in (said.headers or {}):
        return _read(said.data)
    return await _among_all(line, worker, until)


async def _among_all(line: Line, worker: str, until: float) -> WorkerInfo:
    """The one of this worker id, of all that answer. Raises as `info` does."""
    with line.mux.open() as inbox:
        inbox.asked = subjects.micro("INFO")
        await line.send(inbox.asked, b"", inbox.subject)
        while (said := await inbox.get(until)) is not None:
            if headers.NATS_STATUS in (said.headers or {}):
                raise NotFoundError(f"{worker}: no worker answers on {inbox.asked}", worker_id=worker)
            found = _read(said.data)
            if found.worker_id == worker:
                return found
    raise NotFoundError(f"{worker}: no worker of this id answered in time", worker_id=worker)


def _read(data: bytes) -> WorkerInfo:
    try:
        return msgspec.json.decode(data, type=WorkerInfo)
    except UNREADABLE as error:
        raise InternalError(f"the answer on {subjects.micro('INFO')} is none of NATS micro: {error}") from None
