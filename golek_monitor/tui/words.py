"""How do figures and states read in a cell?

All is text, so that nothing hangs on colour alone; `plainest` says the same with the characters of ASCII.
"""

from typing import Final, Literal, NamedTuple

from golek_monitor.records import RowStatus
from golek_wire.signals import Level, Severity

Tone = Literal["", "good", "warn", "bad", "dim", "bar", "track", "strong"]
"""How a piece of text is meant; the style sheet has a colour for each."""
UNKNOWN: Final = "-"
_MARKS: Final[dict[RowStatus, tuple[str, Tone]]] = {
    "online": ("●", "good"),
    "unloaded": ("○", ""),
    "starting": ("◐", "warn"),
    "loading": ("◐", "warn"),
    "draining": ("▽", "warn"),
    "stalled": ("▲", "bad"),
    "silent": ("?", "bad"),
    "failed": ("✕", "bad"),
    "lost": ("✕", "bad"),
    "offline": ("·", "dim"),
}
WORST_FIRST: Final[tuple[RowStatus, ...]] = (
    "lost", "failed", "stalled", "silent", "draining", "starting", "loading", "unloaded", "offline", "online",
)  # fmt: skip
LEVEL_TONES: Final[dict[Level, Tone]] = {"healthy": "good", "warning": "warn", "critical": "bad"}
SEVERITY_TONES: Final[dict[Severity, Tone]] = {"warning": "warn", "critical": "bad"}
_PLAINEST: Final = str.maketrans(
    {
        "●": "*", "○": "o", "◐": "~", "▽": "v", "▲": "!", "✕": "X", "·": "-", "…": "~", "█": "#", "░": ".",
        "▸": ">", "→": ">", "←": "<", "↑": "^", "↓": "v", "✓": "x", "─": "-", "━": "=", "│": "|", "┃": "|", "╸": "=",
        "╺": "=", "▁": "_", "▔": "-", "▏": "|", "▎": "|", "▊": "|", "▌": "|", "▐": "|", "▀": "-", "▄": "_", "▇": "#",
        "÷": "/", "⭘": "o", "►": ">", "▼": "v", "🔎": "> ", "┌": "+", "┐": "+", "└": "+", "┘": "+", "├": "+",
        "┤": "+", "┬": "+", "┴": "+", "┼": "+", "╭": "+", "╮": "+", "╰": "+", "╯": "+",
    }
)  # fmt: skip


class Said(NamedTuple):
    """A piece of text and how it is meant."""

    text: str
    tone: Tone = ""


Cell = tuple[Said, ...]


def said(text: str, tone: Tone = "") -> Cell:
    """A cell of one piece."""
    return (Said(text, tone),)


def length(cell: Cell) -> int:
    """How many characters a cell has."""
    return sum(len(piece.text) for piece in cell)


def ended(cell: Cell, width: int) -> Cell:
    """A cell of one piece in `width` characters: its end, where it is too long."""
    (text, tone), *_ = cell
    return cell if len(text) <= width else said("…" + text[len(text) - width + 1 :], tone)


def plainest(text: str) -> str:
    """`text` in ASCII, as wide as it was, for a terminal that shows nothing else."""
    if text.isascii():
        return text
    return text.translate(_PLAINEST).encode("ascii", "replace").decode("ascii")


def status(state: RowStatus, progress: float | None = None) -> Cell:
    """A state with its mark; a load with how far it is."""
    mark, tone = _MARKS[state]
    far = f" {progress:.0%}" if progress is not None and state in ("loading", "starting") else ""
    return said(f"{mark} {state}{far}", tone)


def level(value: Level | None) -> Cell:
    """A level of backpressure."""
    return said(value, LEVEL_TONES[value]) if value is not None else said(UNKNOWN, "dim")


def bar(share: float | None, width: int, text: str = "", *, full_is_bad: bool = False) -> Cell:
    """`share` of 1 as a bar, with `text` behind it, else as a percentage."""
    if share is None:
        return said(UNKNOWN, "dim")
    share = min(1.0, max(0.0, share))
    filled = min(width, round(share * width) or (1 if share > 0 else 0))
    tone: Tone = ("bad" if share >= 0.95 else "warn" if share >= 0.8 else "bar") if full_is_bad else "bar"
    return (Said("█" * filled, tone), Said("░" * (width - filled), "track"), Said(f" {text or f'{share:.0%}':>4}"))


def count(value: int | None) -> str:
    """A count in at most six characters: `43`, `12.3k`, `4.5M`."""
    if value is None:
        return UNKNOWN
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size and value >= 10_000:
            return f"{value / size:.1f}{unit}" if value < 100 * size else f"{value / size:.0f}{unit}"
    return str(value)


def rate(value: float | None) -> str:
    """A figure per second: two places under 10, none from 100 on."""
    if value is None:
        return UNKNOWN
    if value >= 10_000:
        return count(round(min(value, 1e15)))
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 or value == 0 else f"{value:.2f}"


def millis(value: float | None) -> str:
    """A time that was measured in milliseconds: `12ms`, `1.24s`, `61s`."""
    if value is None:
        return UNKNOWN
    if value < 999.5:
        return f"{value:.0f}ms"
    return f"{value / 1e3:.2f}s" if value < 9_995 else f"{value / 1e3:.1f}s" if value < 99_950 else age(value / 1e3)


def age(seconds: float | None) -> str:
    """How long ago, in at most four characters: `now`, `12s`, `5m`, `3h`, `9d`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return "now"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size * (1 if unit != "m" else 1.5):
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def since(seconds: float | None) -> str:
    """The same in a sentence: `just now`, `12s ago`."""
    return UNKNOWN if seconds is None else "just now" if seconds < 1 else f"{age(seconds)} ago"


def span(seconds: float | None) -> str:
    """A long time in two units: `3d 4h`, `2h 05m`, `1m 12s`."""
    if seconds is None:
        return UNKNOWN
    whole = int(seconds)
    if whole >= 86_400:
        return f"{whole // 86_400}d {whole % 86_400 // 3_600}h"
    if whole >= 3_600:
        return f"{whole // 3_600}h {whole % 3_600 // 60:02}m"
    return f"{whole // 60}m {whole % 60:02}s" if whole >= 60 else f"{whole}s"


def clock(stamp: str) -> str:
    """The time of day of an RFC 3339 time: `12:00:59`."""
    return stamp[11:19] if len(stamp) >= 19 else stamp
