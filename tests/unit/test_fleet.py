"""The picture of the fleet, from messages alone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from golek_client import fleet
from golek_client.discovery import ALIVE_S
from golek_client.fleet import SILENT_S, FleetView, ModelState, Presence
from golek_wire.signals import Health, LoadReport, ModelInfo, ModelRecord, load_level

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def beat(worker: str = "tiny-a-1", model: str = "tiny", **given: Any) -> Health:
    said: dict[str, Any] = {
        "status": "online", "last_activity": "", "capabilities": [], "endpoint": "", "nats_topic": "",
        "version": "1", "model_info": ModelInfo(), "slots": 4,
    }  # fmt: skip
    return Health(model, **(said | given), worker_id=worker)


def report(worker: str = "tiny-a-1", model: str = "tiny", **given: Any) -> LoadReport:
    said: dict[str, Any] = {
        "pending_messages": 0, "active_processing": 0, "timestamp": "", "worker_count": 4, "queue_capacity": 2000,
        "status": "healthy", "incarnation": "i", "seq": 1,
    }  # fmt: skip
    return LoadReport(model, **(said | given), worker_id=worker)


def record(model: str = "tiny", seen_s: float = 0.0, **given: Any) -> ModelRecord:
    seen = (NOW - timedelta(seconds=seen_s)).isoformat()
    return ModelRecord(
        model, **({"kinds": ["inference"], "state": "online", "deployment": model} | given), last_seen=seen
    )


def only(view: FleetView, now: float = 0.0) -> ModelState:
    (model,) = view.models(now, NOW)
    return model


def test_replicas_are_summed_and_the_queue_is_the_models() -> None:
    """Each replica tells its own slots and jobs; of the queue, which all of them see, the newest word counts."""
    view = FleetView()
    view.report(report("a", active_processing=3, pending_messages=9), 0.0)
    view.report(report("b", active_processing=4, pending_messages=7, worker_count=8), 0.5)
    model = only(view, 1.0)
    assert (model.active, model.slots, model.pending, model.capacity) == (7, 12, 7, 2000)
    assert model.utilization == 14 / 2000
    assert [one.worker_id for one in model.replicas] == ["a", "b"]


@pytest.mark.parametrize(
    ("said", "status", "takes"),
    [
        (["online", "loading"], "online", True),
        (["stalled", "unloaded"], "unloaded", True),
        (["stalled"], "stalled", False),
        (["loading", "draining"], "loading", False),
        (["draining"], "draining", False),
    ],
)
def test_a_model_is_as_well_as_its_best_replica(said: list[str], status: str, takes: bool) -> None:
    """One replica that serves is enough; where none does, the one that is nearest to it."""
    view = FleetView()
    for number, one in enumerate(said):
        view.heartbeat(beat(f"w{number}", status=one), 0.0)
    model = only(view)
    assert (model.status, model.takes_requests) == (status, takes)


@pytest.mark.parametrize(("age_s", "alive"), [(0.0, True), (ALIVE_S, True), (ALIVE_S + 1, False)])
def test_who_is_silent_for_long_is_gone(age_s: float, alive: bool) -> None:
    """After three heartbeats that did not come a replica is not counted any more, nor is its model known."""
    view = FleetView()
    view.heartbeat(beat(), 100.0)
    view.report(report(), 100.0)
    assert bool(view.models(100.0 + age_s, NOW)) is alive
    (one,) = view.replicas(100.0)
    assert not view.is_silent(one, 100.0 + SILENT_S)
    assert view.is_silent(one, 100.1 + SILENT_S)
    view.forget(100.0 + age_s)
    assert bool(view.replicas(100.0)) is alive
    assert view.knows("tiny") is alive


def test_last_words_end_a_replica_and_a_new_process_begins_it_again() -> None:
    """Offline takes it out at once; a report of the old process is late, one of another incarnation is a new one."""
    view = FleetView()
    view.report(report(seq=7), 0.0)
    view.heartbeat(beat(status="offline"), 1.0)
    assert view.models(1.0, NOW) == []
    view.report(report(seq=8), 1.5)
    assert view.models(1.5, NOW) == []
    view.report(report(incarnation="j"), 2.0)
    assert only(view, 2.0).status == "online"


def test_an_older_report_changes_nothing() -> None:
    """Reports are counted by their process, so that one that was overtaken is known."""
    view = FleetView()
    view.report(report(seq=5, active_processing=2, pending_messages=3), 0.0)
    view.report(report(seq=4, active_processing=0, pending_messages=9), 0.1)
    assert (only(view).active, only(view).pending) == (2, 3)


def test_a_heartbeat_does_not_forget_what_reports_said_nor_the_other_way_round() -> None:
    """Both tell of one replica: the status comes from the one, the count of its process from the other."""
    view = FleetView()
    view.report(report(seq=5), 0.0)
    view.heartbeat(beat(status="stalled", active=4), 1.0)
    view.report(report(seq=6, status="critical", active_processing=4), 2.0)
    (one,) = view.replicas(2.0)
    assert (one.is_stalled, one.seq, one.level, one.told_at, one.heard_at) == (True, 6, "critical", 2.0, 2.0)


@pytest.mark.parametrize(
    ("known", "status"),
    [
        (record(), "online"),
        (record(seen_s=ALIVE_S + 10), "offline"),
        (record(seen_s=ALIVE_S + 10, state="loading"), "loading"),
        (record(state="failed"), "failed"),
    ],
)
def test_where_nobody_was_heard_the_record_counts(known: ModelRecord, status: str) -> None:
    """As long as its worker is expected back."""
    view = FleetView()
    view.know([known], 0.0)
    assert only(view).status == status


def test_a_record_that_is_older_than_its_replicas_last_words_does_not_count() -> None:
    """What left after the bucket was read is offline at once; what is written afterwards counts again."""
    view = FleetView()
    view.know([record()], 0.0)
    view.heartbeat(beat(), 1.0)
    view.heartbeat(beat(status="offline"), 2.0)
    assert only(view, 2.0).status == "offline"
    now = datetime.now(UTC).replace(microsecond=0)
    left = view.models(3.0, now)[0].record
    assert left is not None
    assert datetime.fromisoformat(left.last_seen) == now - timedelta(seconds=1)  # later than the record knows
    view.know([record()], 3.0)
    assert only(view, 3.0).status == "online"


def test_a_model_is_found_by_name() -> None:
    """One that nobody knows is None."""
    view = FleetView()
    view.heartbeat(beat(), 0.0)
    found = view.model("tiny", 0.0, NOW)
    assert found is not None
    assert found.is_loaded
    assert view.model("other", 0.0, NOW) is None


@pytest.mark.parametrize(
    ("status", "presence", "in_rotation"),
    [
        ("online", "here", True),
        ("unloaded", "here", True),
        ("stalled", "here", False),
        ("loading", "here", False),
        ("draining", "here", False),
        ("offline", "here", False),
        ("online", "silent", False),
        ("online", "gone", False),
    ],
)
def test_who_is_in_rotation(status: str, presence: Presence, in_rotation: bool) -> None:
    """Who is here and serves, or loads the model for who asks; a model is while one of its replicas is."""
    view = FleetView()
    view.heartbeat(beat(status=status), 0.0)
    view.missed("tiny-a-1", presence)
    (one,) = view.everyone()
    assert one.in_rotation is in_rotation
    assert any(model.in_rotation for model in view.models(0.0, NOW)) is in_rotation


def test_the_state_of_a_replica_is_what_it_said_last() -> None:
    """A report says it sooner than a heartbeat; one of a release that does not say it leaves it as it was."""
    view = FleetView()
    view.heartbeat(beat(incarnation="i"), 0.0)
    view.report(report(state="stalled"), 1.0)
    assert only(view, 1.0).status == "stalled"
    view.report(report(seq=2), 2.0)
    assert only(view, 2.0).status == "stalled"
    view.report(report(seq=3, state="online"), 3.0)
    assert only(view, 3.0).status == "online"


@pytest.mark.parametrize(("presence", "listed"), [("silent", True), ("gone", False)])
def test_a_missed_replica_is_not_counted_until_it_is_heard(presence: Presence, listed: bool) -> None:
    """Of a gone one nobody knows a connection; a silent one may be back. Any message of it tells that it is here."""
    ways: list[Callable[[FleetView], None]] = [
        lambda view: view.report(report(seq=2, state="online"), 5.0),
        lambda view: view.heartbeat(beat(incarnation="i"), 5.0),
        lambda view: view.answered("tiny-a-1", 5.0),
    ]
    for back in ways:
        view = FleetView()
        view.report(report(state="online"), 0.0)
        view.missed("tiny-a-1", presence)
        view.missed("nobody", presence)
        assert bool(view.replicas(1.0)) is listed
        assert [one.presence for one in view.everyone()] == [presence]
        assert not any(model.takes_requests for model in view.models(1.0, NOW))
        back(view)
        (one,) = view.replicas(5.0)
        assert (one.presence, one.heard_at, one.in_rotation) == ("here", 5.0, True)


def test_who_does_not_answer_counts_as_stalled() -> None:
    """A model of which another replica answers is as well as that one."""
    view = FleetView()
    view.heartbeat(beat("a"), 0.0)
    view.missed("a", "silent")
    assert (only(view).status, only(view).takes_requests) == ("stalled", False)
    view.heartbeat(beat("b", status="loading"), 0.0)
    assert only(view).status == "loading"


def test_the_record_that_a_gone_worker_wrote_does_not_count() -> None:
    """It was renewed with its last heartbeat, and nobody takes it back; another replica that writes it does count."""
    view = FleetView()
    view.heartbeat(beat(), 0.0)
    view.know([record(worker_id="tiny-a-1")], 5.0)
    view.missed("tiny-a-1", "gone")
    assert only(view, 6.0).status == "offline"
    view.know([record(worker_id="tiny-b-1")], 15.0)
    assert only(view, 15.0).status == "online"


@pytest.mark.parametrize("left", [True, False])
def test_an_earlier_process_changes_nothing(left: bool) -> None:
    """What the one before the restart said, and comes late, does not bring it back, whichever kind of message it is."""
    view = FleetView()
    view.report(report(seq=500, state="online"), 0.0)
    if left:
        view.heartbeat(beat(status="offline", incarnation="i"), 0.5)
    view.heartbeat(beat(status="loading", incarnation="j"), 1.0)
    view.report(report(seq=501, state="online", pending_messages=7), 1.1)
    view.heartbeat(beat(incarnation="i"), 1.2)
    model = only(view, 1.5)
    assert (model.status, model.pending, model.replicas[0].incarnation) == ("loading", 0, "j")
    view.report(report(seq=1, incarnation="j", state="online"), 2.0)
    assert (only(view, 2.0).status, only(view, 2.0).replicas[0].seq) == ("online", 1)


def test_who_left_does_not_come_back_as_the_same_process() -> None:
    """Its last words are its last, whatever overtook them; a new process is another one."""
    view = FleetView()
    view.heartbeat(beat(status="offline", incarnation="i"), 0.0)
    view.report(report(state="draining", pending_messages=3), 0.1)
    view.heartbeat(beat(status="online", incarnation="i"), 0.2)
    view.answered("tiny-a-1", 0.3)
    assert view.replicas(0.3) == []
    assert [one.status for one in view.everyone()] == ["offline"]
    view.heartbeat(beat(status="starting", incarnation="j"), 1.0)
    assert only(view, 1.0).status == "starting"


def test_everyone_is_kept_for_as_long_as_wanted() -> None:
    """Who left or is gone is still known, until it was not heard for so long."""
    view = FleetView()
    for worker, status in (("b", "offline"), ("a", "online"), ("c", "online")):
        view.heartbeat(beat(worker, status=status), 0.0)
    view.know([record(worker_id="a")], 1.0)
    view.missed("a", "gone")
    assert [one.worker_id for one in view.everyone()] == ["a", "b", "c"]
    assert [one.worker_id for one in view.replicas(0.0)] == ["c"]
    view.forget(ALIVE_S + 1, keep_s=900.0)
    assert len(view.everyone()) == 3
    assert view.replica("a") is not None
    view.forget(901.0, keep_s=900.0)
    assert view.everyone() == []
    assert view.replica("a") is None


@pytest.mark.parametrize(
    ("worker", "model"),
    [("w" * 257, "tiny"), ("w\x1b[2J", "tiny"), ("w", "two words"), ("w", "m" * 129), ("w", "<img src=x>")],
)
def test_what_is_no_name_is_passed_over(worker: str, model: str) -> None:
    """Names come from the bus: a worker's is printable and no essay, a model's can stand in a subject."""
    view = FleetView()
    view.heartbeat(beat(worker, model), 0.0)
    view.report(report(worker, model), 0.0)
    view.know([record(model)] if model != "tiny" else [], 0.0)
    assert view.everyone() == []
    assert [one.name for one in view.models(0.0, NOW)] == []


def test_a_flood_of_names_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more workers and models than a fleet has those that were heard first stay, and are heard on."""
    monkeypatch.setattr(fleet, "KEPT", 3)
    view = FleetView()
    for number in range(100):
        view.heartbeat(beat(f"w{number}", f"m{number}"), 0.0)
        view.report(report(f"w{number}", f"m{number}", pending_messages=number), 0.0)
    view.know([record(f"m{number}") for number in range(100)], 0.0)
    view.heartbeat(beat("w2", "m2", status="draining"), 1.0)
    assert [(one.worker_id, one.status) for one in view.everyone()] == [
        ("w0", "online"), ("w1", "online"), ("w2", "draining"),
    ]  # fmt: skip
    assert [one.pending for one in view.models(1.0, NOW)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("pending", "wait_s", "stalled", "level"),
    [
        (0, 0.0, False, "healthy"), (1, 0.0, False, "warning"), (799, 59.9, False, "warning"),
        (800, 0.0, False, "critical"), (1, 60.0, False, "critical"), (0, 0.0, True, "critical"),
    ],
)  # fmt: skip
def test_how_busy_a_replica_is(pending: int, wait_s: float, stalled: bool, level: str) -> None:
    """Anything that waits is a warning; a queue that is nearly full, a long wait or a stall is critical."""
    assert load_level(pending, 0, 1000, stalled=stalled, wait_s=wait_s, critical_wait_s=60.0) == level


def test_a_models_level() -> None:
    """The worst of its replicas'; critical while none takes requests, but not where that is as somebody wanted it."""
    view = FleetView()
    view.know([record(state="offline")], 0.0)
    assert only(view).level == "healthy"
    view.heartbeat(beat("a", status="loading"), 0.0)
    assert only(view).level == "warning"
    view.report(report("a", state="online", status="healthy"), 0.0)
    view.report(report("b", state="online", status="critical"), 0.0)
    assert only(view).level == "critical"
    view.report(report("b", state="online", status="warning", seq=2), 0.0)
    assert only(view).level == "warning"
    view.know([record(worker_id="a")], 1.0)
    view.missed("a", "gone")
    view.missed("b", "gone")
    assert only(view).level == "critical"
