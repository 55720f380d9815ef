"""Which models are there, what can each, and where is it reached?"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from golek_monitor.picture import Picture
from golek_monitor.records import GatewayRow, Service
from golek_monitor.tui import words
from golek_monitor.tui.columns import Column
from golek_monitor.tui.facts import facts
from golek_monitor.tui.messages import ModelWanted
from golek_monitor.tui.table import Table
from golek_monitor.tui.view import View
from golek_monitor.tui.words import Cell, said

_CAPABILITIES: Final = (
    ("text-generation", "Text"), ("tool-calling", "Tools"), ("reasoning", "Think"), ("grammar-constrained", "Gramm"),
    ("embeddings", "Embed"), ("rerank", "Rank"), ("vision", "Visio"),
)  # fmt: skip


def _can(capability: str) -> Callable[[Service], Cell]:
    def cell(service: Service) -> Cell:
        return said("  ✓", "good") if capability in service.capabilities else said("  ·", "dim")

    return cell


def _has(capability: str) -> Callable[[Service], bool]:
    return lambda service: capability not in service.capabilities


MODELS: Final[tuple[Column[Service], ...]] = (
    Column(
        key="model", title="Model", width=16, most=32, rank=0,
        cell=lambda one: said(one.model_name, "strong"), order=lambda one: one.model_name.lower(),
    ),
    Column(
        key="status", title="Status", width=10, most=12, rank=1,
        cell=lambda one: words.status(one.status), order=lambda one: words.WORST_FIRST.index(one.status),
    ),
    *(
        Column(key=name, title=title, width=5, rank=3 + place, cell=_can(name), order=_has(name))
        for place, (name, title) in enumerate(_CAPABILITIES[:6])
    ),
    Column(
        key="parameters", title="Params", width=6, rank=2, right=True, falls=True,
        cell=lambda one: said(one.model_info.parameter_count or words.UNKNOWN),
        order=lambda one: _size(one.model_info.parameter_count),
    ),
    Column(
        key="architecture", title="Arch", width=10, most=14, rank=10,
        cell=lambda one: said(one.model_info.architecture or words.UNKNOWN),
        order=lambda one: one.model_info.architecture or None,
    ),
    Column(
        key="replicas", title="Workers", width=7, rank=9, right=True, falls=True,
        cell=lambda one: said(f"{one.replicas_in_rotation}/{one.replicas}", "" if one.in_rotation else "bad"),
        order=lambda one: one.replicas,
    ),
    Column(
        key="queue", title="Queue", width=6, rank=11, right=True, falls=True,
        cell=lambda one: said(words.count(one.queue_metrics.pending_messages)),
        order=lambda one: one.queue_metrics.pending_messages,
    ),
    Column(
        key="answer", title="Answer", width=7, rank=12, right=True, falls=True,
        cell=lambda one: said(words.millis(one.response_ms)), order=lambda one: one.response_ms,
    ),
    Column(
        key="ttft", title="TTFT", width=6, rank=13, right=True, falls=True,
        cell=lambda one: said(words.millis(one.ttft_ms)), order=lambda one: one.ttft_ms,
    ),
    Column(
        key="first", title="First seen", width=19, rank=14,
        cell=lambda one: said(one.first_seen[:19].replace("T", " ")), order=lambda one: one.first_seen,
    ),
)  # fmt: skip


class Models(View):
    """The capability matrix, and all that is known of the chosen model below it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "want('charts')", "Charts"),
        Binding("w", "want('queue')", "Queue"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._gateways: Sequence[str] = ()
        self.table: Table[Service] = Table(
            MODELS, lambda one: one.model_name, sort="model", id="models-table",
            empty="No model is known yet: a worker brings its own, `golek models` lists them.",
        )  # fmt: skip

    def look(self, picture: Picture) -> None:
        self.show(picture.services(), picture.gateways())

    def target(self) -> Widget:
        return self.table

    def compose(self) -> ComposeResult:
        yield self.table
        with VerticalScroll(classes="below", can_focus=False):
            yield Static("", id="model-facts", markup=False)

    def show(self, services: Sequence[Service], gateways: Sequence[GatewayRow] = ()) -> None:
        """These are the models now, and what serves all of them over HTTP."""
        self._gateways = [one.endpoint for one in gateways if one.status == "ready"]
        self.table.show(services)
        self._about()

    def action_want(self, tab: str) -> None:
        """Look at its charts or its queue."""
        if (service := self.table.chosen) is not None and tab in ("charts", "queue"):
            self.post_message(ModelWanted(service.model_name, tab))  # type: ignore[arg-type]

    def on_table_moved(self) -> None:
        """Another model is told about."""
        self._about()

    def on_table_opened(self) -> None:
        """Enter leads to the charts."""
        self.action_want("charts")

    def _about(self) -> None:
        service = self.table.chosen
        self.query_one("#model-facts", Static).update(
            facts(told(service, self._gateways)) if service is not None else ""
        )


def told(one: Service, gateways: Sequence[str] = ()) -> list[tuple[str, str]]:
    """All that is known of a model; `gateways` are addresses under which each model is reached."""
    info = one.model_info
    window = f"{info.context_size:,} tokens" if info.context_size else words.UNKNOWN
    return [
        ("architecture", f"{info.architecture or words.UNKNOWN}  {info.parameter_count}  {info.quantization}".strip()),
        ("context", f"{window}, embeddings of {info.embedding_size}" if info.embedding_size else window),
        ("can", ", ".join(one.capabilities) or words.UNKNOWN),
        ("problem", one.problem or ""),
        ("HTTP", _some(one.endpoints) or _by_gateway(one, gateways)),
        ("NATS", one.nats_topic),
        ("adapters", ", ".join(one.adapters)),
        ("first seen", f"{one.first_seen[:19].replace('T', ' ')}Z, {words.span(one.uptime_seconds)} ago"),
        ("last seen", f"{one.last_seen[:19].replace('T', ' ')}Z"),
        ("answers in", f"{words.millis(one.response_ms)}, first token {words.millis(one.ttft_ms)}, ping {_ping(one)}"),
        ("workers", _some(one.worker_ids) or "none is alive"),
        ("dead letters", str(one.dead_letters) if one.dead_letters else ""),
    ]


def _by_gateway(one: Service, gateways: Sequence[str]) -> str:
    if gateways and one.in_rotation:
        return f"{_some(gateways)}, by the gateway"
    return "none of its workers serves HTTP" if gateways else "none of its workers serves HTTP, and no gateway is there"


def _ping(one: Service) -> str:
    return f"{one.ping_ms:.1f}ms" if one.ping_ms is not None else words.UNKNOWN


def _size(parameters: str) -> float | None:
    """`4.0B` as a number."""
    units = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
    try:
        return float(parameters[:-1]) * units[parameters[-1:].upper()]
    except (ValueError, KeyError):
        return None


def _some(names: Sequence[str], most: int = 6) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
