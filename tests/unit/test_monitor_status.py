"""One look at the fleet: what it finds, and how that fits on a screen. Over sample fleets."""

import msgspec
import pytest

from golek_monitor import findings, screen, status
from golek_monitor.picture import Picture
from golek_monitor.screen import Form
from golek_wire.signals import Alert, AlertKind, Health, ModelInfo, ModelRecord, Severity, WorkerStatus
from tests.support.fleets import Time, picture

WHERE = "broker nats://127.0.0.1:4222 · no monitor runs here (golek monitor start)"


def record(state: WorkerStatus) -> ModelRecord:
    """What the bucket says of `tiny`."""
    return ModelRecord(
        name="tiny", kinds=["inference"], state=state, deployment="tiny", last_seen="2026-01-02T11:59:50.000Z"
    )


def health(worker_id: str, status: WorkerStatus, **more: object) -> Health:
    """A heartbeat."""
    said = Health(
        model_name="tiny", status=status, last_activity="", capabilities=[], endpoint="", nats_topic="", version="1",
        model_info=ModelInfo(), worker_id=worker_id, slots=4,
    )  # fmt: skip
    return msgspec.structs.replace(said, **more)


def seen(*beats: Health, of: WorkerStatus = "online") -> Picture:
    """The picture of a fleet that has the model `tiny`, whose workers said this."""
    time = Time()
    found = Picture("look", clock=time.clock, wall=time.wall)
    found.know([record(of)])
    for beat in beats:
        found.heartbeat(beat)
    return found


def found_in(fleet: Picture) -> list[Alert]:
    return findings.of(fleet.now(), fleet.view.left())


@pytest.mark.parametrize(
    ("fleet", "kinds", "says"),
    [
        (seen(health("a", "online")), [], ""),
        (seen(health("a", "unloaded")), [], ""),
        (seen(health("a", "online"), health("b", "draining")), [], ""),
        (seen(of="offline"), [], ""),
        (seen(), [("worker_lost", "critical")], "nobody serves tiny: its last worker was heard at 2026-01-02T11:59:50"),
        (Picture(), [("worker_lost", "critical")], "no worker is there: `make start WORKER=name` starts one"),
        (seen(health("a", "loading")), [("worker_failed", "critical")], "tiny takes no requests yet: it is loading"),
        (seen(health("a", "draining")), [("worker_failed", "critical")], "tiny takes no requests: it is draining"),
        (
            seen(health("a", "online"), health("b", "stalled", last_token_age_ms=31_000)),
            [("worker_stalled", "critical")],
            "b is stalled; its engine gave no sign for 31 s",
        ),
        (seen(health("a", "stalled")), [("worker_stalled", "critical")], "a is stalled"),
        (seen(health("a", "failed")), [("worker_failed", "critical")], "a failed"),
        (
            seen(health("a", "online"), health("b", "failed", problem="no memory")),
            [("worker_failed", "warning")],
            "b failed: no memory",
        ),
    ],
)
def test_what_needs_attention(fleet: Picture, kinds: list[tuple[str, str]], says: str) -> None:
    """A model that takes no requests, workers that are stuck; a model that was stopped in order is not missed."""
    found = found_in(fleet)
    assert [(one.kind, one.severity) for one in found] == kinds
    assert all(says in one.message for one in found)
    assert findings.is_healthy(found) == ("critical" not in dict(kinds).values())


def fires(kind: AlertKind, severity: Severity, worker_id: str = "", model: str = "tiny") -> Alert:
    """An alert of a monitor."""
    return Alert(
        id=f"{kind}:{worker_id or model}", kind=kind, severity=severity, state="firing", message="a monitor says so",
        since="2026-01-02T12:00:00Z", timestamp="2026-01-02T12:00:00Z", model=model, worker_id=worker_id,
    )  # fmt: skip


def test_what_monitors_say_counts_too() -> None:
    """What is critical comes first and decides; of one cause the monitor's word stands, once."""
    fleet = seen(health("a", "online"), health("b", "stalled"))
    lost, stalled = fires("worker_lost", "warning", "c"), fires("worker_stalled", "critical", "b")
    assert findings.together(found_in(fleet), [lost, stalled]) == [stalled, lost]
    calm = found_in(seen(health("a", "online")))
    assert findings.is_healthy(findings.together(calm, [lost]))
    assert not findings.is_healthy(findings.together(calm, [fires("error_rate", "critical")]))
    nobody, gone = found_in(seen()), fires("worker_lost", "critical", "a")
    assert (len(nobody), findings.together(nobody, [gone])) == (1, [gone])
    assert findings.together(nobody, [fires("worker_lost", "critical", "z", "other")])[1:] == nobody


def test_warnings_are_counted_beside_the_verdict() -> None:
    """A fleet that is healthy may have some."""
    fleet = seen(health("a", "online"))
    said = screen.lines(fleet.now(), [fires("worker_lost", "warning", "c")], WHERE, Form())
    assert said[-2:] == ["warning: a monitor says so", "healthy: every model takes requests; 1 warning"]


def test_rates_that_nobody_knows_are_not_zero() -> None:
    """One report counts nothing: a dash on the screen, no key in JSON. A fleet without workers has none."""
    unknown = seen(health("a", "online")).now()
    assert "queue 0 of 0 · - tokens/s" in screen.lines(unknown, [], WHERE, Form())[1]
    assert not {"requests_per_s", "tokens_per_s", "errors_per_s"} & status.told(unknown)["overview"].keys()
    assert status.told(Picture().now())["overview"]["requests_per_s"] == 0
    known = picture(5).now()
    assert ("tokens_per_s" in status.told(known)["overview"]) == any(
        one.tokens_per_s is not None for one in known.services
    )


def test_without_the_bus_nothing_is_found() -> None:
    """What stands in the picture then is not how it is."""
    fleet = seen()
    fleet.connected = False
    assert found_in(fleet) == []


@pytest.mark.parametrize("workers", [0, 1, 5, 12])
def test_the_screen_has_eighty_columns(workers: int) -> None:
    """Every line of the overview and the table; each model and worker has its row, and the last line is the verdict."""
    now = picture(workers).now()
    said = screen.lines(now, [], WHERE, Form(width=80))
    assert [line for line in said if len(line) > 80] == []
    for name in (*(one.model_name for one in now.services), *(one.worker_id for one in now.replicas)):
        assert any(line.split()[0] == name for line in said if line), name
    assert said[-1] == "healthy: every model takes requests"


def test_a_long_name_gives_way_and_figures_do_not() -> None:
    """In 80 columns it is cut; where it does not go to a terminal it is whole."""
    fleet = seen(health("w" * 90, "online"))
    (row,) = [line for line in screen.lines(fleet.now(), [], "", Form(width=80)) if "www" in line]
    assert len(row) <= 80
    assert "…  online" in row
    assert any("w" * 90 in line for line in screen.lines(fleet.now(), [], "", Form()))


def test_where_rows_are_few_those_in_order_give_way() -> None:
    """All models stay, then the workers that are not in order, and it says how many rows are missing."""
    now = picture(200).now()
    said = screen.lines(now, [], WHERE, Form(width=80, rows=12))
    table = said[said.index("") + 1 :]
    table = table[1 : table.index("")]
    assert len(table) == 12
    assert [one.model_name for one in now.services] == [line.split()[0] for line in table if not line.startswith(" ")]
    assert all("online" not in line for line in table if line.startswith("  g"))
    assert table[-1] == "  … 194 more rows: --all shows every one"


def test_many_findings_are_counted() -> None:
    """Five are told in full on a terminal, all of them elsewhere."""
    fleet = seen(*(health(f"w{number}", "stalled") for number in range(9)))
    found = found_in(fleet)
    cut, whole = screen.lines(fleet.now(), found, "", Form(rows=20)), screen.lines(fleet.now(), found, "", Form())
    assert sum(line.startswith("critical: ") for line in cut) == 5
    assert f"… {len(found) - 5} more like these; --all shows every one" in cut
    assert sum(line.startswith("critical: ") for line in whole) == len(found)
    assert whole[-1] == f"needs attention: {len(found)} critical findings"


def test_what_others_wrote_does_not_steer_a_terminal() -> None:
    """Names, addresses and problems come from the bus."""
    fleet = seen(health("a", "failed", problem="\x1b]0;mine\x07 no memory"))
    said = "\n".join(screen.lines(fleet.now(), found_in(fleet), "", Form()))
    assert "no memory" in said
    assert said.replace("\n", "").isprintable()


def test_colours_only_where_they_are_asked_for() -> None:
    """A state's word is coloured, and the text is the same without."""
    fleet = seen(health("a", "online"), health("b", "stalled"))
    plain = "\n".join(screen.lines(fleet.now(), found_in(fleet), WHERE, Form()))
    coloured = "\n".join(screen.lines(fleet.now(), found_in(fleet), WHERE, Form(colours=True)))
    assert "\x1b" not in plain
    assert f"{screen.RED}stalled" in coloured
    for code in (screen.GREEN, screen.YELLOW, screen.RED, screen.BOLD, screen.FAINT, screen.PLAIN):
        coloured = coloured.replace(code, "")
    assert [line.rstrip() for line in coloured.splitlines()] == plain.splitlines()
