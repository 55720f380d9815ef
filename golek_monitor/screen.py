"""How is the fleet said on one screen of text?

Columns that stay in 80 characters where that is asked, and where rows are limited first the models, then the workers
that are not in order. Pure.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, NamedTuple

from golek_client.fleet import LEFT
from golek_monitor.plain import plain
from golek_monitor.records import FleetNow, GatewayRow, ReplicaRow, Service
from golek_wire.keys import dollars, micros
from golek_wire.signals import Alert

GREEN, YELLOW, RED, BOLD, FAINT, PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"
_COLOURS: Final = (
    dict.fromkeys(("online", "healthy", "ready"), GREEN)
    | dict.fromkeys(("starting", "loading", "unloaded", "draining", "warning", "not ready"), YELLOW)
    | dict.fromkeys(("stalled", "failed", "silent", "lost", "nobody", "critical"), RED)
    | {"offline": FAINT}
)
HEAD: Final = ("MODEL / WORKER", "STATUS", "ACTIVE", "QUEUE", "TOK/S", "TTFT", "LEVEL")
_RIGHT: Final = (False, False, True, True, True, True, False)
_GAP: Final = "  "
FINDINGS: Final = 5
"""So many are told where rows are limited."""


class Form(NamedTuple):
    """How it is shown."""

    width: int | None = None
    """Characters of a line; None for as many as it takes."""
    rows: int | None = None
    """Lines of the table of workers; None for all."""
    colours: bool = False


class _Row(NamedTuple):
    cells: tuple[str, ...]
    weight: int
    """What gives way first where there is no room: 2 a worker in order, 1 another worker, 0 a model."""


def lines(now: FleetNow, findings: Sequence[Alert], where: str, form: Form) -> list[str]:
    """The whole screen; `where` says which broker was asked, and where more can be seen."""
    paint = _painter(form.colours)
    said = [paint(_overview(now), BOLD), _rates(now), where, ""]
    if rows := list(_rows(now)):
        said += [*_table(rows, form, paint), ""]
    if now.gateways:
        said += [*(_gateway(one, paint) for one in now.gateways), ""]
    told = findings if form.rows is None else findings[:FINDINGS]
    said += [_finding(one, paint) for one in told]
    if len(told) < len(findings):
        said.append(f"… {len(findings) - len(told)} more like these; --all shows every one")
    return [*said, _verdict(now, findings, paint)]


def is_known(now: FleetNow, rate: str) -> bool:
    """Whether a rate of the whole fleet was counted: one that no worker told is not 0."""
    here = any(one.presence == "here" and one.status not in LEFT for one in now.replicas)
    return not here or any(getattr(one, rate) is not None for one in now.services)


def _overview(now: FleetNow) -> str:
    all_in = now.overview
    return _joined(
        f"{_count(all_in.models, 'model')}, {all_in.models_online} {'takes' if all_in.models_online == 1 else 'take'} "
        "requests",
        f"{_count(all_in.workers, 'worker')}, {all_in.workers_online} in rotation",
        f"{all_in.active_processing}/{all_in.slots} slots",
    )


def _rates(now: FleetNow) -> str:
    all_in = now.overview
    return _joined(
        f"queue {all_in.pending_messages} of {all_in.queue_capacity}",
        f"{_rate(all_in.tokens_per_s if is_known(now, 'tokens_per_s') else None)} tokens/s",
        _count(all_in.gateways, "gateway"),
        *_money(now),
        f"{_count(all_in.dead_letters, 'dead letter')}" + (" (golek dlq list)" if all_in.dead_letters else ""),
    )


def _money(now: FleetNow) -> list[str]:
    """What clouds take, where they take anything."""
    usd = sum(one.cost_usd_per_hour or 0.0 for one in now.services)
    return [f"clouds take {dollars(micros(usd))} in an hour"] if usd else []


def _rows(now: FleetNow) -> Iterator[_Row]:
    """Each model, and below it its workers."""
    of_model: dict[str, list[ReplicaRow]] = {}
    for one in now.replicas:
        of_model.setdefault(one.model_name, []).append(one)
    for service in now.services:
        yield _Row(_model(service), 0)
        for one in of_model.pop(service.model_name, []):
            yield _Row(_worker(one), 2 if one.in_rotation and one.level != "critical" else 1)
    for left in of_model.values():
        yield from (_Row(_worker(one), 1) for one in left)


def _model(one: Service) -> tuple[str, ...]:
    queue = one.queue_metrics
    served = one.replicas > 0
    return (
        one.model_name,
        one.status if served or one.status == "offline" else "nobody",
        f"{queue.active_processing}/{one.slots}" if served else "-",
        str(queue.pending_messages) if served else "-",
        _rate(one.tokens_per_s),
        _time(one.ttft_ms),
        one.backpressure_status.level if served else "-",
    )


def _worker(one: ReplicaRow) -> tuple[str, ...]:
    coming = f"{one.status} {one.progress:.0%}" if one.progress is not None else one.status
    return (
        f"  {one.worker_id}",
        coming,
        f"{one.active}/{one.slots}",
        "",
        _rate(one.tokens_per_s),
        _time(one.ttft_ms),
        one.level or "-",
    )


def _table(rows: list[_Row], form: Form, paint: Callable[[str, str], str]) -> list[str]:
    shown, hidden = _fitting(rows, form.rows)
    cells = [HEAD, *(row.cells for row in shown)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    if form.width is not None:
        rest = sum(widths[1:]) + len(_GAP) * (len(HEAD) - 1)
        widths[0] = max(len(HEAD[0]), min(widths[0], form.width - rest))
    said = [_line(HEAD, widths, lambda text, _: paint(text, FAINT))]
    said += [_line(row.cells, widths, lambda text, word: paint(text, _colour(word))) for row in shown]
    if hidden:
        said.append(f"  … {_count(hidden, 'more row')}: --all shows every one")
    return said


def _fitting(rows: list[_Row], limit: int | None) -> tuple[list[_Row], int]:
    """The rows that are shown, in their order, and how many are not: the heaviest give way, of those the last."""
    if limit is None or len(rows) <= limit:
        return rows, 0
    places = sorted(range(len(rows)), key=lambda place: (rows[place].weight, place))[: max(1, limit - 1)]
    return [rows[place] for place in sorted(places)], len(rows) - len(places)


def _line(cells: Sequence[str], widths: Sequence[int], paint: Callable[[str, str], str]) -> str:
    said = []
    for text, width, right in zip(map(plain, cells), widths, _RIGHT, strict=True):
        fitted = text if len(text) <= width else text[: width - 1] + "…"
        said.append(paint(fitted.rjust(width) if right else fitted.ljust(width), text))
    return _GAP.join(said).rstrip()


def _gateway(one: GatewayRow, paint: Callable[[str, str], str]) -> str:
    rate = "" if one.requests_per_s is None else f", {one.requests_per_s:.1f} requests/s"
    said = paint(one.status, _colour(one.status))
    return f"gateway {plain(one.endpoint)} {said}: {_count(one.open_requests, 'open request')}{rate}"


def _finding(one: Alert, paint: Callable[[str, str], str]) -> str:
    return f"{paint(one.severity, _colour(one.severity))}: {plain(one.message)}"


def _verdict(now: FleetNow, findings: Collection[Alert], paint: Callable[[str, str], str]) -> str:
    critical = sum(one.severity == "critical" for one in findings)
    if critical:
        return paint(f"needs attention: {_count(critical, 'critical finding')}", RED)
    warned = f"; {_count(len(findings), 'warning')}" if findings else ""
    if left := [plain(one.model_name) for one in now.services if not one.replicas]:
        were = "which was stopped" if len(left) == 1 else "which were stopped"
        return paint(f"healthy: every model takes requests but {', '.join(left)}, {were}{warned}", GREEN)
    return paint(f"healthy: every model takes requests{warned}", GREEN)


def _painter(colours: bool) -> Callable[[str, str], str]:
    return (lambda text, colour: f"{colour}{text}{PLAIN}" if colour else text) if colours else lambda text, _: text


def _colour(word: str) -> str:
    return _COLOURS.get(word.partition(" ")[0], "") or _COLOURS.get(word, "")


def _joined(*parts: str) -> str:
    return " · ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _time(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
