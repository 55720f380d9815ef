"""What does the table of the fleet show of a worker?"""

from collections.abc import Callable
from typing import Final

from golek_monitor.records import ReplicaRow
from golek_monitor.tui import words
from golek_monitor.tui.columns import Column
from golek_monitor.tui.words import Cell, Said, Tone, said

_LEVELS: Final = ("healthy", "warning", "critical")
_BAR: Final = 4
OLD_TOKEN_S: Final = 15.0
"""A running job without a token for so long is worth a look."""


def _slots(row: ReplicaRow) -> Cell:
    share = row.active / row.slots if row.slots else None
    return words.bar(share, _BAR, f"{row.active}/{row.slots}")


def _queue(row: ReplicaRow) -> Cell:
    return said(words.count(row.pending), "warn" if row.pending else "dim")


def _token_s(row: ReplicaRow) -> float | None:
    """Since its engine moved: what it said, and what has passed since."""
    return None if row.last_token_age_ms is None else row.last_token_age_ms / 1000 + row.last_seen_s


def _token_age(row: ReplicaRow) -> Cell:
    age_s = _token_s(row)
    tone: Tone = "dim" if age_s is None else "warn" if row.active and age_s > OLD_TOKEN_S else ""
    return said(words.age(age_s), tone)


def _seen(row: ReplicaRow) -> Cell:
    return said(words.age(row.last_seen_s), "bad" if row.presence in ("silent", "gone") else "")


def _then(cell: Callable[[ReplicaRow], Cell]) -> Callable[[ReplicaRow], Cell]:
    """Figures of a worker that is not heard are of before, and look so."""

    def shown(row: ReplicaRow) -> Cell:
        found = cell(row)
        return found if row.presence == "here" else tuple(Said(text, "dim") for text, _ in found)

    return shown


def _known(text: str) -> Cell:
    return said(text, "dim" if text == words.UNKNOWN else "")


FLEET: Final[tuple[Column[ReplicaRow], ...]] = (
    Column(
        key="model", title="Model", width=13, most=24, rank=2,
        cell=lambda row: said(row.model_name), order=lambda row: (row.model_name.lower(), row.worker_id),
    ),
    Column(
        key="replica", title="Replica", width=15, most=32, rank=0, ends=True,
        cell=lambda row: said(row.worker_id, "strong"), order=lambda row: row.worker_id.lower(),
    ),
    Column(
        key="engine", title="Engine", width=9, rank=11,
        cell=lambda row: _known(row.engine or words.UNKNOWN), order=lambda row: row.engine or None,
    ),
    Column(
        key="status", title="Status", width=10, most=13, rank=1,
        cell=lambda row: words.status(row.status, row.progress), order=lambda row: words.WORST_FIRST.index(row.status),
    ),
    Column(
        key="slots", title="Active", width=9, most=11, rank=3, falls=True,
        cell=_then(_slots), order=lambda row: row.active / row.slots if row.slots else None,
    ),
    Column(
        key="queue", title="Queue", width=6, rank=4, falls=True, right=True,
        cell=_queue, order=lambda row: row.pending,
    ),
    Column(
        key="tokens", title="Tok/s", width=6, rank=5, falls=True, right=True,
        cell=_then(lambda row: _known(words.rate(row.tokens_per_s))), order=lambda row: row.tokens_per_s,
    ),
    Column(
        key="ttft", title="TTFT", width=6, rank=7, falls=True, right=True,
        cell=_then(lambda row: _known(words.millis(row.ttft_ms))), order=lambda row: row.ttft_ms,
    ),
    Column(
        key="kv", title="KV use", width=9, rank=8, falls=True,
        cell=_then(lambda row: words.bar(row.kv_use, _BAR, full_is_bad=True)), order=lambda row: row.kv_use,
    ),
    Column(
        key="level", title="Level", width=8, rank=9, falls=True,
        cell=_then(lambda row: words.level(row.level)),
        order=lambda row: _LEVELS.index(row.level) if row.level is not None else None,
    ),
    Column(
        key="token_age", title="Token", width=6, rank=10, falls=True, right=True,
        cell=_then(_token_age), order=_token_s,
    ),
    Column(
        key="seen", title="Seen", width=5, rank=6, falls=True, right=True,
        cell=_seen, order=lambda row: row.last_seen_s,
    ),
)  # fmt: skip
"""htop for workers: those columns that say whether it works stay the longest."""


def matches(row: ReplicaRow, wanted: str) -> bool:
    """Whether every word of `wanted` stands in the row's model, id, engine, device, status, level or problem."""
    said_of_it = " ".join(
        (row.model_name, row.worker_id, row.engine, row.device, row.status, row.level or "", row.problem or "")
    ).lower()
    return all(word in said_of_it for word in wanted.lower().split())
