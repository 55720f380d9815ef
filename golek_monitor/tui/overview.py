"""How is the fleet as a whole, and are these figures of now?"""

from collections.abc import Sequence
from typing import Final

from textual.content import Content
from textual.widgets import Static

from golek_monitor.plain import plain
from golek_monitor.tui import words
from golek_monitor.tui.words import Said, Tone
from golek_wire.signals import Aggregate

SEPARATOR: Final = "  "
_STYLES: Final[dict[Tone, str]] = {
    "good": "$success", "warn": "$warning", "bad": "bold $error", "dim": "$muted", "bar": "$primary",
    "track": "$track", "strong": "bold", "": "",
}  # fmt: skip


class Overview(Static):
    """Two lines above everything: whom it hears and when, then the fleet in figures."""

    def __init__(self, url: str) -> None:
        super().__init__("", markup=False)
        self._url = url

    def show(self, overview: Aggregate, *, away_s: float | None, problem: str = "") -> None:
        """What is so now; `away_s` is for how long the bus was not heard, None while it is."""
        width = self.app.size.width - 2
        if away_s is None:
            first = heard(self._url, overview)
        else:
            of = "figures are of before, trying again" if overview.models or overview.workers else "trying again"
            first = not_heard(self._url, overview.timestamp, f"for {words.span(away_s)}: {of}", problem)
        self.set_class(away_s is not None, "away")
        lines = (joined(first, width), joined(figures(overview), width))
        self.update(Content("\n").join([content(line, stale=away_s is not None) for line in lines]))


def heard(url: str, overview: Aggregate) -> list[Said]:
    """The first line while the bus is heard."""
    tone = words.LEVEL_TONES[overview.status]
    return [
        Said("golek", "strong"), Said(f"● {overview.status}", tone), Said(words.clock(overview.timestamp) + "Z"),
        Said(plain(url), "dim"), Said(overview.monitor_id, "dim"),
    ]  # fmt: skip


def not_heard(url: str, stamp: str, how: str, problem: str) -> list[Said]:
    """The first line while it is not."""
    return [
        Said("golek", "strong"),
        Said(f"✕ NO BUS {how}", "bad"),
        Said(plain(problem), "bad"), Said(plain(url), "dim"), Said(words.clock(stamp) + "Z", "dim"),
    ]  # fmt: skip


def figures(fleet: Aggregate) -> list[Said]:
    """The second line, what matters most first."""
    share = fleet.pending_messages / fleet.queue_capacity if fleet.queue_capacity else 0.0
    return [
        Said(f"workers {fleet.workers_online}/{fleet.workers}", _short(fleet.workers_online, fleet.workers)),
        Said(f"models {fleet.models_online}/{fleet.models}", _short(fleet.models_online, fleet.models)),
        Said(f"alerts {fleet.alerts}", "bad" if fleet.alerts else "dim"),
        Said(f"active {fleet.active_processing}/{fleet.slots}"),
        Said(f"queue {words.count(fleet.pending_messages)}", "bad" if share >= 0.8 else "warn" if share else ""),
        Said(f"{words.rate(fleet.tokens_per_s)} tok/s"),
        Said(f"{words.rate(fleet.requests_per_s)} req/s"),
        Said(f"dead {fleet.dead_letters}", "warn" if fleet.dead_letters else "dim"),
        Said(f"{words.rate(fleet.errors_per_s)} err/s", "bad" if fleet.errors_per_s else "dim"),
        Said(f"gateways {fleet.gateways}", "dim"),
    ]  # fmt: skip


def joined(pieces: Sequence[Said], width: int) -> list[Said]:
    """As many of the pieces as have room, in their order."""
    kept: list[Said] = []
    left = width
    for piece in pieces:
        need = len(piece.text) + (len(SEPARATOR) if kept else 0)
        if not piece.text or (kept and need > left):
            continue
        kept.append(Said(piece.text[:width], piece.tone))
        left -= need
    return kept


def content(pieces: Sequence[Said], *, stale: bool = False) -> Content:
    """A line of them; where they are of before they are all the same grey, but for what is bad."""
    parts = []
    for text, tone in pieces:
        style = _STYLES["dim"] if stale and tone != "bad" else _STYLES[tone]
        parts.append(Content.styled(text, style) if style else Content(text))
    return Content(SEPARATOR).join(parts)


def _short(there: int, expected: int) -> Tone:
    return "" if there == expected else "bad" if there == 0 else "warn"
