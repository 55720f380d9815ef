"""What is known of one worker, and what may be ordered of it?"""

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from golek_client.fleet import LEFT
from golek_monitor.logs.records import FoundRequests
from golek_monitor.picture import Picture
from golek_monitor.plain import plain
from golek_monitor.records import ReplicaRow, Service
from golek_monitor.tui import words
from golek_monitor.tui.facts import facts
from golek_monitor.tui.messages import Verb, Wanted
from golek_monitor.tui.overlay import Overlay
from golek_monitor.tui.overview import content
from golek_monitor.tui.request_columns import REQUESTS
from golek_monitor.tui.table import Table
from golek_monitor.tui.told import Told
from golek_monitor.tui.words import Said
from golek_wire.logs import LoggedRequest


class Worker(Overlay[None]):
    """One worker: how it is now, its model, the settings that somebody changed, and what it answered lately."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "dismiss", "Back"),
        Binding("d", "want('drain')", "Drain"),
        Binding("u", "want('unload')", "Unload"),
        Binding("l", "want('load')", "Load"),
    ]

    def __init__(self, row: ReplicaRow, service: Service | None) -> None:
        super().__init__()
        self.row = row
        self._service = service
        self.table: Table[LoggedRequest] = Table(
            REQUESTS, lambda one: f"{one.log} {one.row}", sort="ended", id="requests", empty="None is in the log."
        )

    def compose(self) -> ComposeResult:
        yield Static("", id="worker-title", markup=False)
        with VerticalScroll(id="worker-facts", can_focus=False):
            yield Static("", id="worker-now", markup=False)
            yield Static(facts([("settings", "asking the worker …")]), id="worker-settings", markup=False)
        yield self.table
        yield Static("reading its request log …", classes="note", markup=False)
        yield Told()
        yield Footer()

    def on_mount(self) -> None:
        """Say what is known at once."""
        self.show(self.row, self._service)

    def look(self, picture: Picture) -> None:
        """Show what is so now."""
        row = next((one for one in picture.replicas() if one.worker_id == self.row.worker_id), None)
        self.show(row, picture.service(self.row.model_name))

    def show(self, row: ReplicaRow | None, service: Service | None) -> None:
        """It is so now; None where it is not known any more."""
        if row is None:
            self.query_one("#worker-title", Static).update(
                f"{plain(self.row.worker_id)} is forgotten: it was not heard for a quarter of an hour"
            )
            return
        self.row, self._service = row, service
        (state,) = words.status(row.status, row.progress)
        seen = Said(f"seen {words.age(row.last_seen_s)}", "dim" if row.presence == "here" else "bad")
        title = [Said(plain(row.worker_id), "strong"), state, Said(plain(row.model_name)), seen]
        self.query_one("#worker-title", Static).update(content(title))
        self.query_one("#worker-now", Static).update(facts([*now(row), *model(service)]))

    def show_settings(self, settings: Mapping[str, str] | None, problem: str = "") -> None:
        """These differ from what they are without anybody's doing; or `problem`, why that is not known."""
        self.query_one("#worker-settings", Static).update(facts(settings_told(settings, problem)))

    def show_requests(self, found: FoundRequests) -> None:
        """These it answered lately."""
        self.table.show(found.requests)
        broken = "; ".join(f"{log.path}: {log.problem}" for log in found.logs if log.problem)
        newest = "the newest " if found.next else ""
        text = f"{newest}{len(found.requests)} requests in its log · `golek trace JOB` tells all of one"
        if not found.logs:
            text = f"no log of {self.row.model_name} was found, here or where its workers are"
        self.note(broken or text, bad=bool(broken))

    def note(self, text: str, *, bad: bool = False) -> None:
        """A line below: where the requests are from, or why they could not be read."""
        line = self.query_one(".note", Static)
        line.set_class(bad, "bad")
        line.update(plain(text))

    def action_want(self, verb: Verb) -> None:
        """Ask whether the order shall be given."""
        row = self.row
        self.app.post_message(Wanted(verb, model=row.model_name, worker_id=row.worker_id, active=row.active))


def now(row: ReplicaRow) -> list[tuple[str, str]]:
    """How the worker is; what is not known is left out."""
    age_s = None if row.last_token_age_ms is None else row.last_token_age_ms / 1000 + row.last_seen_s
    late = f"it is not heard for {words.span(row.last_seen_s)}, and these are its last figures"
    return [
        ("problem", row.problem or ("" if row.presence == "here" else late)),
        ("load", "none: it left" if row.status in LEFT else _load(row)),
        ("writes", f"{words.rate(row.tokens_per_s)} tok/s" if row.tokens_per_s is not None else ""),
        ("first token", _first_token(row)),
        ("last token", words.since(age_s) if age_s is not None else ""),
        ("requests", _requests(row)),
        ("KV cache", _cache(row)),
        ("engine", f"{row.engine or words.UNKNOWN} on {row.device or 'an unknown device'}, golek {row.version}"),
        ("HTTP", row.endpoint or "none"),
        ("started", f"{row.started_at[:19].replace('T', ' ')}Z" if row.started_at else ""),
        ("ping", f"{row.ping_ms:.1f} ms" if row.ping_ms is not None else ""),
        ("log", f"{row.log_lag_s:.0f} s behind" if row.log_lag_s else ""),
        ("clock", f"{row.clock_skew_s:+.1f} s off" if row.clock_skew_s and abs(row.clock_skew_s) > 1 else ""),
    ]  # fmt: skip


def _load(row: ReplicaRow) -> str:
    return f"{row.active} of {row.slots} slots, {row.pending} wait in the queue, {row.level or 'level unknown'}"


def _first_token(row: ReplicaRow) -> str:
    then = f", then {words.millis(row.itl_ms)} each" if row.itl_ms is not None else ""
    return f"after {words.millis(row.ttft_ms)}{then}" if row.ttft_ms is not None else ""


def _requests(row: ReplicaRow) -> str:
    if row.requests_per_s is None:
        return ""
    answered = f", answered in {words.millis(row.response_ms)}" if row.response_ms is not None else ""
    return f"{words.rate(row.requests_per_s)}/s{answered}, {words.rate(row.errors_per_s)} errors/s"


def _cache(row: ReplicaRow) -> str:
    if row.kv_use is None:
        return ""
    hits = f", {row.prefix_hit_rate:.0%} of prompts were found in it" if row.prefix_hit_rate is not None else ""
    return f"{row.kv_use:.0%} used{hits}"


def model(service: Service | None) -> list[tuple[str, str]]:
    """What is known of its model."""
    if service is None:
        return []
    info = service.model_info
    what = "  ".join(part for part in (info.architecture, info.parameter_count, info.quantization) if part)
    size = f", {info.size_bytes / 2**20:,.0f} MiB" if info.size_bytes else ""
    return [
        ("model", f"{what or words.UNKNOWN}{size}"),
        ("context", f"{info.context_size:,} tokens" if info.context_size else ""),
        ("can", ", ".join(service.capabilities)),
        ("adapters", ", ".join(service.adapters)),
        ("NATS", service.nats_topic),
    ]


def settings_told(settings: Mapping[str, str] | None, problem: str) -> list[tuple[str, str]]:
    """The settings that somebody changed."""
    if settings is None:
        return [("settings", problem)]
    changed = ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    return [("settings", changed or "all as they are by default")]
