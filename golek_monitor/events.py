"""What happened?

The event log: a bounded list of lines for people. Floods coalesce: when many of a kind happen together, as when a fleet
starts or a machine takes its workers with it, they are gathered for a moment and told in one line with their number.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from golek_monitor.records import Event

KEPT: Final = 1000
TOGETHER: Final = 3
"""More of one kind at once are told together."""
GATHER_S: Final = 2.0
"""So long they are gathered, at first; a flood that goes on is told every LONG_S."""
LONG_S: Final = 10.0
OFTEN: Final = 6
OFTEN_S: Final = 30.0
"""A kind that had OFTEN lines within this time is a flood, however they are spread."""
NAMED: Final = 3
"""So many of a flood are named."""

EventLevel = Literal["info", "warning", "error"]


class Happening(Struct, frozen=True):
    """Something that happened, to be told."""

    code: str
    level: EventLevel
    message: str
    """A sentence."""
    several: str = ""
    """What is told of many, behind their number: `workers joined`."""
    model: str = ""
    worker_id: str = ""
    alone: bool = False
    """Each has its own line, however many come: what people did is not summed up."""


class _Flood:
    """Happenings of one kind that are gathered."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.gathered: list[tuple[Happening, float]] = []


class EventLog:
    """The last events. `stamp` is the time of day as RFC 3339."""

    def __init__(self, stamp: Callable[[], str]) -> None:
        self._stamp = stamp
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._seq = 0
        self._new: list[tuple[Happening, str]] = []
        self._floods: dict[str, _Flood] = {}
        self._lines: dict[str, deque[float]] = {}
        """When lines of each code were written lately."""

    @property
    def last_seq(self) -> int:
        """The number of the newest event."""
        return self._seq

    def add(self, happening: Happening) -> None:
        """It happened; `settle` writes it down."""
        self._new.append((happening, self._stamp()))

    def settle(self, now: float) -> None:
        """Write down what was added, or keep it for a line with others of its kind; call it each second.

        Lines are written in the order of their times: one that was kept has the time at which it is written.
        """
        for code, count in Counter(one.code for one, _ in self._new if not one.alone).items():
            often = self._is_often(code)
            if code not in self._floods and (count > TOGETHER or often):
                self._floods[code] = _Flood(now + (LONG_S if often else GATHER_S))
        for happening, stamp in self._new:
            if (flood := self._floods.get(happening.code)) is not None and not happening.alone:
                flood.gathered.append((happening, now))
            else:
                self._write(happening, stamp, now)
        self._new.clear()
        for code in [code for code, flood in self._floods.items() if now >= flood.until]:
            self._tell(code, self._floods.pop(code), now)
        self._forget(now)

    def read(self, after: int = 0, limit: int = KEPT) -> list[Event]:
        """Those behind number `after`, the newest first."""
        found: list[Event] = []
        for event in reversed(self._events):
            if event.seq <= after or len(found) >= limit:
                break
            found.append(event)
        return found

    def _is_often(self, code: str) -> bool:
        return len(self._lines.get(code, ())) >= OFTEN

    def _tell(self, code: str, flood: _Flood, now: float) -> None:
        if len(flood.gathered) <= TOGETHER:
            for happening, settled_at in flood.gathered:
                ago = round(now - settled_at)
                told = f"{happening.message}, {ago} s ago" if ago else happening.message
                self._write(replace(happening, message=told), self._stamp(), now)
            return
        happenings = [happening for happening, _ in flood.gathered]
        names = list(dict.fromkeys(one.worker_id or one.model for one in happenings if one.worker_id or one.model))
        rest = len(names) - NAMED
        named = ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
        first = happenings[0]
        models = {one.model for one in happenings}
        told = f"{len(happenings)} {first.several or code}" + (f": {named}" if named else "")
        level: EventLevel = max((one.level for one in happenings), key=_LEVELS.index)
        model = first.model if len(models) == 1 else ""
        self._write(Happening(code, level, told, model=model), self._stamp(), now)

    def _write(self, happening: Happening, stamp: str, now: float) -> None:
        self._seq += 1
        self._lines.setdefault(happening.code, deque(maxlen=OFTEN)).append(now)
        self._events.append(
            Event(
                self._seq, stamp, happening.level, happening.code, happening.message,
                happening.model, happening.worker_id,
            )
        )  # fmt: skip

    def _forget(self, now: float) -> None:
        for code in list(self._lines):
            lines = self._lines[code]
            while lines and lines[0] < now - OFTEN_S:
                lines.popleft()
            if not lines:
                del self._lines[code]


_LEVELS: Final[tuple[EventLevel, ...]] = ("info", "warning", "error")
