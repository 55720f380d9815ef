"""What does a worker stand on before there is a model?"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_worker.bus.grammars import GrammarBook
from golek_worker.bus.identity import Callers
from golek_worker.machine.logfiles import EngineLog
from golek_worker.settings import Settings
from golek_worker.status import Identity
from golek_worker.store.writer import LogWriter

if TYPE_CHECKING:
    from golek_program.spans import Tracing


class Event(Protocol):
    """One line in the log, one row among the events."""

    def __call__(self, code: str, message: str, *, level: str = "info") -> None: ...


class Ground(Struct, frozen=True):
    """Settings, connection, callers and logs."""

    settings: Settings
    identity: Identity
    client: BusClient
    callers: Callers
    look_for_key: Callable[[str], Awaitable[object]]
    """Asks the fleet for the key of a digest that this worker does not know."""
    grammars: GrammarBook
    log: LogWriter
    engine_log: EngineLog
    event: Event
    tracing: "Tracing | None"
    """None where nobody traces."""
